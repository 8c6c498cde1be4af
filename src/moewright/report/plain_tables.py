"""How tables look in the terminal: a bold title on the left, no lines, numbers on the right."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from moewright.screen import Screen


def bare_table(title: str | Text | None, *, narrow: bool = False) -> Table:
    """A table without columns yet. `narrow`: one blank between columns instead of two, for many of them."""
    padding = (0, 1, 0, 0) if narrow else (0, 1)
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=padding)


def print_labelled(console: Screen, facts: Iterable[tuple[str, str]], width: int = 8) -> None:
    """A line for each label and text; what does not fit goes on below the text, not below the label."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True, style="bold", min_width=width)
    grid.add_column(overflow="fold")
    for label, text in facts:
        grid.add_row(label, text)
    console.print(grid)


def number_table(title: str | Text | None, *columns: str) -> Table:
    """A column of names and columns of numbers under these headers."""
    table = bare_table(title)
    table.add_column(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table
