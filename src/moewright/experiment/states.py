"""The state of a run, from its files alone: nothing is remembered elsewhere, so nothing can disagree with them.

A worker notes the beginning and the end of each attempt and holds a lock in between. One that was killed leaves a
beginning without an end and no lock. No clock of a machine is trusted: times in records only inform.
"""

import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from moewright.errors import UserError
from moewright.experiment import run_folder
from moewright.experiment.attempts import Attempt, begins, last_end, read_attempts
from moewright.experiment.binding import check_status
from moewright.experiment.locks import is_locked
from moewright.experiment.run_folder import RunStatus
from moewright.experiment.sweep_folder import ATTEMPTS, attempts_file, attempts_lock, run_path
from moewright.experiment.trainer_folder import PRINTED, is_of_another_trainer

State = Literal["pending", "running", "done", "failed", "diverged", "timed-out", "interrupted"]
STATES: tuple[State, ...] = get_args(State)
UNDER_WAY: tuple[State, ...] = ("pending", "running")
"""Before a run's first end; of what is pending, whether anybody works on it or not."""

SeenState = State | Literal["stalled"]
"""Stalled: running, but an observer has seen nothing new of it for long. Files alone do not tell."""
SEEN_STATES: tuple[SeenState, ...] = ("pending", "running", "stalled", *STATES[2:])

RECENT_SECONDS = 900.0
"""A run on another machine is taken for alive if it wrote within this time: 1.5 times the usual time between two
checkpoints, each of which writes."""

_READINGS = 3
_ENDS: dict[str, State] = {"failed": "failed", "timed-out": "timed-out", "diverged": "diverged"}


def state_of(
    status: RunStatus | None,
    attempts: Sequence[Attempt],
    *,
    has_folder: bool,
    locked: bool,
    alive_elsewhere: bool = False,
) -> State:
    """The state of a run.

    `status` is its status.json; None while there is no such file, or it is damaged. `attempts` are those of
    `read_attempts`. `has_folder`: the run's folder is there. `locked`: a process holds the lock. `alive_elsewhere`: the
    last attempt is another machine's and wrote recently. Only status.json makes a run done: it is written after the
    last checkpoint, so an attempt that says finished without it is run again, from that checkpoint.
    """
    said = None if status is None else status.state
    if said == "finished":
        return "done"
    if said == "diverged":
        return "diverged"
    if locked:
        return "running"
    if attempts:
        end = last_end(attempts)
        if end is None:
            return "running" if alive_elsewhere else "interrupted"
        return _ENDS.get(end.end or "", "interrupted")
    if not has_folder:
        return "pending"
    return "failed" if said == "failed" else "interrupted"


@dataclass(frozen=True)
class Observed:
    """A run as its files show it."""

    state: State
    has_folder: bool
    status: RunStatus | None
    """status.json; None without the file, and where it is damaged or does not fit the run's other files."""
    attempts: list[Attempt]
    problem: str | None = None
    """What is wrong with the files of a run that says how it ended, in one line."""
    age: float | None = None
    """Of an attempt on another machine that has not ended, and whose lock does not show: the seconds since it last
    wrote, by the file system's clock. None for other runs, or where that clock is not known."""


def observe(out: Path, run: str, now: float | None = None) -> Observed:
    """A run of a sweep. `now` is `sweep_time(out)`, taken once for many runs; None: not known."""
    folder, lock = run_path(out, run), attempts_lock(out, run)
    seen = _observe(folder, attempts_file(out, run), (lock, folder / run_folder.LOCK))
    begun = begins(seen.attempts)
    is_elsewhere = bool(begun) and begun[-1].host != platform.node()
    if seen.state == "interrupted" and is_elsewhere and last_end(seen.attempts) is None and now is not None:
        return with_age(seen, now - _last_written(out, run))
    return seen


def with_age(seen: Observed, age: float) -> Observed:
    """A run that was last heard of so many seconds ago, on another machine."""
    is_alive = age < RECENT_SECONDS
    state = state_of(seen.status, seen.attempts, has_folder=seen.has_folder, locked=False, alive_elsewhere=is_alive)
    return replace(seen, state=state, age=age)


def observe_run(folder: Path) -> Observed:
    """A run that `moewright train` makes in a folder of its own. One on another machine may not show as running."""
    return _observe(folder, None, (folder / run_folder.LOCK,))


def _observe(folder: Path, attempts_at: Path | None, locks: Sequence[Path]) -> Observed:
    # A worker may begin or end while its files are read: what was read counts if the lock stayed as it was.
    for _ in range(_READINGS):
        locked = any(map(is_locked, locks))
        attempts = read_attempts(attempts_at) if attempts_at is not None else []
        has_folder = _has_begun(folder)
        status, problem = _read_status(folder)
        if any(map(is_locked, locks)) == locked:
            break
    state = state_of(status, attempts, has_folder=has_folder, locked=locked)
    return Observed(state, has_folder, status, attempts, problem)


def _has_begun(folder: Path) -> bool:
    """Whether a run's folder is there, and not only what another trainer is to be started with."""
    return folder.is_dir() and (not is_of_another_trainer(folder) or (folder / PRINTED).exists())


def _read_status(folder: Path) -> tuple[RunStatus | None, str | None]:
    try:
        return read_checked_status(folder), None
    except UserError as error:
        return None, str(error)


def read_checked_status(folder: Path) -> RunStatus | None:
    """status.json of a run; None before the first checkpoint. UserError for one that is damaged, and for one that says
    finished or diverged while the other files say otherwise. What a run on its way says is not looked into.

    Of a run that another trainer makes, what that trainer's own files come to."""
    if is_of_another_trainer(folder):
        from moewright.experiment.trainer_outcome import read_outcome  # readers of logs take as long as a tiny run

        return read_outcome(folder).status
    status = run_folder.read_status(folder)
    if status is not None and status.state in ("finished", "diverged"):
        run = run_folder.read_run(folder) if (folder / run_folder.RUN).is_file() else None
        check_status(folder, run, status)
    return status


def file_system_time(folder: Path) -> float | None:
    """The time in seconds that the folder's file system gives to a file written now; None if none can be written."""
    try:
        handle, path = tempfile.mkstemp(dir=folder, prefix=".clock.")
    except OSError:
        return None
    try:
        return os.fstat(handle).st_mtime
    finally:
        os.close(handle)
        os.unlink(path)


def sweep_time(out: Path) -> float | None:
    """`file_system_time` where a sweep notes its attempts."""
    return file_system_time(out / ATTEMPTS)


def _last_written(out: Path, run: str) -> float:
    folder = run_path(out, run)
    files = (attempts_file(out, run), *(folder / name for name in (run_folder.METRICS, run_folder.STATUS, PRINTED)))
    times = [file.stat().st_mtime for file in files if file.exists()]
    return max(times, default=float("-inf"))
