"""How tables look in the terminal: a bold title on the left, no lines, numbers on the right."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from rich.table import Table
from rich.text import Text

from moewright.screen import Screen

_BETWEEN = 3
"""Blanks between stacks of a catalogue."""
_WIDEST = 10_000


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


def print_catalogue(console: Screen, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print short rows in as many stacks as stand side by side in the terminal, read downwards; no row is broken.

    The first cell of a row is its name, the others are numbers.
    """
    widths = [max(map(len, cells)) for cells in zip(heads, *rows, strict=True)]
    beside = max(1, (console.width + _BETWEEN) // (sum(widths) + len(widths) - 1 + _BETWEEN))
    height = -(-len(rows) // beside)
    stacks = [rows[start : start + height] for start in range(0, len(rows), height)]
    gap = " " * _BETWEEN
    for line in [[heads] * len(stacks), *zip_longest(*stacks, fillvalue=[""] * len(heads))]:
        cells = (" ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in line)
        console.print(gap.join(cells).rstrip(), no_wrap=True, overflow="ignore", crop=False)


def print_rows(console: Screen, table: Table) -> None:
    """Print a table with a line for each row, however wide: what programs look in."""
    table.width = table.__rich_measure__(console, console.options.update(max_width=_WIDEST)).maximum
    console.print(table, crop=False)


def number_table(title: str | Text | None, *columns: str) -> Table:
    """A column of names and columns of numbers under these headers."""
    table = bare_table(title)
    table.add_column(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table
