"""Whether the files in a run's folder are those that the run wrote. No torch.

Each names the run and holds digests: state.json of a checkpoint those of the tensors beside it, status.json that of
metrics.jsonl as it was then, and every record one of itself. Folders of versions before that are not bound: what their
files say is taken as it is, and whoever relies on it says so (`not_bound`). A digest is no signature: whoever makes it
anew is believed.
"""

from pathlib import Path

from moewright.errors import UserError
from moewright.experiment.early_digests import EarlyDigests
from moewright.experiment.identity import RunIdentity
from moewright.experiment.metrics import EvaluationLine
from moewright.experiment.run_folder import (
    METRICS,
    RUN,
    STATE,
    STATUS,
    CheckpointState,
    FileStamp,
    RunRecord,
    RunStatus,
    checkpoint_step,
)
from moewright.files import hashed, open_regular, sha256_of
from moewright.plain_values import parse_loosely


def id_of(run: RunRecord) -> str:
    """The id that the files of a run's folder name; of a run without one, the id that it has by now."""
    return run.id or recorded_identity(run).id


def recorded_identity(run: RunRecord) -> RunIdentity:
    """What makes it the run that it is."""
    peak, data = run.facts.peak_learning_rate, run.data.fingerprint
    return RunIdentity.recorded(run.recipe, peak, data, run.training_version, run.initial_weights)


def stamp(path: Path) -> FileStamp:
    """A file as it is. Raises OSError."""
    version, digest = hashed(path)
    return FileStamp(bytes=version.size, sha256=digest)


def not_bound(run: RunRecord | None, status: RunStatus | None, state: CheckpointState | None = None) -> str | None:
    """One line about those of a run's files that an older version wrote, which nothing vouches for; None: no such."""
    found = [(RUN, run is not None and run.id is None), (STATUS, status is not None and status.digest is None)]
    found += [(f"the checkpoint of step {state.step}", not state.files)] if state is not None else []
    names = ", ".join(name for name, is_old in found if is_old)
    return f"not bound: an older version wrote {names}, without digests; taken as it is" if names else None


# How it ended


def check_status(folder: Path, run: RunRecord | None, status: RunStatus) -> None:
    """UserError, naming the file, unless status.json is of the run and metrics.jsonl agrees with it.

    `run` None: of a trainer that writes no run.json. Reads all of metrics.jsonl.
    """
    _check_owner(folder / STATUS, run, status.run, status.remedy)
    path, written = folder / METRICS, status.metrics
    if written is not None:
        size = path.stat().st_size if path.is_file() else 0
        fits = size == written.bytes if status.state == "finished" else size >= written.bytes
        if not fits or sha256_of(path, written.bytes) != written.sha256:
            raise UserError(
                f"{path}: not the lines that the run wrote, by their digest; put it back from a copy, or delete it and "
                f"{STATUS}: the run then goes on from its last checkpoint"
            )
    if status.state == "finished" and run is not None:
        _check_finished(folder, run, status)


def _check_finished(folder: Path, run: RunRecord, status: RunStatus) -> None:
    where, remedy = folder / STATUS, status.remedy
    if status.step != run.facts.steps:
        raise UserError(
            f"{where}: says finished after step {status.step:,} of {run.facts.steps:,}, which cannot be; {remedy}"
        )
    if not (folder / METRICS).is_file():
        return
    last = _last_evaluation(folder / METRICS)
    if last is None or (last.step, last.loss) != (status.step, status.loss):
        said = "has no evaluation" if last is None else f"ends with loss {last.loss} at step {last.step:,}"
        raise UserError(
            f"{where}: says finished with loss {status.loss} at step {status.step:,}, and {METRICS} {said}; {remedy}"
        )


def _last_evaluation(path: Path) -> EvaluationLine | None:
    with open_regular(path) as file:
        lines = file.read().splitlines()
    for line in reversed(lines):
        if b'"kind": "evaluation"' in line[:40]:
            try:
                return EvaluationLine.model_validate(parse_loosely(line))
            except ValueError:  # cut short
                continue
    return None


# Checkpoints


def check_checkpoint(checkpoint: Path, run: RunRecord) -> CheckpointState:
    """A checkpoint's own record. UserError, naming the file, unless it is of the run and of the step in its name.

    The tensors beside it are checked where they are read: `check_file`.
    """
    path = checkpoint / STATE
    state = CheckpointState.read(path)
    _check_owner(path, run, state.run, state.remedy)
    if state.step != checkpoint_step(checkpoint.resolve()):
        raise UserError(f"{path}: of step {state.step:,}, in a folder of another name; {state.remedy}")
    return state


def check_file(checkpoint: Path, state: CheckpointState, name: str, digests: EarlyDigests) -> None:
    """UserError, naming the file, unless it has the bytes that the checkpoint's record states.

    To be asked before the file is read; `check_used` after.
    """
    path, written = checkpoint / name, state.files.get(name)
    if not state.files:
        return
    try:
        is_same = written is not None and written == digests.stamp(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}; {state.remedy}") from None
    if not is_same:
        raise UserError(f"{path}: not the file that was written, by its digest; {state.remedy}")


def check_used(checkpoint: Path, state: CheckpointState, name: str, digests: EarlyDigests) -> None:
    """UserError unless a file that was read is still the one that was checked.

    Its digest would not do: who puts another file there and the first one back leaves the same bytes.
    """
    if not state.files:
        return
    try:
        is_same = digests.unchanged(checkpoint / name)
    except OSError:
        is_same = False
    if not is_same:
        raise UserError(f"{checkpoint / name}: was written to while it was read, so nothing was done; start again")


def _check_owner(path: Path, run: RunRecord | None, named: str | None, remedy: str) -> None:
    """UserError unless a file names the run whose folder it is in; those of older versions name none."""
    if run is None or (named is None and run.id is None):
        return
    if named != id_of(run):
        whose = "names no run" if named is None else f"is of run {named}"
        raise UserError(f"{path}: {whose}, and {RUN} of run {id_of(run)}; {remedy}")
