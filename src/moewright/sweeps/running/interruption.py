"""Ctrl-C and SIGTERM to the submitter. No torch."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Told:
    """What signals said."""

    to_stop = False


@contextmanager
def interruptible() -> Iterator[Told]:
    """Ctrl-C and SIGTERM are heard between jobs, so that none is started and forgotten; a second one at once."""
    told = Told()

    def interrupt(signum: int, frame: Any) -> None:
        if told.to_stop:
            raise KeyboardInterrupt
        told.to_stop = True

    before = {}
    try:
        for name in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(name) is not signal.SIG_IGN:
                before[name] = signal.signal(name, interrupt)
    except ValueError:  # not the main thread: its owner handles signals
        pass
    try:
        yield told
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
