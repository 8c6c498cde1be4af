"""How tables look in the terminal: a bold title on the left, no lines, numbers on the right."""

from rich.table import Table
from rich.text import Text


def bare_table(title: str | Text | None, *, narrow: bool = False) -> Table:
    """A table without columns yet. `narrow`: one blank between columns instead of two, for many of them."""
    padding = (0, 1, 0, 0) if narrow else (0, 1)
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=padding)


def number_table(title: str | Text | None, *columns: str) -> Table:
    """A column of names and columns of numbers under these headers."""
    table = bare_table(title)
    table.add_column(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table
