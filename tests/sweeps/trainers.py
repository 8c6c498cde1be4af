"""What the harness of tests must know of a trainer to attack a sweep of it: what runs, how far it is, what is the same.

Everything else, attempts, locks and states, is the sweep's own and the same for all. A new trainer is a class here and
an entry in `TRAINERS`; `python -m tests.benchmarks.torture_sweep --trainer NAME` then tries it.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from moewright.experiment import run_folder
from moewright.experiment.trainer_folder import OUTPUT, reached_step
from moewright.experiment.trainer_outcome import read_outcome
from tests.lab.tiny import BATCH, LENGTH, metrics, recipe, write_tokens

SCRIPT = Path(__file__).parents[2] / "examples/own_trainer/train.py"
CHECKPOINT_EVERY = 5
"""Steps."""


class TorturedTrainer(Protocol):
    """A trainer as the harness sees it."""

    name: str
    command: tuple[str, ...]
    """What carries out a sweep: the words after `python -m`, before the specification."""
    processes: Mapping[str, str]
    """Processes that it starts below a worker: their kind, and what stands in their command lines."""

    def write_sweep(self, folder: Path, *, steps: int, experts: list[int], seeds: list[int], **changes: Any) -> Path:
        """The specification of a sweep in a new folder. For each number of experts 3 runs tune the learning rate, with
        the first seed; the best of them counts for that seed, and one more run is made for each other seed."""

    def steps_done(self, folder: Path) -> int:
        """How many steps of a run are safe."""

    def check_results(self, folder: Path, expected: Path, steps: int) -> None:
        """A run's folder holds what the same run undisturbed does, bit by bit. AssertionError says where not."""


def sweep_values(folder: Path, *, steps: int, experts: list[int], seeds: list[int]) -> dict[str, Any]:
    """A sweep of the lab's."""
    step = BATCH * LENGTH
    base = recipe(
        write_tokens(folder, 40_000),
        steps=steps,
        checkpoints={"every_tokens": CHECKPOINT_EVERY * step, "keep": 2},
        evaluation={"every_tokens": 20 * step},
    )
    return {
        "format": "moewright-sweep/1",
        "recipe": base,
        "axes": [{"grid": {"num_experts": experts}}],
        "seeds": seeds,
        "tuning": {"multipliers": [0.3, 0.6, 1.2], "per": ["num_experts"], "extend": 0, "promote": "best"},
        # A run that was killed in the same five steps more often than that is left alone, as it should be.
        "execution": {"cores_per_run": 1, "retries": 50},
    }


class LabTrainer:
    """The lab, inside of the worker."""

    name = "lab"
    command: tuple[str, ...] = ("moewright", "sweep")
    processes: Mapping[str, str] = {}

    def write_sweep(self, folder: Path, *, steps: int, experts: list[int], seeds: list[int], **changes: Any) -> Path:
        """See `TorturedTrainer`."""
        folder.mkdir(parents=True)
        path = folder / "sweep.json"
        path.write_text(json.dumps(sweep_values(folder, steps=steps, experts=experts, seeds=seeds) | changes))
        return path

    def steps_done(self, folder: Path) -> int:
        """As status.json has it."""
        with suppress(OSError, ValueError):
            return json.loads((folder / run_folder.STATUS).read_text()).get("step") or 0
        return 0

    def check_results(self, folder: Path, expected: Path, steps: int) -> None:
        """The same lines, the same loss, the same weights."""
        (checkpoint,) = (folder / run_folder.CHECKPOINTS).iterdir()
        assert checkpoint.name == f"step-{steps:08d}"
        assert {path.name for path in checkpoint.iterdir()} == {run_folder.MODEL, run_folder.STATE}
        wanted = expected / run_folder.CHECKPOINTS / checkpoint.name
        assert (checkpoint / run_folder.MODEL).read_bytes() == (wanted / run_folder.MODEL).read_bytes()
        assert run_folder.read_status(folder).loss == run_folder.read_status(expected).loss  # type: ignore[union-attr]
        lines = effective_lines(folder)
        assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, steps + 1))
        assert [line["step"] for line in lines if line["kind"] == "evaluation"][-1] == steps
        assert lines == effective_lines(expected)


def effective_lines(folder: Path) -> list[dict[str, Any]]:
    """Training and evaluation lines of a run's metrics; of those that occur again after an interruption, the last."""
    lines = {(line["step"], line["kind"]): line for line in metrics(folder, "train", "evaluation")}
    return [lines[key] for key in sorted(lines)]


class ScriptTrainer(LabTrainer):
    """`counting_script.py`, a process of its own below each worker, started by `counting_trainer.py`."""

    name = "script"
    command: tuple[str, ...] = ("tests.sweeps.counting_trainer", "sweep")
    processes: Mapping[str, str] = {"script": "counting_script.py"}

    def steps_done(self, folder: Path) -> int:
        """As its checkpoints have it."""
        return run_folder.newest_step(folder)

    def check_results(self, folder: Path, expected: Path, steps: int) -> None:
        """The same count, the same lines."""
        assert run_folder.newest_step(folder) == steps
        for name in ("result.json", "counts.txt"):
            assert (folder / name).read_bytes() == (expected / name).read_bytes()
        assert len((folder / "counts.txt").read_text().splitlines()) == steps


class CommandTrainer(LabTrainer):
    """`trainer: {kind: command}` with the numpy script of examples/own_trainer, which knows nothing of the harness."""

    name = "command"
    processes: Mapping[str, str] = {"trainer": "own_trainer/train.py"}

    def write_sweep(self, folder: Path, *, steps: int, experts: list[int], seeds: list[int], **changes: Any) -> Path:
        """The script has a model of its own; the experts tell cells apart by {architecture} alone."""
        places = "{output} {train_files} {validation_files} {vocab_size} {steps} {batch_tokens} {learning_rate} {seed}"
        trainer = {
            "kind": "command",
            "run": f"{{python}} {SCRIPT} {places} {{architecture}}",
            "loss": "val_loss",
            "resumes": True,
            "checkpoints": r"step-(\d+)\.npy",
        }
        path = super().write_sweep(folder, steps=steps, experts=experts, seeds=seeds, trainer=trainer, **changes)
        values = json.loads(path.read_text())
        values["recipe"]["data"]["validation"].pop("far")  # the script takes one file
        path.write_text(json.dumps(values))
        return path

    def steps_done(self, folder: Path) -> int:
        """As its checkpoints have it."""
        return reached_step(folder)

    def check_results(self, folder: Path, expected: Path, steps: int) -> None:
        """The same weights, the same losses of all steps, and the same loss in the sweep's books."""
        last = f"step-{steps:08d}.npy"
        assert (folder / OUTPUT / last).read_bytes() == (expected / OUTPUT / last).read_bytes()
        assert self._losses(folder) == self._losses(expected)
        assert [*self._losses(folder)] == [*range(1, steps + 1), "end"]
        ours, theirs = (read_outcome(each).status for each in (folder, expected))
        assert ours is not None
        assert ours == theirs

    def _losses(self, folder: Path) -> dict[int | str, float]:
        """By step, the last reading of each; a line that was cut by a kill is none."""
        found: dict[int | str, float] = {}
        for line in (folder / OUTPUT / "log.jsonl").read_text().splitlines():
            with suppress(ValueError):
                values = json.loads(line)
                for key, loss in (("end", "val_loss"), (values["step"], "train_loss")):
                    found |= {key: values[loss]} if loss in values else {}
        return {key: found[key] for key in sorted(found, key=lambda key: (isinstance(key, str), key))}


TRAINERS: dict[str, Callable[[], TorturedTrainer]] = {
    "lab": LabTrainer,
    "script": ScriptTrainer,
    "command": CommandTrainer,
}
"""By the name that `--trainer` takes."""
