"""The state of a run, from its files alone: nothing is remembered elsewhere, so nothing can disagree with them.

A worker notes the beginning and the end of each attempt and holds a lock in between. One that was killed leaves a
beginning without an end and no lock. No clock of a machine is trusted: times in records only inform.
"""

import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from moewright.errors import UserError
from moewright.experiment import run_folder
from moewright.experiment.locks import is_locked
from moewright.experiment.sweep_layout import ATTEMPTS, attempts_file, attempts_lock, run_path
from moewright.files import read_objects

State = Literal["pending", "running", "done", "failed", "diverged", "timed-out", "interrupted"]
STATES: tuple[State, ...] = get_args(State)

RECENT_SECONDS = 900.0
"""A run on another machine is taken for alive if it wrote within this time: 1.5 times the usual time between two
checkpoints, each of which writes."""

_READINGS = 3
_ENDS: dict[str, State] = {"failed": "failed", "timed-out": "timed-out", "diverged": "diverged"}


def state_of(
    status: Mapping[str, Any] | None,
    attempts: Sequence[Mapping[str, Any]],
    *,
    locked: bool,
    alive_elsewhere: bool = False,
) -> State:
    """The state of a run.

    `status` is its status.json: None without a run folder, empty while there is no such file. `attempts` are the
    records of `read_attempts`. `locked`: a process holds the lock. `alive_elsewhere`: the last attempt is another
    machine's and wrote recently. Only status.json makes a run done: it is written after the last checkpoint, so an
    attempt that says finished without it is run again, from that checkpoint.
    """
    said = status.get("state") if status is not None else None
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
        return _ENDS.get(str(end.get("end")), "interrupted")
    if status is None:
        return "pending"
    return "failed" if said == "failed" else "interrupted"


def last_end(attempts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The record that ends the last attempt; None if it has not ended, or there is none."""
    last = max((record["attempt"] for record in attempts), default=0)
    ends = [record for record in attempts if record["attempt"] == last and record["event"] == "end"]
    return ends[-1] if ends else None


def read_attempts(path: Path) -> list[dict[str, Any]]:
    """The records of a run's attempts in the order of writing; none without the file. Damaged lines are left out."""
    if not path.is_file():
        return []
    return [
        record
        for record in read_objects(path)
        if record.get("event") in ("begin", "end") and type(record.get("attempt")) is int
    ]


@dataclass(frozen=True)
class Observed:
    """A run as its files show it."""

    state: State
    status: dict[str, Any] | None
    """status.json; None without a run folder, empty without the file or where it is damaged."""
    attempts: list[dict[str, Any]]
    problem: str | None = None
    """What is wrong with status.json, in one line."""


def observe(out: Path, run: str, now: float | None = None) -> Observed:
    """A run of a sweep. `now` is `sweep_time(out)`, taken once for many runs; None: not known."""
    folder, lock = run_path(out, run), attempts_lock(out, run)
    seen = _observe(folder, attempts_file(out, run), (lock, folder / run_folder.LOCK))
    begun = [record for record in seen.attempts if record["event"] == "begin"]
    is_elsewhere = bool(begun) and begun[-1].get("host") != platform.node()
    if seen.state == "interrupted" and is_elsewhere and now is not None:
        alive = now - _last_written(out, run) < RECENT_SECONDS
        state = state_of(seen.status, seen.attempts, locked=False, alive_elsewhere=alive)
        return replace(seen, state=state)
    return seen


def observe_run(folder: Path) -> Observed:
    """A run that `moewright train` makes in a folder of its own. One on another machine may not show as running."""
    return _observe(folder, None, (folder / run_folder.LOCK,))


def _observe(folder: Path, attempts_at: Path | None, locks: Sequence[Path]) -> Observed:
    # A worker may begin or end while its files are read: what was read counts if the lock stayed as it was.
    for _ in range(_READINGS):
        locked = any(map(is_locked, locks))
        attempts = read_attempts(attempts_at) if attempts_at is not None else []
        status, problem = _read_status(folder)
        if any(map(is_locked, locks)) == locked:
            break
    return Observed(state_of(status, attempts, locked=locked), status, attempts, problem)


def _read_status(folder: Path) -> tuple[dict[str, Any] | None, str | None]:
    if not folder.is_dir():
        return None, None
    try:
        return run_folder.read_status(folder), None
    except UserError as error:
        return {}, str(error)


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
    files = (attempts_file(out, run), folder / run_folder.METRICS, folder / run_folder.STATUS)
    times = [file.stat().st_mtime for file in files if file.exists()]
    return max(times, default=float("-inf"))
