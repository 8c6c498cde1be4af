"""Locks of files that the kernel lets go of when their holder dies: one writer in a folder. No torch."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TRIES, _PAUSE = 5, 0.02
"""Looking at a lock takes it for some microseconds; five looks in a row by chance are somebody who holds it."""


def take_lock(path: Path) -> int | None:
    """A descriptor that holds the lock until it is closed; None if somebody else holds it. Raises OSError."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        for turn in range(_TRIES):
            if turn:
                time.sleep(_PAUSE)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            return handle
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


@contextmanager
def holding(path: Path) -> Iterator[bool]:
    """Hold the lock for a block; yields whether nobody else does. Raises OSError."""
    handle = take_lock(path)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock. One on another machine may not show, as the file system has it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # of a pipe, opening would wait for a writer
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(handle)
    return False
