"""What is left to do when a run has ended: by its worker, or by the submitter where that was killed before."""

import shutil
from contextlib import suppress
from pathlib import Path

from moewright.errors import UserError
from moewright.experiment import run_folder
from moewright.experiment.attempts import last_end, next_attempt, note_begin, note_end, read_attempts
from moewright.experiment.locks import holding
from moewright.experiment.states import Observed, read_checked_status
from moewright.experiment.sweep_folder import STOP, attempts_file, attempts_lock, run_path
from moewright.experiment.trainer_folder import is_of_another_trainer, reached_step
from moewright.outputs import NO_SPACE
from moewright.sweeps.running.executor import Job

SPARE_BYTES = 64 * 2**20
"""A disk with less room than that is full."""


def note_death(out: Path, job: Job, why: str | None = None) -> None:
    """After a job that left its run undone: note an end, if its worker could not. Raises OSError.

    `why`: the reason that the submitter had to end it.
    """
    with suppress(OSError):  # a worker that loads yet, without its controller, shall not begin: another one will
        (job.folder / STOP).touch()
    with holding(attempts_lock(out, job.run)) as is_mine:
        if not is_mine:  # a worker outlived its controller, or another one was there first
            return
        attempts = read_attempts(attempts_file(out, job.run))
        last = next_attempt(attempts) - 1
        if last < job.attempt:
            last = job.attempt
            note_begin(out, job.run, last, step=reached_step(run_path(out, job.run)), job="never began")
        elif last_end(attempts) is not None:
            return
        # On a full disk a worker cannot note its end; otherwise it was killed, perhaps because it took all memory.
        is_full = shutil.disk_usage(out).free < SPARE_BYTES
        killed = f"{'' if why is None else f'it stalled: {why}; '}the process was killed; see {job.folder}"
        note_end(out, job.run, last, "failed", f"{out}: {NO_SPACE}" if is_full else killed)


def note_foreign_death(out: Path, run: str, why: str) -> None:
    """After a worker of another submitter that did not get on: note its end, if it is dead. Raises OSError."""
    with holding(attempts_lock(out, run)) as is_mine:
        attempts = read_attempts(attempts_file(out, run))
        if is_mine and attempts and last_end(attempts) is None:
            note_end(out, run, next_attempt(attempts) - 1, "failed", f"it stalled: {why}")


def make_up(out: Path, run: str, seen: Observed, keep: str) -> None:
    """After a run that is over: remove the checkpoints and note the end, if its worker could not. Raises OSError."""
    if seen.state not in ("done", "diverged") or not seen.attempts or last_end(seen.attempts) is not None:
        return
    with holding(attempts_lock(out, run)) as is_mine:
        if is_mine:  # otherwise its worker is alive, and does it
            complete(out, run, keep)


def complete(out: Path, run: str, keep: str) -> bool:
    """Whether a run is over, done or diverged, after which no worker begins. The caller holds its lock.

    If its worker was killed after that and before it noted the end, what it left to do is done here.
    """
    folder = run_path(out, run)
    try:
        status = read_checked_status(folder)
    except UserError:  # an attempt says the same, and that is noted
        return False
    if status is None or status.state not in ("finished", "diverged"):
        return False
    attempts = read_attempts(attempts_file(out, run))
    if attempts and last_end(attempts) is None:
        if status.state == "finished" and not is_of_another_trainer(folder):
            keep_of_checkpoints(folder, keep)
        note_end(out, run, next_attempt(attempts) - 1, status.state)
    return True


def keep_of_checkpoints(folder: Path, keep: str) -> None:
    """Remove what need not stay of a finished run's checkpoints."""
    if keep == "all":
        return
    kept = run_folder.checkpoints(folder)[-1:] if keep == "model" else []
    for path in (folder / run_folder.CHECKPOINTS).glob("*"):
        if path not in kept:  # an older one, or what a killed process left half there
            shutil.rmtree(path, ignore_errors=True)
    for checkpoint in kept:
        (checkpoint / run_folder.OPTIMIZER).unlink(missing_ok=True)
