"""Records whose digests are made anew, for tests that change what a run wrote and mean what they wrote."""

import json
from pathlib import Path
from typing import Any

from moewright.experiment.binding import stamp
from moewright.experiment.run_folder import METRICS, RUN, STATUS, RunRecord, RunStatus
from moewright.sealed_records import SealedRecord


def sealed(record: type[SealedRecord], values: dict[str, Any]) -> dict[str, Any]:
    """Plain values of a record with the digest of what they are now."""
    return {**values, "digest": record._digest_of(values)}


def reseal(folder: Path) -> None:
    """A run's records and metrics as if the run had written what is there."""
    for name, record in ((RUN, RunRecord), (STATUS, RunStatus)):
        values = json.loads((folder / name).read_text(encoding="utf-8"))
        if name == STATUS:
            lines = folder / METRICS
            values["metrics"] = stamp(lines).to_dict() if lines.is_file() else None
        (folder / name).write_text(json.dumps(sealed(record, values)), encoding="utf-8")
