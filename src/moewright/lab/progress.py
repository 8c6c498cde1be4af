"""The progress bar of a run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from moewright.experiment.recipe import Recipe
from moewright.quantities import format_count

_SMOOTHING = 0.9


@contextmanager
def training_progress(recipe: Recipe, tokens: int) -> Iterator[Callable[[int, float, float], None]]:
    """A bar on standard error, if that is a terminal; yields what takes tokens done, loss and tokens per second."""
    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(compact=True),
    )
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=recipe.train_tokens, completed=tokens, text="first step")
        smooth: float | None = None

        def show(done: int, loss: float, speed: float) -> None:
            nonlocal smooth
            smooth = loss if smooth is None else _SMOOTHING * smooth + (1 - _SMOOTHING) * loss
            text = f"{format_count(done, 3)} tokens, {format_count(speed, 3)}/s, loss {smooth:.3f}"
            progress.update(task, completed=done, text=text)

        yield show
