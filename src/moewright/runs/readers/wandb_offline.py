"""W&B's offline runs: `offline-run-*/run-*.wandb`, without wandb: the log of LevelDB's kind with protobuf in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moewright.plain_values import parse_loosely
from moewright.runs.readers.opening import read_bytes
from moewright.runs.readers.own_steps import add_record
from moewright.runs.readers.run_log import RunLog
from moewright.runs.readers.wire_format import TornFileError, fields, leveldb_records, messages, text

FORMAT = "wandb"
_MAGIC = b":W&B"
_HEADER = 7
# Numbers of fields in wandb_internal.proto (wandb 0.16 to 0.31).
_HISTORY, _CONFIG, _RUN, _EXIT = 2, 5, 17, 18


def claims(path: Path, head: bytes) -> bool:
    """Whether the file begins as W&B's."""
    return head.startswith(_MAGIC)


def read(path: Path, top: Path) -> Iterator[RunLog]:
    """The session of one file; sessions with one run id are one run."""
    log = RunLog(path.parent.name, FORMAT, path)
    try:
        for record in leveldb_records(read_bytes(path), _HEADER):
            _take(log, record)
    except TornFileError as error:
        log.problems.append(f"{path.name}: {error}")
    yield log


def _take(log: RunLog, record: bytes) -> None:
    for kind, body in fields(record):
        if not isinstance(body, bytes):
            continue
        if kind == _HISTORY:
            found = _items(body, 1)
            for step in messages(body, 2):
                found.setdefault("_step", next((value for number, value in fields(step) if number == 1), 0))
            add_record(log, found)
        elif kind == _RUN:
            log.key = text(body, 1)
            log.id = text(body, 8) or log.key or log.id
            for config in messages(body, 4):
                log.config |= _items(config, 1)
        elif kind == _CONFIG:
            log.config |= _items(body, 1)
        elif kind == _EXIT:
            code = next((value for number, value in fields(body) if number == 1 and isinstance(value, int)), 0)
            log.ending = "failed" if code else "finished"
            log.ending_from = f"exit code {code}"


def _items(message: bytes, wanted: int) -> dict[str, Any]:
    found = {}
    for item in messages(message, wanted):
        nested = [part.decode("utf-8", "replace") for part in messages(item, 2)]
        try:
            found[text(item, 1) or "/".join(nested)] = parse_loosely(text(item, 16) or "null")
        except ValueError:
            continue  # one value of a newer kind
    return found
