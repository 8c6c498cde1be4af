"""Finding the weights of a run: which checkpoint of a run folder counts. No torch."""

from dataclasses import dataclass
from pathlib import Path

from moewright.architecture.differences import differences
from moewright.architecture.spec import Architecture
from moewright.errors import UserError
from moewright.experiment.binding import check_checkpoint, not_bound
from moewright.experiment.run_folder import (
    CHECKPOINTS,
    MODEL,
    RUN,
    STATE,
    CheckpointState,
    RunRecord,
    checkpoint_step,
    checkpoints,
    read_run,
)
from moewright.files import sha256_of
from moewright.hf.loading import SPEC


@dataclass(frozen=True)
class Trained:
    """A complete checkpoint of a run, and what its record says of the tokens."""

    run: Path
    checkpoint: Path
    step: int
    tokenizer: Path | None
    """A tokenizer.json."""
    end_of_document: int | None
    """The token between documents."""
    architecture: Architecture
    state: CheckpointState
    """Its own record; the files beside it are to be checked by it when they are read."""
    not_bound: str | None
    """What an older version wrote without digests, in one line."""


def run_of(path: Path) -> Path | None:
    """The run that a path is the folder of, or a checkpoint of; None: it is neither."""
    if (path / RUN).is_file():
        return path
    holder = path.resolve().parent.parent
    return holder if _is_checkpoint(path) and (holder / RUN).is_file() else None


def find_trained(path: str | Path, step: int | None = None) -> Trained:
    """The newest complete checkpoint of a run folder, or the one after `step` steps; or a checkpoint folder itself.

    A tokenizer path in run.json that is not absolute starts at the run folder. Raises UserError where there is no such
    checkpoint, the tokenizer is not there, or a file is none that the run wrote.
    """
    path = Path(path)
    run = run_of(path)
    if run is None:
        raise UserError(f"{path}: not the folder of a run (no {RUN}), nor a checkpoint of one")
    if run != path:
        step = checkpoint_step(path.resolve()) if step is None else step
    complete = {
        found: folder
        for folder in checkpoints(run)
        if (found := checkpoint_step(folder)) is not None and _is_checkpoint(folder)
    }
    if not complete:
        raise UserError(f"{run}: no complete checkpoint ({CHECKPOINTS}/step-*/ with {MODEL} and {STATE})")
    if step is not None and step not in complete:
        raise UserError(
            f"step: {run} has no complete checkpoint of step {step}; it has {', '.join(map(str, complete))}"
        )
    step = max(complete) if step is None else step
    record = read_run(run)
    state = check_checkpoint(complete[step], record)
    return Trained(
        run=run,
        checkpoint=complete[step],
        step=step,
        tokenizer=_tokenizer(run, record),
        end_of_document=record.end_of_document,
        architecture=trained_architecture(run, record),
        state=state,
        not_bound=not_bound(record, None, state),
    )


def trained_architecture(run: Path, record: RunRecord) -> Architecture:
    """What was trained. UserError if architecture.yaml, which people look at, says something else."""
    trained = Architecture.from_dict(record.recipe.get("architecture"), run / RUN)
    found = differences(trained, Architecture.load(run / SPEC))
    if found:
        raise UserError(
            f"{run / SPEC}: not what was trained, which has {found[0]}; delete it: `moewright train` writes it again"
        )
    return trained


def _is_checkpoint(folder: Path) -> bool:
    return (folder / MODEL).is_file() and (folder / STATE).is_file()


def _tokenizer(run: Path, record: RunRecord) -> Path | None:
    if record.tokenizer is None:
        return None
    path = run / record.tokenizer
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise UserError(
            f"{run / RUN}: tokenizer: {path} is not there; put it back, or write null to export without a tokenizer"
        )
    if record.tokenizer_sha256 not in (None, sha256_of(path)):
        raise UserError(
            f"{run / RUN}: tokenizer: {path} is not the one that made the run's tokens; put that one back, or write "
            "null to export without a tokenizer"
        )
    return path
