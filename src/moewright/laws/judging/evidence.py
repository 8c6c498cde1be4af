"""The scoreboard of laws: how often each was right about other people's runs, as it comes with moewright.

`python -m tests.laws.make_evidence TABLES` makes it anew from the public tables, which are not part of moewright.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from moewright.display import ShownTable
from moewright.records import FileRecord, Items, Output, Record, Sha256

PLACE = Path(__file__).with_name("evidence.json")


class EvidenceTable(Record):
    """A public table of runs, and how it was used."""

    name: str
    source: str
    """Where it is published."""
    sha256: Sha256
    """Of the file of the runs."""
    runs: int
    """Runs that were compared."""
    noise: float
    """Pairs whose measured losses differ by less are left out, nats."""
    noise_source: str
    own: str | None
    """The law that was fitted to these runs: left out of combinations and verdicts here."""
    note: str


class EvidenceScore(Record):
    """One law or combination on one kind of comparison in one table."""

    table: str
    kind: str
    scorer: str
    own: bool
    """The table is what the law was fitted to."""
    comparisons: int
    """Pairs beyond noise."""
    decided: float
    """Share of them on which it says anything."""
    accuracy: float | None
    """Share of pairs ranked right, .5 for a tie; for unanimity and judge of those that they decide, null for none."""
    groups: int
    """Sets of runs to choose the best from."""
    regret: float | None
    """Mean over the groups of the measured loss of its choice above the best, nats; null where it makes no choice."""


class EvidenceRecord(FileRecord):
    """All scores, with the tables behind them."""

    format: Literal["moewright-evidence/1"] = "moewright-evidence/1"
    tables: Items[EvidenceTable]
    scores: Items[EvidenceScore]


class Evidence(ShownTable, Output):
    """What back-tests say of the published laws."""

    command: ClassVar[str] = "laws --evidence"
    tables: Items[EvidenceTable]
    scores: Items[EvidenceScore]

    def of(self, table: str, kind: str) -> dict[str, EvidenceScore]:
        """The scores of one kind of comparison in one table, by law or combination; empty where it has none."""
        return {score.scorer: score for score in self.scores if (score.table, score.kind) == (table, kind)}

    def _facts(self) -> Mapping[str, Any]:
        return {"tables": [table.name for table in self.tables], "scores": len(self.scores)}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [score.to_dict() for score in self.scores]


@cache
def evidence() -> Evidence:
    """The scoreboard that comes with moewright.

    >>> from moewright import laws
    >>> scores = laws.evidence().of("clark_routing", "number of experts")
    >>> scores["judge"].accuracy
    1.0
    """
    record = EvidenceRecord.read(PLACE)
    return Evidence(tables=record.tables, scores=record.scores)
