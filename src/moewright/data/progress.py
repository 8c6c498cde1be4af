"""How far a long command is, on stderr and only where somebody watches."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import rich.progress

from moewright.screen import Screen

Item = TypeVar("Item")


class PreparationProgress:
    """Steps one after another, each with its own bar."""

    def __init__(self, bars: rich.progress.Progress) -> None:
        self._bars = bars

    def step(self, name: str, total: int | None = None) -> Callable[[int], None]:
        """A new bar; the function adds to it."""
        task = self._bars.add_task(name, total=total)

        def advance(count: int) -> None:
            self._bars.advance(task, count)

        return advance

    def track(self, name: str, items: Iterable[Item], total: int | None = None) -> Iterator[Item]:
        """The items, counted by a new bar as they pass."""
        advance = self.step(name, total)
        for item in items:
            yield item
            advance(1)


@contextmanager
def progress() -> Iterator[PreparationProgress]:
    """Bars that vanish when the block ends; none if stderr is no terminal."""
    console = Screen(stderr=True)
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.TextColumn("{task.completed:,.0f} documents"),
        rich.progress.TimeElapsedColumn(),
    )
    with rich.progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        yield PreparationProgress(bars)
