"""What a job does: one run, from where it stands, with its attempt noted. Torch is imported when training begins."""

import os
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moewright.errors import RunStopped, UserError
from moewright.experiment import run_folder
from moewright.experiment.attempts import Ending, next_attempt, note_begin, note_end, read_attempts
from moewright.experiment.early_digests import of_newest_checkpoint
from moewright.experiment.locks import take_lock
from moewright.experiment.sweep_folder import STOP, attempts_file, attempts_lock, run_path
from moewright.experiment.trainer_folder import is_of_another_trainer, reached_step
from moewright.signals import Interrupted, handling
from moewright.sweeps.running.run_endings import complete, keep_of_checkpoints

_LOCK_SECONDS = 5.0
"""A worker that was killed a moment ago lets go of its lock at once; another that lives keeps it for longer."""


def work(
    out: str,
    run: str,
    recipe: dict[str, Any],
    *,
    threads: int,
    cores: Sequence[int],
    keep: str,
    job: str,
    job_folder: str,
) -> str:
    """Train a run of a sweep, or go on with it. Returns how the attempt ended.

    Without an attempt: "busy" if another worker is at the run, "over" if it needs no further one, "stopped" if the
    submitter has asked for that. `threads` of torch run on `cores` (none: wherever the system puts them). `keep`: see
    `Execution`. `job_folder`: submitit's.
    """
    folder = Path(out)
    with _heeded_signals() as limit:
        lock = _wait_for_lock(attempts_lock(folder, run))
        if lock is None:
            return "busy"
        try:
            # Another worker may have ended the run while this one was loading, or waiting for the lock.
            if complete(folder, run, keep):
                return "over"
            # Asked before the signals were heard: submitit's controller and Python's start both lose some.
            if (Path(job_folder) / STOP).exists():
                return "stopped"
            return _attempt(folder, run, recipe, lock, threads, cores, keep, job, limit)
        finally:
            os.close(lock)


def _attempt(
    out: Path,
    run: str,
    recipe: dict[str, Any],
    lock: int,
    threads: int,
    cores: Sequence[int],
    keep: str,
    job: str,
    limit: "TimeLimit",
) -> str:
    take_cores(threads, cores)
    folder = run_path(out, run)
    attempt = next_attempt(read_attempts(attempts_file(out, run)))
    note_begin(out, run, attempt, step=reached_step(folder), threads=threads, cores=list(cores), job=job)
    end: Ending = "failed"
    reason: str | None = None
    try:
        if is_of_another_trainer(folder):
            from moewright.sweeps.running.launching import launch  # with readers of logs, which no run of the lab needs

            end, reason = launch(folder, lock)
        else:
            end = _train(recipe, folder)
        if end == "interrupted" and limit.is_near:
            end = "timed-out"
    except RunStopped as stopped:
        status = run_folder.read_status(folder)
        end = "diverged" if status is not None and status.state == "diverged" else "failed"
        reason = str(stopped)
    except UserError as error:
        reason = str(error)
    except KeyboardInterrupt:  # a signal before the first step
        end = "timed-out" if limit.is_near else "interrupted"
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        traceback.print_exc()  # into the job's log
    if end == "finished" and not is_of_another_trainer(folder):
        keep_of_checkpoints(folder, keep)
    note_end(out, run, attempt, end, reason)
    return end


def take_cores(threads: int, cores: Sequence[int]) -> None:
    """Keep this process to some cores (none: wherever the system puts it) and torch to some threads."""
    if cores:
        os.sched_setaffinity(0, cores)
    # Read when torch is loaded; in a fork of a process that has loaded it, by whoever calls `use_threads`.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)


def _train(recipe: dict[str, Any], folder: Path) -> Ending:
    with of_newest_checkpoint(folder) as digests:  # hashed while torch is imported
        from moewright.experiment.recipe import Recipe
        from moewright.lab.machine import use_threads
        from moewright.lab.training import train

        use_threads(int(os.environ["OMP_NUM_THREADS"]))
        result = train(Recipe.from_dict(recipe), folder, show=False, digests=digests)
    return "finished" if result.state == "finished" else "interrupted"


class TimeLimit:
    """Whether the warning before the time limit has come."""

    is_near = False


@contextmanager
def _heeded_signals() -> Iterator[TimeLimit]:
    """SIGUSR2, submitit's warning before the time limit, SIGTERM and a terminal that closes end the run with a
    checkpoint.

    The training loop puts its own handlers of the last two in place, and these back.
    """
    limit = TimeLimit()

    def time_is_up(signum: int, frame: Any) -> None:
        limit.is_near = True
        os.kill(os.getpid(), signal.SIGTERM)

    def stop(signum: int, frame: Any) -> None:
        raise Interrupted(signum)

    with handling({signal.SIGUSR2: time_is_up, signal.SIGTERM: stop, signal.SIGHUP: stop}):
        yield limit


def _wait_for_lock(path: Path) -> int | None:
    end = time.monotonic() + _LOCK_SECONDS
    while True:
        lock = take_lock(path)
        if lock is not None or time.monotonic() > end:
            return lock
        time.sleep(0.1)
