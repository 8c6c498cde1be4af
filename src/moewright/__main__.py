"""`python -m moewright` and the installed command: signals are heard from here on, while the rest is imported too."""

import gc
import io
import os
import signal
import sys
from typing import Any, NoReturn

from moewright.foreign_text import visible
from moewright.signals import ENDINGS, leave_terminal

COLLECT_AFTER = 100_000
"""New objects before Python looks for circles among them. Imports make many objects and hardly a circle: with Python's
own 700 (2,000 since 3.13), looking takes a seventh of the time of `inspect`'s imports."""

AGAIN_SECONDS = 0.01
"""Until a signal that was heard where nothing can be raised is raised elsewhere."""


def main() -> NoReturn:
    """Run the command line. Ctrl-C ends it with 130, SIGTERM with 143 and a terminal that closes with 129, in one line,
    whatever it is at.

    Training and sweeps hear them themselves while they are at work, and write a checkpoint first.
    """
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
    heard: list[int] = []

    def hear(number: int, frame: Any) -> None:
        if number == signal.SIGHUP:
            leave_terminal()
        heard.append(number)
        raise SystemExit(128 + number)  # typer has a way of its own with KeyboardInterrupt

    def ignored(what: Any) -> None:
        """An exception where none can be raised, such as in a callback of a library: it comes once more, after that."""
        if heard and issubclass(what.exc_type, SystemExit):
            signal.signal(signal.SIGALRM, once_more)
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        else:
            sys.__unraisablehook__(what)

    def once_more(number: int, frame: Any) -> None:
        if frame is not None and frame.f_code is ignored.__code__:  # where it would be lost again
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        else:
            raise SystemExit(128 + heard[-1])

    for number in ENDINGS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):  # nohup has one of them ignored
            signal.signal(number, hear)
    sys.unraisablehook = ignored
    for stream in (sys.stdout, sys.stderr):  # a terminal's own encoding may lack letters
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code: Any = 1
    try:
        from moewright.cli import main as run

        run()
    except BaseException as error:
        deaf()
        if heard:  # in the middle of an import it may have become any exception
            code = 128 + heard[-1]
            print(visible(f"moewright: {ENDINGS[heard[-1]]}"), file=sys.stderr)
        elif isinstance(error, SystemExit):
            code = error.code
        else:
            raise
    sys.exit(flushed(code))


def deaf() -> None:
    """What is left takes no time and has an exit code: no signal changes it."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)


def flushed(code: Any) -> Any:
    """The exit code once everything is printed: 1, with a line, if it cannot be."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more
        if not isinstance(error, BrokenPipeError):  # the reader has seen enough
            print(visible(f"moewright: standard output: {error.strerror}"), file=sys.stderr)
        return code or 1
    return code


if __name__ == "__main__":
    main()
