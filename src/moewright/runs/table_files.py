"""Files of runs: CSV, Parquet and JSON lines, by the ending of the name; written complete or not at all.

A value that might belong elsewhere is an error: rows longer or shorter than the header, a column or a key twice, names
that are empty or alike. Rows count from 1 without the header, see `name_row`; of text files the line is said as well.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from moewright.complaints import name_row
from moewright.errors import UserError
from moewright.files import file_size, read_text, replaced
from moewright.foreign_text import from_csv_cell, to_csv_cell
from moewright.plain_values import UnfitTextError, parse_json
from moewright.quantities import brief
from moewright.runs.validation import check_columns, kind_of_value, refuse_nested

TABLE_ENDINGS = (".csv", ".parquet", ".jsonl")
"""Of run tables: what `load` reads."""
LONG_ENDINGS = (".parquet", ".csv.gz")
"""Of tables with many rows a run."""
_OF_EVERY_RUN_TABLE = {"run_id", "config_id", "source", "status", "active_params_non_embedding"}
"""Columns that `moewright runs` always writes, and no logger has together."""
LARGEST_TABLE_FILE = 512 * 2**20
"""Bytes: 20,000 runs, as many as a fit takes, with an architecture of 25 kB each."""
LARGEST_TABLE_ROWS = 1_000_000
"""One row is one run; more are the steps of a log."""
LONGEST_FIELD = 2**20
"""Characters of one value of a CSV file."""
SHOWN_NAMES = 3


def read_frame(path: str | Path) -> pd.DataFrame:
    """The table in a file as it stands there; UserError, naming the file, for whatever is not one."""
    path = Path(path)
    ending = path.suffix.lower()
    if path.is_dir():
        raise UserError(f"{path}: is a folder; `moewright runs` reads its runs, in Python collect_runs(folder).table")
    if ending not in TABLE_ENDINGS and not path.exists():
        raise UserError(f"{path}: no such file; a run table is read from {', '.join(TABLE_ENDINGS)}")
    if ending not in TABLE_ENDINGS:
        raise UserError(
            f"{path}: a run table is read from {', '.join(TABLE_ENDINGS)}, not {ending or 'a name without ending'}"
        )
    try:
        if (size := file_size(path)) > LARGEST_TABLE_FILE:
            raise UserError(f"{path}: {size:,} bytes are more than the {LARGEST_TABLE_FILE:,} of a run table")
        frame = _READERS[ending](path)
    except UserError:  # a ValueError too
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError, OverflowError, csv.Error) as error:
        raise UserError(f"{path}: not a {ending[1:].upper()} table: {_first_line(error)}") from None
    if frame.empty:
        raise UserError(f"{path}: holds no runs")
    check_columns(frame.columns, str(path))
    frame.columns = pd.Index([str(name) for name in frame.columns])
    return frame.reset_index(drop=True)


@cache
def _exactly() -> dict[str, Any]:
    """What makes pandas read the float64 nearest to a decimal: nothing in 3.1; 2.2 misses one in five by a bit."""
    read = pd.read_csv(io.StringIO("n\n2.7182818284590455"))["n"][0]
    return {} if read == 2.7182818284590455 else {"float_precision": "round_trip"}


def _read_csv(path: Path) -> pd.DataFrame:
    text = read_text(path, LARGEST_TABLE_FILE).removeprefix("\ufeff")
    if (nul := text.find("\0")) >= 0:
        raise UserError(f"{path}: line {_line(text, nul)}: a NUL byte; such a file is binary or damaged")
    _check_rows(text, str(path))
    return _mapped(pd.read_csv(io.StringIO(text), low_memory=False, **_exactly()), from_csv_cell)


def _mapped(frame: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """The frame with its names and its texts changed."""

    def each(value: Any) -> Any:
        return change(value) if isinstance(value, str) else value

    columns = [frame.iloc[:, place] for place in range(frame.shape[1])]
    columns = [column if pd.api.types.is_numeric_dtype(column) else column.map(each) for column in columns]
    changed = pd.concat(columns, axis=1) if columns else frame.copy()
    changed.columns = pd.Index([each(name) for name in frame.columns])
    return changed


def _check_rows(text: str, where: str) -> None:
    """UserError for a row that is not as long as the header, with its row, its line and the columns.

    pandas takes what is too much in the first rows for an index, which shifts all names.
    """
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = next((values for values in lines if values), [])
        check_columns(header, where)
        for wrong in ";\t|":
            if len(header) == 1 and wrong in header[0]:
                raise UserError(f"{where}: values are separated by {brief(wrong)}, a CSV table's by commas")
        row = 0
        for values in lines:
            if not values:  # an empty line, which pandas passes over too
                continue
            row += 1
            _check_number(row, where)
            if len(values) != len(header):
                place = f"{where}: not a CSV table: {name_row(row)}, line {lines.line_num}"
                raise UserError(f"{place}: {_unequal(values, header)}")
            if values == header:
                raise UserError(f"{where}: not a CSV table: {name_row(row)}, line {lines.line_num}: repeats the header")
    except csv.Error as error:
        raise UserError(f"{where}: not a CSV table: line {lines.line_num}: {error}") from None
    finally:
        csv.field_size_limit(before)


def _check_number(rows: int, where: str) -> None:
    if rows > LARGEST_TABLE_ROWS:
        raise UserError(
            f"{where}: more than {LARGEST_TABLE_ROWS:,} rows: give one row per run, not one per logged step"
        )


def _unequal(values: Sequence[str], header: Sequence[str]) -> str:
    counted = f"{len(values)} values for {len(header)} columns"
    if len(values) < len(header):
        return f"{counted}: nothing for {_listed(header[len(values) :])}; write an empty value as two commas"
    return f"{counted}: {_listed(values[len(header) :])} after the last, {header[-1]}; does a value hold a comma?"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name if len(name) <= 40 else f"{name[:37]}..." for name in names[:SHOWN_NAMES])
    return shown + (f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else "")


def _read_jsonl(path: Path) -> pd.DataFrame:
    text = read_text(path, LARGEST_TABLE_FILE).removeprefix("\ufeff")
    _check_number(text.count("\n"), str(path))
    records: list[dict[str, Any]] = []
    for line, written in enumerate(io.StringIO(text), start=1):
        if not written.strip():
            continue
        place = f"{name_row(len(records) + 1)}, line {line}"
        try:
            values = parse_json(written.strip())
        except UnfitTextError as error:
            what = str(error).replace("not valid JSON at line 1, column", "at column")
            raise UserError(f"{path}: not a JSONL table: {place}: {what}") from None
        if not isinstance(values, dict):
            raise UserError(f"{path}: {place}: expected an object, one run a line, found {kind_of_value(values)}")
        refuse_nested(values.items(), f"{path}: {place}")
        records.append(values)
    names = dict.fromkeys(chain.from_iterable(records))
    return pd.DataFrame({name: [record.get(name) for record in records] for name in names})


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow
    import pyarrow.parquet

    _check_number(pyarrow.parquet.read_metadata(path).num_rows, str(path))
    schema = pyarrow.parquet.read_schema(path)
    check_columns(schema.names, str(path))
    for field in schema:
        if pyarrow.types.is_nested(field.type):
            raise UserError(
                f"{path}: column {field.name}: holds {field.type}, where a table has one value; write it as JSON text"
            )
    try:
        frame = pd.read_parquet(path)
    except (KeyError, IndexError, AttributeError):  # of pandas' own notes in the file, which Arrow does not check
        raise UserError(f"{path}: what pandas noted in the file is damaged; write the table again") from None
    return frame.reset_index() if any(name is not None for name in frame.index.names) else frame


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".jsonl": _read_jsonl,
}


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["unreadable"])[0]


def check_ending(path: Path, endings: tuple[str, ...], option: str) -> str:
    """The one of these endings that the name has; UserError, naming the option, if it has none of them."""
    found = next((ending for ending in endings if path.name.lower().endswith(ending)), None)
    if found is None:
        raise UserError(f"{option}: {path}: the name must end in {', '.join(endings)}, which says the format")
    return found


def is_run_table(path: Path) -> bool:
    """Whether a file has the columns of every table that `moewright runs` writes; False for what cannot be read."""
    ending = path.suffix.lower()
    try:
        if ending == ".parquet":
            import pyarrow.parquet

            names = set(pyarrow.parquet.read_schema(path).names)
        elif ending in TABLE_ENDINGS:
            with open(path, encoding="utf-8-sig") as file:
                line = file.readline(1 << 16)
            names = set(parse_json(line) if ending == ".jsonl" else next(csv.reader([line]), ()))
        else:
            return False
    except (OSError, ValueError, TypeError, csv.Error):
        return False
    return names >= _OF_EVERY_RUN_TABLE


def write_frame(frame: pd.DataFrame, path: Path, mark: str) -> None:
    """Write the frame to a file, in the format of its ending; equal frames give equal bytes. Raises OSError.

    `mark`: a key in the metadata of Parquet, which says what the file is; the other formats have no place for it.
    """
    ending = next(ending for ending in _WRITERS if path.name.lower().endswith(ending))
    with replaced(path) as temporary:
        _WRITERS[ending](frame, temporary, mark)


def _csv(frame: pd.DataFrame, path: Path, mark: str) -> None:
    _mapped(frame, to_csv_cell).to_csv(path, index=False)


def _csv_gz(frame: pd.DataFrame, path: Path, mark: str) -> None:
    stored: dict[str, Any] = {"method": "gzip", "mtime": 0}  # no time stamp inside
    _mapped(frame, to_csv_cell).to_csv(path, index=False, compression=stored)


def _jsonl(frame: pd.DataFrame, path: Path, mark: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for record in as_records(frame):
            file.write(json.dumps(record, allow_nan=False) + "\n")


def _parquet(frame: pd.DataFrame, path: Path, mark: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False)
    # Not among pandas' attributes, which a table that somebody changed and saved again would still have.
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, mark: "1"}), path)


_WRITERS: dict[str, Callable[[pd.DataFrame, Path, str], None]] = {
    ".csv": _csv,
    ".csv.gz": _csv_gz,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}


def frame_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a frame in which each column holds numbers or text: a file's column has one type."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame({name: _of_one_type([row.get(name) for row in rows]) for name in names})


def _of_one_type(values: list[Any]) -> "pd.Series[Any]":
    given = [value for value in values if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in given) and given:
        return pd.Series(values, dtype=float)
    if given and all(isinstance(value, bool) for value in given) and len(given) == len(values):
        return pd.Series(values, dtype=bool)
    texts = [None if value is None else value if isinstance(value, str) else json.dumps(value) for value in values]
    return pd.Series(texts, dtype=object)


def as_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as plain mappings for JSON: what is missing or not finite is None."""
    plain = frame.astype(object)
    plain = plain.where(frame.notna(), None).replace({float("inf"): None, float("-inf"): None})
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]
