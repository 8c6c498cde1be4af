"""What is noted of the attempts at a run, and when so many failed that it is left alone. No torch."""

import os
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from moewright.experiment.sweep_folder import attempts_file
from moewright.files import AppendOnlyFile
from moewright.line_records import LineRecord, read_lines
from moewright.outputs import NO_SPACE
from moewright.records import LARGEST_SIZE, Count, Items

Ending = Literal["finished", "interrupted", "timed-out", "diverged", "failed"]

AttemptNumber = Annotated[int, Field(strict=True, ge=1, le=LARGEST_SIZE)]
"""Which attempt at a run, from 1."""


class AttemptBegin(LineRecord):
    """A worker begins at a run."""

    event: Literal["begin"] = "begin"
    attempt: AttemptNumber
    time: float | None = None
    """Unix time by the clock of the machine that writes."""
    host: str | None = None
    pid: int | None = None
    step: Count | None = None
    """Of the checkpoint that it goes on from; 0: none."""
    threads: Count | None = None
    """Of torch."""
    cores: Items[Count] = ()
    """That it keeps to; none: wherever the system puts it."""
    job: str | None = None
    """The executor that it came through."""


class AttemptEnd(LineRecord):
    """An attempt ended."""

    event: Literal["end"] = "end"
    attempt: AttemptNumber
    time: float | None = None
    end: str | None = None
    """One of `Ending`."""
    reason: str | None = None


Attempt = AttemptBegin | AttemptEnd


def read_attempts(path: Path) -> list[Attempt]:
    """The records of a run's attempts in the order of writing; none without the file. Damaged lines are left out."""
    return list(read_lines(path, AttemptBegin, AttemptEnd)) if path.is_file() else []


def note_begin(out: Path, run: str, attempt: int, *, step: int, **more: Any) -> None:
    """A worker begins, from the checkpoint of a step; `more`: fields of `AttemptBegin`. Raises OSError."""
    begin = AttemptBegin(attempt=attempt, time=time.time(), host=platform.node(), pid=os.getpid(), step=step, **more)
    _append(out, run, begin)


def note_end(out: Path, run: str, attempt: int, end: Ending, reason: str | None = None) -> None:
    """An attempt ended. On a full disk nothing is noted: the attempt then counts as interrupted."""
    if reason is not None and NO_SPACE in reason:
        end = "interrupted"
    with suppress(OSError):
        _append(out, run, AttemptEnd(attempt=attempt, time=time.time(), end=end, reason=reason))


def begins(attempts: Sequence[Attempt]) -> list[AttemptBegin]:
    """The beginnings among them."""
    return [record for record in attempts if isinstance(record, AttemptBegin)]


def last_end(attempts: Sequence[Attempt]) -> AttemptEnd | None:
    """The record that ends the last attempt; None if it has not ended, or there is none."""
    last = next_attempt(attempts) - 1
    ends = [record for record in attempts if isinstance(record, AttemptEnd) and record.attempt == last]
    return ends[-1] if ends else None


def next_attempt(attempts: Sequence[Attempt]) -> int:
    """The number of the attempt that follows these, from 1."""
    return 1 + max((record.attempt for record in attempts), default=0)


def failures_in_a_row(attempts: Sequence[Attempt], step: int) -> int:
    """How many of the last attempts failed and left the run where it is, at the checkpoint of `step`.

    Interrupted attempts, whose end nobody saw, neither count nor break the row; a run that got further starts anew.
    """
    ends = {record.attempt: record.end for record in attempts if isinstance(record, AttemptEnd)}
    begun = {record.attempt: record.step for record in begins(attempts)}
    count = 0
    for attempt in sorted(begun, reverse=True):
        if begun[attempt] != step or ends.get(attempt) == "timed-out":
            break
        count += ends.get(attempt) == "failed"
    return count


def _append(out: Path, run: str, record: Attempt) -> None:
    file = AppendOnlyFile(attempts_file(out, run))
    try:
        file.write(record.to_dict())
        file.sync()
    finally:
        file.close()
