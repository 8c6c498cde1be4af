"""TensorBoard's event files, by torch, tensorboardX, TensorFlow and who else writes them; no tensorboard needed."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moewright.plain_values import parse_loosely
from moewright.quantities import plain_integer
from moewright.runs.readers.opening import read_bytes
from moewright.runs.readers.run_log import RunLog, name_of
from moewright.runs.readers.wire_format import TornFileError, fields, messages, text, tfrecords

FORMAT = "tensorboard"
MARK = ".tfevents."
_STAMP_DIGITS = 18
"""Of the seconds in a file's name."""
_FLOAT, _DOUBLE = 1, 2


def claims_folder(folder: Path, files: list[str], folders: list[str]) -> bool:
    """Whether event files lie in the folder."""
    return any(MARK in name for name in files)


def read_folder(folder: Path, top: Path) -> Iterator[RunLog]:
    """The event files of a folder as one run, with the settings that `add_hparams` put into folders below it."""
    log = RunLog(name_of(folder, top), FORMAT, folder, key=str(folder))
    for path in sorted(folder.iterdir(), key=_when):
        if MARK in path.name and path.is_file():
            _read_file(log, path)
    if not log.points and log.config and _holds_events(folder.parent):
        return  # settings of the run above, which reads them
    for below in sorted(folder.iterdir()):
        if below.is_dir() and _holds_events(below):
            inner = RunLog(below.name, FORMAT, below)
            for path in below.iterdir():
                if MARK in path.name:
                    _read_file(inner, path)
            if _is_settings(inner):
                log.config = inner.config | log.config
    if _is_settings(log) and _holds_events(folder.parent):
        return
    yield log


def _is_settings(log: RunLog) -> bool:
    """Whether a folder is one of `add_hparams`: settings, and at most a final value of a metric."""
    return bool(log.config) and all(len(series) <= 1 for series in log.points.values())


def _holds_events(folder: Path) -> bool:
    return any(MARK in path.name for path in folder.iterdir())


def _when(path: Path) -> tuple[int, str]:
    stamp = path.name.partition(MARK)[2].split(".")[0]
    return (plain_integer(stamp, _STAMP_DIGITS) or 0, path.name)


def _read_file(log: RunLog, path: Path) -> None:
    try:
        for record in tfrecords(read_bytes(path)):
            step = 0
            summary = None
            for kind, value in fields(record):
                if kind == 2 and isinstance(value, int):
                    step = value if value < 1 << 63 else value - (1 << 64)
                elif kind == 5 and isinstance(value, bytes):
                    summary = value
            if summary is not None:
                found = [each for part in messages(summary, 1) if (each := _value(log, part)) is not None]
                if found:
                    log.add(step, found)
    except TornFileError as error:
        log.problems.append(f"{path.name}: {error}")


def _value(log: RunLog, part: bytes) -> tuple[str, float] | None:
    tag, number, tensor, metadata = "", None, None, None
    for kind, value in fields(part):
        if not isinstance(value, bytes):
            continue
        if kind == 1:
            tag = value.decode("utf-8", "replace")
        elif kind == 2:
            number = float(struct.unpack("<f", value)[0])
        elif kind == 8:
            tensor = value
        elif kind == 9:
            metadata = value
    if metadata is not None:
        for plugin in messages(metadata, 1):
            if text(plugin, 1) == "hparams":
                log.config |= _hparams(plugin)
                return None
    if number is None and tensor is not None:
        number = _scalar(log, tag, tensor)
    return None if number is None else (tag, number)


def _scalar(log: RunLog, tag: str, tensor: bytes) -> float | None:
    """A tensor with one number; a text is taken for settings if it is a JSON object."""
    kind = 0
    for number, value in fields(tensor):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number == 8 and isinstance(value, bytes):
            log.config |= _settings(value.decode("utf-8", "replace"))
        elif number in (4, 5, 6) and isinstance(value, bytes):
            width = 8 if kind == _DOUBLE else 4
            if kind in (_FLOAT, _DOUBLE) and len(value) == width:
                return float(struct.unpack("<d" if width == 8 else "<f", value)[0])
    return None


def _settings(words: str) -> dict[str, Any]:
    begin, end = words.find("{"), words.rfind("}")
    try:
        found = parse_loosely(words[begin : end + 1]) if begin >= 0 else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _hparams(plugin: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for content in messages(plugin, 2):
        for session in messages(content, 3):
            for entry in messages(session, 1):
                name = text(entry, 1)
                for value in messages(entry, 2):
                    for kind, raw in fields(value):
                        if kind == 2 and isinstance(raw, bytes):
                            size = float(struct.unpack("<d", raw)[0])
                            found[name] = int(size) if size.is_integer() else size
                        elif kind == 3 and isinstance(raw, bytes):
                            found[name] = raw.decode("utf-8", "replace")
                        elif kind == 4:
                            found[name] = bool(raw)
    return found
