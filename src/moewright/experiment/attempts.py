"""What is noted of the attempts at a run, and when so many failed that it is left alone. No torch."""

import errno
import os
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from moewright.experiment.sweep_layout import attempts_file
from moewright.files import AppendOnlyFile

End = Literal["finished", "interrupted", "timed-out", "diverged", "failed"]

NO_SPACE = os.strerror(errno.ENOSPC)
"""What the system says of a full disk. Such an end is an interruption: the run itself is not at fault."""


def note_begin(out: Path, run: str, attempt: int, *, step: int, **more: Any) -> None:
    """A worker begins, from the checkpoint of a step. Raises OSError."""
    _append(
        out,
        run,
        {
            "event": "begin",
            "attempt": attempt,
            "time": time.time(),
            "host": platform.node(),
            "pid": os.getpid(),
            "step": step,
            **more,
        },
    )


def note_end(out: Path, run: str, attempt: int, end: End, reason: str | None = None) -> None:
    """An attempt ended. On a full disk nothing is noted: the attempt then counts as interrupted."""
    if reason is not None and NO_SPACE in reason:
        end = "interrupted"
    with suppress(OSError):
        _append(out, run, {"event": "end", "attempt": attempt, "time": time.time(), "end": end, "reason": reason})


def next_attempt(attempts: Sequence[Mapping[str, Any]]) -> int:
    """The number of the attempt that follows these, from 1."""
    return 1 + max((record["attempt"] for record in attempts), default=0)


def failures_in_a_row(attempts: Sequence[Mapping[str, Any]], step: int) -> int:
    """How many of the last attempts failed and left the run where it is, at the checkpoint of `step`.

    Interrupted attempts, whose end nobody saw, neither count nor break the row; a run that got further starts anew.
    """
    ends = {record["attempt"]: record["end"] for record in attempts if record["event"] == "end"}
    begun = {record["attempt"]: record.get("step") for record in attempts if record["event"] == "begin"}
    count = 0
    for attempt in sorted(begun, reverse=True):
        if begun[attempt] != step or ends.get(attempt) == "timed-out":
            break
        count += ends.get(attempt) == "failed"
    return count


def _append(out: Path, run: str, record: Mapping[str, Any]) -> None:
    file = AppendOnlyFile(attempts_file(out, run))
    try:
        file.write(record)
    finally:
        file.close()
