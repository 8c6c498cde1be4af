"""Finding the weights of a run: which checkpoint of a run folder counts. No torch."""

from dataclasses import dataclass
from pathlib import Path

from moewright.errors import UserError
from moewright.experiment.run_folder import CHECKPOINTS, MODEL, RUN, STATE, checkpoint_step, checkpoints, read_run


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


def run_of(path: Path) -> Path | None:
    """The run that a path is the folder of, or a checkpoint of; None: it is neither."""
    if (path / RUN).is_file():
        return path
    holder = path.resolve().parent.parent
    return holder if _is_checkpoint(path) and (holder / RUN).is_file() else None


def find_trained(path: str | Path, step: int | None = None) -> Trained:
    """The newest complete checkpoint of a run folder, or the one after `step` steps; or a checkpoint folder itself.

    A tokenizer path in run.json that is not absolute starts at the run folder. Raises UserError where there is no such
    checkpoint, or the tokenizer is not there.
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
    return Trained(run, complete[step], step, _tokenizer(run, record.tokenizer), record.end_of_document)


def _is_checkpoint(folder: Path) -> bool:
    return (folder / MODEL).is_file() and (folder / STATE).is_file()


def _tokenizer(run: Path, stated: str | None) -> Path | None:
    if stated is None:
        return None
    path = run / stated
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise UserError(
            f"{run / RUN}: tokenizer: {path} is not there; put it back, or write null to export without a tokenizer"
        )
    return path
