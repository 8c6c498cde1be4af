"""What the checks of digests cost: of loading a checkpoint, and of training steps.

    python -m tests.benchmarks.check_costs [--width 512] [--turns 12]

A run of a few steps is made; then its checkpoint is loaded as `moewright train` loads it to go on, with its files
checked and without, in turns, and the least of each is kept, by the clock and by processor time: what other processes
take of the machine is left out as far as it can be. Then steps are trained with a counter below hashlib and below
`open`: between two checkpoints a step must hash nothing and read nothing.
"""

import argparse
import builtins
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from moewright.experiment import binding, run_folder
from moewright.experiment.planning import open_data
from moewright.experiment.recipe import Recipe
from moewright.lab import training
from moewright.lab.sharding import World
from tests.lab.tiny import architecture, recipe, write_tokens


def made(folder: Path, width: int) -> tuple[Recipe, Path]:
    """A finished run of three steps with its last checkpoint whole."""
    model = architecture(width=width)
    (layer,) = model["layers"][0]["layers"]
    layer["feed_forward"] = {
        "kind": "moe",
        "groups": [{"count": 32, "expert_size": width, "top_k": 2}],
        "shared": None,
    }
    values = recipe(write_tokens(folder, 20_000), steps=3, architecture=model)
    given = Recipe.from_dict(values)
    training.train(given, folder / "run", show=False)
    return given, folder / "run"


def loading(given: Recipe, folder: Path) -> Callable[[], None]:
    """Loads the last checkpoint of a run, as going on does."""
    import torch

    data = open_data(given)
    run = run_folder.read_run(folder)
    assert run is not None
    (checkpoint,) = run_folder.checkpoints(folder)[-1:]

    def load() -> None:
        state = binding.check_checkpoint(checkpoint, run)
        training._session(given, data, World(0, 1, torch.device("cpu")), binding.id_of(run), checkpoint, state)

    return load


def in_turns(load: Callable[[], None], turns: int) -> dict[str, tuple[float, float]]:
    """Least seconds of the clock and of the processors, with the checks and without."""
    least: dict[str, tuple[float, float]] = {}
    load()  # the files are in memory from here on
    for turn in range(2 * turns):
        name = ("checked", "unchecked")[turn % 2]
        away = mock.patch.object(binding, "check_file", return_value=None) if turn % 2 else nullcontext()
        with away:
            clock, processor = time.perf_counter(), time.process_time()
            load()
            took = time.perf_counter() - clock, time.process_time() - processor
        before = least.get(name, took)
        least[name] = (min(before[0], took[0]), min(before[1], took[1]))
    return least


@contextmanager
def counted(counts: dict[str, int]) -> Iterator[None]:
    """Counts digests begun and files opened for reading."""
    real_sha, real_open = hashlib.sha256, builtins.open

    def sha256(*given: Any, **named: Any) -> Any:
        counts["digests"] += 1
        return real_sha(*given, **named)

    def opened(file: Any, mode: str = "r", *given: Any, **named: Any) -> Any:
        counts["files read"] += "r" in mode and "+" not in mode
        return real_open(file, mode, *given, **named)

    with mock.patch.object(hashlib, "sha256", sha256), mock.patch.object(builtins, "open", opened):
        yield


def of_steps(given: Recipe) -> dict[str, int]:
    """Digests and files read in ten steps, after the first."""
    import torch

    from moewright.lab.session import Session

    longer = Recipe.from_dict({**given.to_dict(), "train_tokens": 12 * given.batch_tokens})
    session = Session(longer, open_data(longer), World(0, 1, torch.device("cpu")))
    session.next_step()
    counts = {"digests": 0, "files read": 0}
    with counted(counts):
        for _ in range(10):
            session.next_step()
    return counts


def main() -> None:
    """Print both."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--width", type=int, default=512)
    asked.add_argument("--turns", type=int, default=12)
    words = asked.parse_args()
    with tempfile.TemporaryDirectory() as room:
        given, folder = made(Path(room), words.width)
        (checkpoint,) = run_folder.checkpoints(folder)[-1:]
        size = sum(path.stat().st_size for path in checkpoint.iterdir())
        least = in_turns(loading(given, folder), words.turns)
        for place, kind in enumerate(("clock", "processors")):
            one, other = least["checked"][place], least["unchecked"][place]
            print(f"{size / 1e6:.0f} MB, {kind}: {one:.3f} s checked, {other:.3f} s unchecked: {one / other - 1:+.1%}")
        print("ten steps:", ", ".join(f"{count} {name}" for name, count in of_steps(given).items()))


if __name__ == "__main__":
    main()
