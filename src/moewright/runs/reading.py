"""Files of runs into data frames: CSV, Parquet and JSON lines, by the ending of the name."""

from pathlib import Path

import pandas as pd

from moewright.errors import UserError

ENDINGS = (".csv", ".parquet", ".jsonl")


def read_frame(path: str | Path) -> pd.DataFrame:
    """The table in a file as it stands there; UserError, naming the file, for whatever is not one."""
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UserError(
            f"{path}: a run table is read from {', '.join(ENDINGS)}, not {ending or 'a name without ending'}"
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
