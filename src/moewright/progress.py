"""How far long work is: told by whoever works, shown where somebody asked, silent anywhere else.

Work says what it does and how much of it is done:

    for chunk in track("searching", chunks, total, "chunks"):
        ...
    with progress_task("training", tokens, "tokens", format_count) as task:
        task.advance(4096, "loss 3.214")

Nothing is printed unless it happens inside `with showing_progress():`, which the command line opens and a script or a
notebook may. Then a terminal shows bars with the time that is left, from SHOWN_AFTER seconds on, and wipes them in the
end; where standard error is no terminal, it gets a line now and then instead.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock, Timer
from typing import TYPE_CHECKING, Protocol, TypeVar

from moewright.foreign_text import visible
from moewright.quantities import format_duration

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

Item = TypeVar("Item")

SHOWN_AFTER = 1.0
"""Seconds that a command may take without a bar."""
LINES, LINE_EVERY = (5.0, 30.0), 60.0
"""Seconds at which work that goes on has its first lines, and between lines after these."""
EARLY_LINES = (0.0, 10.0, 20.0, 30.0)
"""Seconds at which work with an opening line has its first ones."""
_LEFT_AFTER = 0.02
"""Share of the work after which its time says something of the rest."""
_BAR = 24


class ProgressTask:
    """One piece of work that is under way."""

    def __init__(
        self,
        name: str,
        total: float | None,
        unit: str,
        write: Callable[[float], str],
        done: float,
        opening: str | None,
        is_even: bool,
    ) -> None:
        self.name, self.total, self.unit, self.opening, self.is_even = name, total, unit, opening, is_even
        self.done = done
        self.note = ""
        self._write = write
        self._began, self._done_before = time.monotonic(), done
        self.listener: _Listener | None = None

    def advance(self, count: float = 1, note: str | None = None) -> None:
        """So much more is done; `note` is shown beside it. Called from one thread."""
        self.reach(self.done + count, self.total, note)

    def reach(self, done: float, total: float | None, note: str | None = None) -> None:
        """So much of so much is done."""
        self.done, self.total = done, total
        if note is not None:
            self.note = note
        if self.listener is not None:
            self.listener.moved(self)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    @property
    def seconds_left(self) -> float | None:
        """At the speed so far; None while that says nothing, and where pieces are unlike."""
        if self.total is None or not self.is_even:
            return None
        now, all_of_it = self.done - self._done_before, self.total - self._done_before
        return self.seconds * (all_of_it / now - 1) if now > _LEFT_AFTER * all_of_it else None

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self._write(self.total)}"
        parts = [f"{self._write(self.done)}{of} {self.unit}".rstrip()] if self.done or of else []
        left = self.seconds_left
        parts += [part for part in (self.note, None if left is None else f"{format_duration(left)} left") if part]
        return visible(", ".join(parts))


class _Listener(Protocol):
    """Who shows tasks."""

    def began(self, task: ProgressTask) -> None: ...
    def moved(self, task: ProgressTask) -> None: ...
    def ended(self, task: ProgressTask) -> None: ...
    def close(self) -> None: ...


_listener: ContextVar[_Listener | None] = ContextVar("listener", default=None)


@contextmanager
def showing_progress() -> Iterator[None]:
    """What is done in this block shows on standard error how far it is."""
    listener: _Listener = _Bars() if _is_watched() else _Lines()
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)
        listener.close()


@contextmanager
def hiding_progress() -> Iterator[None]:
    """In this block work is silent again: it has a display of its own."""
    before = _listener.set(None)
    try:
        yield
    finally:
        _listener.reset(before)


def shows_progress() -> bool:
    """Whether somebody asked to see how far work is."""
    return _listener.get() is not None


@contextmanager
def progress_task(
    name: str,
    total: float | None = None,
    unit: str = "",
    write: Callable[[float], str] = lambda number: f"{number:,.0f}",
    *,
    done: float = 0,
    opening: str | None = None,
    is_even: bool = True,
) -> Iterator[ProgressTask]:
    """Work that lasts as long as the block; the block tells how far it is by `advance`.

    Args:
        name: What is done, such as "searching".
        total: How much of it there is, if known.
        unit: What is counted.
        write: How counts are written.
        done: How much was done before.
        opening: A line for logs, at once: such work is long, and its log begins early.
        is_even: Whether a share of it takes that share of its time; else nothing is said of the time left.
    """
    task = ProgressTask(name, total, unit, write, done, opening, is_even)
    listener = _listener.get()
    if listener is None:
        yield task
        return
    task.listener = listener
    listener.began(task)
    try:
        yield task
    finally:
        listener.ended(task)


def track(
    name: str,
    items: Iterable[Item],
    total: float | None = None,
    unit: str = "",
    *,
    size: Callable[[Item], float] = lambda item: 1,
    is_even: bool = True,
) -> Iterator[Item]:
    """The items, counted as they pass, each as its `size`.

    >>> list(track("reading", ["a", "b"], 2, "files"))
    ['a', 'b']
    """
    with progress_task(name, total, unit, is_even=is_even) as task:
        for item in items:
            yield item
            task.advance(size(item))


def _is_watched() -> bool:
    """Whether standard error is a terminal that can draw. FORCE_COLOR makes none of a file."""
    if not sys.stderr.isatty():
        return False
    from moewright.screen import Screen

    return not Screen(stderr=True).is_dumb_terminal


class _Bars:
    """Bars on a terminal, drawn four times a second by rich's own thread, once there is something to wait for."""

    def __init__(self) -> None:
        self._tasks: list[ProgressTask] = []
        self._live: Live | None = None
        self._timer: Timer | None = None
        self._lock, self._closed = Lock(), False

    def began(self, task: ProgressTask) -> None:
        self._tasks = [*self._tasks, task]
        if self._timer is None:
            self._timer = Timer(SHOWN_AFTER, self._open)
            self._timer.daemon = True
            self._timer.start()

    def moved(self, task: ProgressTask) -> None:
        """The next drawing has it."""

    def ended(self, task: ProgressTask) -> None:
        self._tasks = [other for other in self._tasks if other is not task]

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._closed = True
            if self._live is not None:
                self._live.stop()

    def _open(self) -> None:
        from rich.live import Live

        from moewright.screen import Screen

        with self._lock:
            if not self._closed:
                # What others print on standard error comes out above the bars; results are not printed meanwhile.
                self._live = Live(
                    console=Screen(stderr=True), get_renderable=self._draw, transient=True, redirect_stdout=False
                )
                self._live.start()

    def _draw(self) -> "Table":
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        from moewright.screen import styled

        grid = Table.grid(padding=(0, 1, 0, 0))
        for width in (None, _BAR, None):
            grid.add_column(no_wrap=True, overflow="ellipsis", width=width)
        for task in self._tasks:
            bar = ProgressBar(task.total, min(task.done, task.total or 0), width=_BAR, pulse=task.total is None)
            grid.add_row(styled("{}", task.name), bar, styled("{}", task))
        return grid


class _Lines:
    """Lines on what is no terminal: none for what is over soon."""

    def __init__(self) -> None:
        self._due: dict[int, list[float]] = {}

    def began(self, task: ProgressTask) -> None:
        self._due[id(task)] = list(LINES if task.opening is None else EARLY_LINES)
        if task.opening is not None:
            say(f"{task.name}: {task.opening}")

    def moved(self, task: ProgressTask) -> None:
        due = self._due[id(task)]
        if task.seconds < due[0]:
            return
        while due and due[0] <= task.seconds:
            due.pop(0)
        if not due:
            due.append(task.seconds + LINE_EVERY)
        say(f"{task.name}: {task}")

    def ended(self, task: ProgressTask) -> None:
        del self._due[id(task)]

    def close(self) -> None:
        """Nothing to wipe."""


def say(line: str) -> None:
    """One line of a log on standard error, with the time of day."""
    print(visible(f"{time.strftime('%H:%M:%S')} {line}"), file=sys.stderr, flush=True)
