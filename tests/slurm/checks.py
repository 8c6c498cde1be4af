"""What was to happen in a test of many steps, and what did."""

from typing import Any

from rich.console import Console
from rich.table import Table


class Checks:
    """What was to be seen, and what was."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, bool]] = []

    def add(self, what: str, seen: Any, is_right: bool) -> None:
        """One line of the table."""
        self.rows.append((what, str(seen), is_right))

    def show(self) -> bool:
        """Print the table; whether all is right."""
        table = Table(box=None, padding=(0, 2, 0, 0), title="\nWhat was to happen, and what did", title_justify="left")
        for name in ("", "what", "seen"):
            table.add_column(name, overflow="fold")
        for what, seen, is_right in self.rows:
            table.add_row("ok" if is_right else "WRONG", what, seen)
        Console(width=120, highlight=False, markup=False).print(table)
        return all(is_right for *_, is_right in self.rows)
