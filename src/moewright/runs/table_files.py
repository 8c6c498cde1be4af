"""Files of runs: CSV, Parquet and JSON lines, by the ending of the name; written complete or not at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from moewright.errors import UserError
from moewright.files import replaced

TABLE_ENDINGS = (".csv", ".parquet", ".jsonl")
"""Of run tables: what `load` reads."""
LONG_ENDINGS = (".parquet", ".csv.gz")
"""Of tables with many rows a run."""


def read_frame(path: str | Path) -> pd.DataFrame:
    """The table in a file as it stands there; UserError, naming the file, for whatever is not one."""
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in TABLE_ENDINGS:
        raise UserError(
            f"{path}: a run table is read from {', '.join(TABLE_ENDINGS)}, not {ending or 'a name without ending'}"
        )
    try:
        if ending == ".csv":
            frame = pd.read_csv(path)
        elif ending == ".parquet":
            frame = pd.read_parquet(path)
        else:
            frame = pd.read_json(path, lines=True, precise_float=True, dtype=False)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a {ending[1:].upper()} table: {_first_line(error)}") from None
    if frame.empty:
        raise UserError(f"{path}: holds no runs")
    if frame.columns.duplicated().any():
        raise UserError(f"{path}: the column {frame.columns[frame.columns.duplicated()][0]!r} occurs twice")
    frame.columns = pd.Index([str(name) for name in frame.columns])
    return frame.reset_index(drop=True)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["unreadable"])[0]


def check_ending(path: Path, endings: tuple[str, ...], option: str) -> str:
    """The one of these endings that the name has; UserError, naming the option, if it has none of them."""
    found = next((ending for ending in endings if path.name.lower().endswith(ending)), None)
    if found is None:
        raise UserError(f"{option}: {path}: the name must end in {', '.join(endings)}, which says the format")
    return found


def write_frame(frame: pd.DataFrame, path: Path, endings: tuple[str, ...] = TABLE_ENDINGS, option: str = "out") -> None:
    """Write the frame to a file whose name ends in one of these; equal frames give equal bytes.

    Raises UserError, naming the option, for another ending and for a place that cannot be written.
    """
    ending = check_ending(path, endings, option)
    try:
        with replaced(path) as temporary:
            _WRITERS[ending](frame, temporary)
    except OSError as error:
        raise UserError(f"{option}: {path} cannot be written: {error.strerror or error}") from None


def _csv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False)


def _csv_gz(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False, compression={"method": "gzip", "mtime": 0})  # no time stamp inside


def _jsonl(frame: pd.DataFrame, path: Path) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for record in as_records(frame):
            file.write(json.dumps(record, allow_nan=False) + "\n")


def _parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False)


_WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    ".csv": _csv,
    ".csv.gz": _csv_gz,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}


def as_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as plain mappings for JSON: what is missing or not finite is None."""
    plain = frame.astype(object)
    plain = plain.where(frame.notna(), None).replace({float("inf"): None, float("-inf"): None})
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]
