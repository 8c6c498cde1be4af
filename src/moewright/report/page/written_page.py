"""What `moewright report` answers: the page that it wrote, and what it was made of."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from moewright.display import Shown
from moewright.records import Items, Output, Record, Sha256

PageFormat = Literal["html", "md"]


class PageSourceRecord(Record):
    """One path, and what it was taken for."""

    path: str
    kind: Literal["design", "model", "law", "table", "runs", "plan", "next", "sweep"]
    sha256: Sha256 | None
    """Of the file that says what it is; null for names and for folders of runs."""


class WrittenPage(Shown, Output):
    """A page that was written."""

    command: ClassVar[str] = "report"
    out: str
    format: PageFormat
    title: str
    bytes: int
    sections: Items[str]
    """Titles, in the order of the page."""
    sources: Items[PageSourceRecord]

    def _facts(self) -> Mapping[str, Any]:
        return {"out": self.out, "title": self.title, "sections": len(self.sections), "bytes": self.bytes}
