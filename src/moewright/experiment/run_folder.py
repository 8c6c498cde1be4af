"""The folder of a run, and the records in it: what it is, how far it came, where its checkpoints are. No torch.

run.json         what the run is and where it began (`RunRecord`); written once
architecture.yaml
metrics.jsonl    append-only, one JSON object a line (`experiment.metrics`), never rewritten
status.json      how far it came and how it ended (`RunStatus`)
checkpoints/step-00001200/  model.safetensors, optimizer.safetensors, state.json (`CheckpointState`)
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AliasChoices, BeforeValidator, Field

from moewright.display import Shown
from moewright.errors import UserError
from moewright.experiment.provenance import Provenance
from moewright.files import open_regular
from moewright.hardware.layout_record import TrainingMemoryRecord
from moewright.records import Count, Items, Output, Reading, Record, Sha256, Total
from moewright.sealed_records import SealedRecord

RUN, STATUS, METRICS, CHECKPOINTS = "run.json", "status.json", "metrics.jsonl", "checkpoints"
LOCK = ".lock"
"""Held by the process that trains here."""
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"

_HEAD_BYTES = 4096
_STEP = re.compile(r"step-(\d+)")

UTILIZATION = AliasChoices("matmul_utilization", "mfu")
"""`mfu` was its name until 34ba6fa, although the peak is this machine's, not its maker's."""

Outcome = Literal["running", "finished", "interrupted", "diverged", "failed"]
"""What status.json says of a run: running until an attempt's end is known."""


class RunFacts(Record):
    """What a recipe comes to."""

    total_params: Total
    active_params: Total
    train_tokens: Total
    """Of the recipe; whole batches may go a little beyond."""
    epochs: float
    steps: Count
    peak_learning_rate: float
    train_flops: float
    """Of all steps, which are whole batches."""
    expected_memory_bytes: TrainingMemoryRecord
    """On one process, the framework's own base apart."""


class RunData(Record):
    """The tokens of a run."""

    fingerprint: str
    train_tokens: Total
    """That there are."""


def _path_or_none(value: Any) -> Any:
    if value is not None and not isinstance(value, str):
        raise ValueError("expected a path or null")
    return value


def _token_or_none(value: Any) -> Any:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError("expected a token id")
    return value


class RunRecord(SealedRecord):
    """run.json: what a run is, and where it began."""

    changeable: ClassVar[tuple[str, ...]] = ("tokenizer",)
    remedy: ClassVar[str] = "put it back from a copy, or train again in a new folder"
    format: Literal["moewright-run/3"] = "moewright-run/3"
    id: str | None
    """`identity.run_id`, which the folder's other files name. None: of a version whose files did not."""
    recipe: dict[str, Any]
    """Resolved; `Recipe.from_dict` takes it."""
    training_version: int
    """See `identity.TRAINING_VERSION`."""
    code: str | None
    """The digest of the sources that began it; for the record only. None: not recorded."""
    facts: RunFacts
    warnings: Items[str]
    data: RunData
    initial_weights: Sha256 | None = None
    """The fingerprint of the recipe's; see `initial_weights.fingerprint`. None: without them, or not recorded."""
    tokenizer: Annotated[str | None, BeforeValidator(_path_or_none)] = None
    """A tokenizer.json, or its folder; if it is not absolute, its path starts at the run's folder."""
    tokenizer_sha256: Sha256 | None = None
    """Of tokenizer.json. None: without one, or not recorded."""
    end_of_document: Annotated[Count | None, BeforeValidator(_token_or_none)] = None
    processes: Count
    device: str
    """cpu or cuda."""
    provenance: Provenance


@RunRecord.upgrade(1)
def _with_version(values: dict[str, Any]) -> dict[str, Any]:
    """Before there were versions, all code was of version 1, and FLOPs were those of the recipe's tokens."""
    facts, recipe = values.get("facts"), values.get("recipe")
    if isinstance(facts, dict) and isinstance(recipe, dict):
        given = (facts.get("train_flops"), facts.get("steps"), recipe.get("batch_tokens"), facts.get("train_tokens"))
        flops, steps, batch, tokens = (each if isinstance(each, int | float) else 0 for each in given)
        if tokens:
            facts = {**facts, "train_flops": flops * (steps * batch / tokens)}
    return {**values, "facts": facts, "training_version": 1, "code": None}


@RunRecord.upgrade(2)
def _without_id(values: dict[str, Any]) -> dict[str, Any]:
    """Version 2 bound nothing to the run."""
    return {**values, "id": None}


class RunOutcome(Record):
    """How far a run came, and how it ended."""

    state: Outcome
    step: Count = 0
    """Optimizer steps done."""
    tokens: Total | None = None
    """Training tokens seen."""
    loss: Reading = None
    """The last validation loss, dropless, in nats per token."""
    tokens_per_second: Reading = None
    """Of the steps of the last attempt."""
    matmul_utilization: Reading = Field(None, validation_alias=UTILIZATION)
    """FLOP/s of those steps over what this machine reached in matrix products when the attempt began."""
    peak_memory_bytes: Total | None = None
    expected_memory_bytes: float | None = None
    reason: str | None = None
    """Why it ended so."""


class FileStamp(Record):
    """A file's bytes, or its first ones where it only grows."""

    bytes: Total
    sha256: Sha256


class RunStatus(SealedRecord, RunOutcome):
    """status.json."""

    remedy: ClassVar[str] = "delete it: the run then goes on from its last checkpoint"
    format: Literal["moewright-status/2"] = "moewright-status/2"
    version_without_format = 1
    run: str | None = None
    """The run's id. None: not recorded."""
    metrics: FileStamp | None = None
    """metrics.jsonl when this was written; since then it only grew. None: not recorded."""


@RunStatus.upgrade(1)
def _unbound_status(values: dict[str, Any]) -> dict[str, Any]:
    """Version 1 named neither run nor metrics."""
    return values


class TrainAnswer(Output, RunOutcome):
    """A run that ended: where it is, and what status.json says of it."""

    command: ClassVar[str] = "train"
    out: str
    format: str
    """Of status.json."""

    @classmethod
    def of(cls, folder: Path, status: RunStatus) -> Self:
        """The answer about a run in its folder."""
        return cls(
            out=str(folder), format=status.format, **{name: getattr(status, name) for name in RunOutcome.model_fields}
        )


class CheckpointState(SealedRecord):
    """state.json of a checkpoint, written last: whose it is, where the run stands, and the files beside it."""

    remedy: ClassVar[str] = "delete its folder: the run then goes on from the checkpoint before"
    format: Literal["moewright-checkpoint/2"] = "moewright-checkpoint/2"
    version_without_format = 1
    run: str | None = None
    """The run's id. None: not recorded."""
    step: Count
    """Optimizer steps done."""
    tokens: Total
    """Training tokens seen."""
    next_sequence: Total
    """The first position of the training data that was not seen yet."""
    steps_worse_than_guessing: Count
    """In a row, up to now."""
    files: dict[str, FileStamp] = Field({})
    """By name. Empty: not recorded."""


@CheckpointState.upgrade(1)
def _unbound_checkpoint(values: dict[str, Any]) -> dict[str, Any]:
    """Version 1 named neither run nor files."""
    return values


def read_run(folder: Path) -> RunRecord:
    """run.json of a run folder. Raises UserError."""
    if not (folder / RUN).is_file():
        raise UserError(f"{folder}: no {RUN} in it, so it is not the folder of a run")
    return RunRecord.read(folder / RUN)


def read_status(folder: Path) -> RunStatus | None:
    """status.json; None before the first checkpoint. Raises UserError."""
    return RunStatus.read(folder / STATUS) if (folder / STATUS).is_file() else None


# Checkpoints by their steps


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where a run's checkpoint after so many steps lies."""
    return folder / CHECKPOINTS / f"step-{step:08d}"


def checkpoint_step(checkpoint: Path) -> int | None:
    """The step in the name of a checkpoint's folder; None for another folder."""
    found = _STEP.fullmatch(checkpoint.name)
    return int(found.group(1)) if found else None


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    found = {checkpoint_step(path): path for path in (folder / CHECKPOINTS).glob("step-*") if (path / STATE).is_file()}
    return [found[step] for step in sorted(step for step in found if step is not None)]


def newest_step(folder: Path) -> int:
    """The step of the newest complete checkpoint of a run; 0 without one."""
    found = checkpoints(folder)
    return checkpoint_step(found[-1]) or 0 if found else 0


@dataclass(frozen=True, repr=False)
class TrainingResult(Shown):
    """How a run ended."""

    folder: Path
    state: str
    """finished, or interrupted."""
    step: int
    tokens: int
    loss: float | None
    """The last validation loss, dropless, in nats per token."""
    summary: RunStatus
    is_first: bool = True
    """Whether this is the process that writes and prints, of several."""
    stopped_by: int | None = None
    """The signal that interrupted it; None: none that this process heard."""

    def answer(self) -> TrainAnswer:
        """For JSON."""
        return TrainAnswer.of(self.folder, self.summary)

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright train --json`."""
        return self.answer().to_dict()

    def _facts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("folder", "state", "step", "tokens", "loss")}


def is_run_folder(folder: Path) -> bool:
    """Whether the files in a folder are those of one of our runs, by how they begin: others' have the same names.

    So is a run.json that is not JSON, which is better complained of than passed over.
    """
    run, metrics = _head(folder / RUN), _head(folder / METRICS)
    if run is not None and (b'"moewright-run/' in run or not run.lstrip().startswith(b"{")):
        return True
    if metrics is not None:
        return metrics.startswith(b'{"kind": "')
    return run is None and (folder / STATUS).is_file()


def _head(path: Path) -> bytes | None:
    """How a file begins; None where there is none to read."""
    try:
        with open_regular(path) as file:
            return file.read(_HEAD_BYTES)
    except (OSError, UserError):  # UserError: a device or a pipe
        return None
