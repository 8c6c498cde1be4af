"""`moewright report`: what was found, as one page for the people who decide."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from moewright.commands.checking import as_list, command, writes
from moewright.complaints import one_of
from moewright.outputs import REPORT_FILE, Destination, deliver

if TYPE_CHECKING:
    from moewright.report.page.written_page import PageFormat, WrittenPage

PAGE_FORMATS = ("html", "md")


@command
@writes(out=REPORT_FILE)
def make_report(
    path: str | Path | Iterable[str | Path],
    out: str | Path,
    *,
    format: str = "html",
    title: str | None = None,
    watch: bool = False,
    force: bool = False,
) -> WrittenPage:
    """Show my team: one self-contained page of designs, laws, runs, models and plans, in the order of the argument.

    The page is one file that asks nothing of a network. For a PDF print it from the browser: it has styles for paper.

    >>> import moewright, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     moewright.make_report(["mixtral-8x7b", "olmoe-1b-7b"], f"{folder}/report.html").sections
    ('mixtral-8x7b and olmoe-1b-7b',)

    Args:
        path: A design's folder or JSON, a fitted law, a run table, a folder of runs or of a sweep, a sweep's
            specification, the JSON of plan or next, a model's config or name; several become one page.
        out: File to write: report.html.
        format: html, or md for a pull request.
        title: Heading of the page. [default: made of what it shows]
        watch: Write it again while runs of a folder are under way; the page reads itself again.
        force: Replace a file of others. Without it only a report is replaced; inputs never are.

    Raises:
        UserError: For a path that is none of these, and a place where nothing can be written.
        RunStopped: When such a place was lost meanwhile; says where the page is instead.
    """
    from moewright.report.page.page_writing import write_report

    page_format: PageFormat = one_of(format, "format", PAGE_FORMATS)
    paths = [str(each) for each in as_list(path)]
    destination = Destination("out", out, REPORT_FILE)

    def deliver_page(write: Callable[[Path], object]) -> None:
        deliver((destination, write), force=force)

    return write_report(paths, str(out), page_format, title, watch, deliver_page)
