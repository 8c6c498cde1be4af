"""What the checks of digests cost: starts that read a checkpoint, reading it alone, and training steps.

    python -m tests.benchmarks.check_costs [--width 512] [--turns 12] [--starts 8]

A run of a few steps is interrupted. Then, with the files of its checkpoint checked and without, in pairs whose order
changes: `moewright train` goes on with it in a process of its own, from its start to its first step; so does a sweep's
worker; and `moewright export` writes its weights. What they wait for is told by the median of each and by the median of
what the checks add in a pair, by the clock and by processor time. Beside these the same for loading alone, in a process
that has torch: the least of each.
Last, steps are trained with a counter below hashlib and below `open`: between two checkpoints a step must hash nothing
and read nothing.
"""

import argparse
import builtins
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from moewright.experiment import binding, run_folder
from moewright.experiment.early_digests import EarlyDigests
from moewright.experiment.planning import open_data
from moewright.experiment.recipe import Recipe
from moewright.lab import training
from moewright.lab.sharding import World
from tests.lab.tiny import architecture, interrupt_after, recipe, write_tokens

_UNCHECKED = """
from moewright.experiment import binding, early_digests
if sys.argv[1] == "unchecked":
    binding.check_file = binding.check_used = lambda *given: None
    early_digests.EarlyDigests.begin = lambda self, path: None
"""
_UNTIL_THE_FIRST_STEP = """
from moewright import files
def write(self, values):
    if values["kind"] == "resume":  # the line before the first step
        os._exit(0)
files.AppendOnlyFile.write = write
"""
_STARTS = {
    "train": "place = sys.argv[2]\n"
    "sys.argv = ['moewright', 'train', place + '/recipe.json', '--out', place + '/run', '--quiet']",
    "a worker of sweep": "import json; from pathlib import Path; os.environ['OMP_NUM_THREADS'] = '1'\n"
    "from moewright.sweeps.running.worker import _train\n"
    "_train(json.loads(Path(sys.argv[2], 'recipe.json').read_text()), Path(sys.argv[2], 'run'))",
    "export": "place = sys.argv[2]\n"
    "sys.argv = ['moewright', 'export', place + '/run', '--format', 'hf', '--out', place + '/new']",
}
"""The rest of a process that may check or not, by what it is."""


def made(folder: Path, width: int) -> tuple[Recipe, Path]:
    """A run that was interrupted at its third step of six."""
    model = architecture(width=width)
    (layer,) = model["layers"][0]["layers"]
    layer["mixer"]["qk_norm"] = "per_head"
    layer["feed_forward"] = {
        "kind": "moe",
        "groups": [{"count": 32, "expert_size": width, "top_k": 2}],
        "shared": None,
    }
    values = recipe(write_tokens(folder, 20_000), steps=6, architecture=model)
    given = Recipe.from_dict(values)
    (folder / "recipe.json").write_text(json.dumps(given.to_dict()))
    with pytest.MonkeyPatch.context() as patch:
        interrupt_after(patch, 3)
        training.train(given, folder / "run", show=False)
    return given, folder / "run"


def start(what: str, folder: Path, checked: bool) -> tuple[float, float]:
    """Seconds of the clock and of the processors that a process takes."""
    until = "" if what == "export" else _UNTIL_THE_FIRST_STEP
    code = "import os, sys\n" + _UNCHECKED + until + _STARTS[what]
    if "sys.argv =" in _STARTS[what]:
        code += "\nfrom moewright.__main__ import main\nmain()"
    words = [sys.executable, "-c", code, "checked" if checked else "unchecked", str(folder)]
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True)
    took, after = time.perf_counter() - began, os.times()
    assert done.returncode == 0, done.stderr
    shutil.rmtree(folder / "new", ignore_errors=True)
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return took, spent


def print_starts(folder: Path, pairs: int) -> None:
    """A line for each kind of start and of time."""
    for what in _STARTS:
        start(what, folder, True)  # all files are in memory from here on
        times: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        for pair in range(pairs):
            for checked in (True, False) if pair % 2 else (False, True):
                times[checked].append(start(what, folder, checked))
        for place, kind in enumerate(("clock", "processors")):
            one, other = ([each[place] for each in times[checked]] for checked in (True, False))
            added = statistics.median(a - b for a, b in zip(one, other, strict=True))
            medians = statistics.median(one), statistics.median(other)
            print(
                f"{what}, {kind}: {medians[0]:.2f} s checked, {medians[1]:.2f} s unchecked; in a pair {added:+.3f} s, "
                f"{added / medians[1]:+.1%}; least {min(one):.2f} and {min(other):.2f} s",
                flush=True,
            )


def loading(given: Recipe, folder: Path) -> Callable[[], None]:
    """Loads the last checkpoint of a run, as going on does in a process that has torch."""
    import torch

    data = open_data(given)
    run = run_folder.read_run(folder)
    assert run is not None
    (checkpoint,) = run_folder.checkpoints(folder)[-1:]

    def load() -> None:
        state = binding.check_checkpoint(checkpoint, run)
        with EarlyDigests() as digests:
            members = World(0, 1, torch.device("cpu"))
            training._session(given, data, members, binding.id_of(run), checkpoint, state, digests)

    return load


def in_turns(load: Callable[[], None], turns: int) -> dict[str, tuple[float, float]]:
    """Least seconds of the clock and of the processors, with the checks and without."""
    least: dict[str, tuple[float, float]] = {}
    load()  # the files are in memory from here on
    for turn in range(2 * turns):
        name = ("checked", "unchecked")[turn % 2]
        checks = mock.patch.multiple(binding, check_file=lambda *_: None, check_used=lambda *_: None)
        unchecked = checks, mock.patch.object(EarlyDigests, "begin")
        with unchecked[0] if turn % 2 else nullcontext(), unchecked[1] if turn % 2 else nullcontext():
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
    """Print all."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--width", type=int, default=512)
    asked.add_argument("--turns", type=int, default=12, help="of loading alone")
    asked.add_argument("--starts", type=int, default=8, help="pairs of each kind")
    words = asked.parse_args()
    with tempfile.TemporaryDirectory() as room:
        given, folder = made(Path(room), words.width)
        (checkpoint,) = run_folder.checkpoints(folder)[-1:]
        size = sum(path.stat().st_size for path in checkpoint.iterdir())
        print(f"a checkpoint of {size / 1e6:.0f} MB, {len(os.sched_getaffinity(0))} processors", flush=True)
        least = in_turns(loading(given, folder), words.turns)
        for place, kind in enumerate(("clock", "processors")):
            one, other = least["checked"][place], least["unchecked"][place]
            print(f"loading alone, {kind}: {one:.3f} s checked, {other:.3f} s unchecked: {one / other - 1:+.1%}")
        print("ten steps:", ", ".join(f"{count} {name}" for name, count in of_steps(given).items()), flush=True)
        print_starts(Path(room), words.starts)


if __name__ == "__main__":
    main()
