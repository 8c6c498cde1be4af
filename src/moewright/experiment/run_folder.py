"""The folder of a run: what it is, its metrics, where its checkpoints are. No torch.

run.json         the resolved recipe and where it ran; written once
architecture.yaml
metrics.jsonl    append-only, one JSON object a line, never rewritten
status.json      how far it came and how it ended
checkpoints/step-00001200/  model.safetensors, optimizer.safetensors, state.json
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moewright.errors import UserError
from moewright.files import read_mapping, write_mapping

RUN, STATUS, METRICS, CHECKPOINTS = "run.json", "status.json", "metrics.jsonl", "checkpoints"
LOCK = ".lock"
"""Held by the process that trains here."""
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


class MetricsFile:
    """Lines that are only ever appended. Each is written at once, so a killed process leaves whole lines behind.

    A line that a full disk cut short is closed off before the next one; readers skip it.
    """

    def __init__(self, path: Path):
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record; numbers that are not finite become null."""
        line = (json.dumps(_finite(record), allow_nan=False) + "\n").encode()
        if os.write(self._file, line) != len(line):
            raise OSError(28, "No space left on device")

    def close(self) -> None:
        """No more lines."""
        os.close(self._file)


def read_metrics(folder: Path) -> Iterator[dict[str, Any]]:
    """The records of a run in the order of writing, without lines that were cut short.

    Steps that were trained again after an interruption occur again, with the same values; the last one counts.
    """
    return read_records(folder / METRICS)


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of an append-only file, one a line, without lines that were cut short. Raises OSError."""
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                yield record


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def write_status(folder: Path, **values: Any) -> None:
    """Replace status.json in one step."""
    write_mapping(folder / STATUS, {key: _finite(value) for key, value in values.items()})


def read_status(folder: Path) -> dict[str, Any]:
    """status.json; empty before the first checkpoint."""
    return read_mapping(folder / STATUS) if (folder / STATUS).is_file() else {}


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path for path in (folder / CHECKPOINTS).glob("step-*") if (path / STATE).is_file())


def read_run(folder: Path) -> dict[str, Any]:
    """run.json of a run folder."""
    if not (folder / RUN).is_file():
        raise UserError(f"{folder}: no {RUN} in it, so it is not the folder of a run")
    return read_mapping(folder / RUN)
