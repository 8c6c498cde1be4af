"""What `moewright report` says on the terminal: where the page is, and what is in it."""

from moewright.foreign_text import shortened
from moewright.report.page.written_page import WrittenPage
from moewright.screen import Screen

_LONGEST = 60


def print_written_page(console: Screen, page: WrittenPage) -> None:
    """The file with its size, and a line for each path."""
    console.whole_line(f"{page.out}: {page.title}, {page.bytes / 1e3:,.0f} kB")
    for source in page.sources:
        console.print(f"  {source.kind:6} {shortened(source.path, _LONGEST)}")
