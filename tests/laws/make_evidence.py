"""Make the scoreboard of laws anew from the public tables: `python -m tests.laws.make_evidence [FOLDER]` (seconds)."""

import sys
from pathlib import Path

from moewright.laws.judging.back_test import score
from moewright.laws.judging.evidence import PLACE, EvidenceRecord
from tests.laws.evidence_tables import DATA, TABLES


def make_evidence(data: Path = DATA) -> EvidenceRecord:
    """The record of all tables in a folder laid out as the project's shared data."""
    return EvidenceRecord(
        tables=tuple(table.describe(data) for table in TABLES),
        scores=tuple(each for table in TABLES for each in score(table.read(data))),
    )


if __name__ == "__main__":
    make_evidence(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA).write(PLACE)
