"""The folder of a run: what it is, its metrics, its checkpoints. Everything a later command learns, it learns here.

run.json         the resolved recipe and where it ran; written once
architecture.yaml
metrics.jsonl    append-only, one JSON object a line, never rewritten
status.json      how far it came and how it ended
checkpoints/step-00001200/  model.safetensors, optimizer.safetensors, state.json
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from moewright.errors import UserError
from moewright.files import read_mapping, write_mapping

RUN, STATUS, METRICS, CHECKPOINTS = "run.json", "status.json", "metrics.jsonl", "checkpoints"
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


class MetricsFile:
    """Lines that are only ever appended. Each is written at once, so a killed process leaves whole lines behind.

    A line that a full disk cut short is closed off before the next one; readers skip it.
    """

    def __init__(self, path: Path):
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if path.stat().st_size and path.read_bytes()[-1:] != b"\n":
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
    with open(folder / METRICS, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
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


def write_checkpoint(
    folder: Path, step: int, model: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], state: Mapping[str, Any]
) -> Path:
    """Write a checkpoint: complete under its name, or not there at all. Raises OSError when the disk is full.

    One that is there already stays: a run comes to the same step with the same values.
    """
    parent = folder / CHECKPOINTS
    parent.mkdir(exist_ok=True)
    target = parent / f"step-{step:08d}"
    if (target / STATE).is_file():
        return target
    partial = Path(tempfile.mkdtemp(dir=parent, prefix=".partial-"))
    try:
        for name, tensors in ((MODEL, model), (OPTIMIZER, optimizer)):
            try:
                save_file({key: tensor.detach().contiguous() for key, tensor in tensors.items()}, partial / name)
            except SafetensorError as error:  # its own name for what the operating system said
                raise OSError(28, f"{name}: {error}") from None
            _flush(partial / name)
        write_mapping(partial / STATE, {"step": step, **state})
        _flush(partial / STATE)
        partial.chmod(0o755)
        os.replace(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target


def _flush(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def keep_newest(folder: Path, count: int) -> None:
    """Remove all but the newest checkpoints, and what killed processes left half-written."""
    for old in checkpoints(folder)[:-count]:
        old.rename(old.with_name(f".partial-{old.name}"))  # in one step: no checkpoint is ever half there
    for partial in (folder / CHECKPOINTS).glob(".partial-*"):
        shutil.rmtree(partial, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path for path in (folder / CHECKPOINTS).glob("step-*") if (path / STATE).is_file())


def load_tensors(checkpoint: Path, name: str) -> dict[str, Tensor]:
    """The tensors of one of a checkpoint's files. UserError if it is damaged."""
    try:
        return load_file(checkpoint / name)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{checkpoint / name}: damaged ({error}); delete {checkpoint} to go on from the one before"
        ) from None


def read_run(folder: Path) -> dict[str, Any]:
    """run.json of a run folder."""
    if not (folder / RUN).is_file():
        raise UserError(f"{folder}: no {RUN} in it, so it is not the folder of a run")
    return read_mapping(folder / RUN)
