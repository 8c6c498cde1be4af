"""Signals that end a command: their words, and handlers that hold for a while. Nothing but the standard library."""

import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

ENDINGS: dict[int, str] = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "its terminal was closed",
}
"""What the last line says of a command that such a signal ended; its exit code is 128 and the signal's number."""


class Interrupted(KeyboardInterrupt):
    """A signal was heard that ends the command, and what had to be finished is."""

    def __init__(self, number: int):
        super().__init__(ENDINGS[number])
        self.number = number


def is_ignored(number: int) -> bool:
    """Whether whoever started this process had it ignore a signal, as nohup and a shell's background jobs do."""
    return signal.getsignal(number) is signal.SIG_IGN


@contextmanager
def handling(handlers: Mapping[int, Callable[[int, Any], None]]) -> Iterator[None]:
    """Within the block these signals are handled so, if this is the main thread: elsewhere its owner handles them.

    What is ignored stays so.
    """
    before = {}

    def heard(number: int, frame: Any) -> None:
        if number == signal.SIGHUP:
            leave_terminal()
        handlers[number](number, frame)

    try:
        for number in handlers:
            if not is_ignored(number):
                before[number] = signal.signal(number, heard)
    except ValueError:  # not the main thread
        pass
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def leave_terminal() -> None:
    """Print to nowhere from now on where it was a terminal, which is closed: each write would be an error."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # a stream that is closed, or none
            if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
