"""The folder of a run: what it is, its metrics, where its checkpoints are. No torch.

run.json         the resolved recipe and where it ran; written once
architecture.yaml
metrics.jsonl    append-only, one JSON object a line, never rewritten
status.json      how far it came and how it ended
checkpoints/step-00001200/  model.safetensors, optimizer.safetensors, state.json
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moewright.errors import UserError
from moewright.files import finite, read_mapping, read_objects, write_mapping

RUN, STATUS, METRICS, CHECKPOINTS = "run.json", "status.json", "metrics.jsonl", "checkpoints"
LOCK = ".lock"
"""Held by the process that trains here."""
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


def read_metrics(folder: Path) -> Iterator[dict[str, Any]]:
    """The records of a run in the order of writing, without lines that were cut short.

    Steps that were trained again after an interruption occur again, with the same values; the last one counts.
    """
    return read_objects(folder / METRICS)


def write_status(folder: Path, **values: Any) -> None:
    """Replace status.json in one step."""
    write_mapping(folder / STATUS, finite(values))


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
