"""Whether a table is a run table: names, types and ranges of its columns, with complaints that name row and column.

Rows are counted from 1 without the header, as a reader of the file counts runs (`complaints.name_row`).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from moewright.complaints import MISSPELT, brief_name, hint, name_row, near_name
from moewright.errors import UserError
from moewright.quantities import COUNT_UNITS, brief, split_quantity
from moewright.runs.schema import BY_NAME, FINISHED, RunColumn, column_for

EXPECTED = "a number such as 2000000000, 2e9, 2B or 2T"

MOST_COLUMNS = 10_000
_EMPTY = {"", "nan", "na", "n/a", "null", "none"}


def validate(table: pd.DataFrame, where: str = "run table") -> pd.DataFrame:
    """The table with its schema columns as numbers or text; UserError at the first value that cannot be right.

    A row whose `status` is not "finished" may lack a loss or hold one that is not finite: `diagnose` reports it.
    """
    check_columns(table.columns, where)
    refuse_near_names(table.columns, where)
    _refuse_nested_columns(table, where)
    finished = _finished(table, where)
    clean = table.copy(deep=False)
    for name in table.columns:
        column = column_for(name)
        if column is None:
            continue
        if column.kind == "text":
            clean[name] = _text(table[name], column, where)
            continue
        numbers, complaints = parse_quantities(table[name])
        if complaints:
            row = min(complaints)
            raise _complaint(table, row, column, where, complaints[row])
        _refuse_outside(table, numbers, column, finished, where)
        clean[name] = numbers
    return clean


def check_columns(names: Iterable[Any], where: str) -> None:
    """UserError for a column without a name, for two whose names differ by case or blanks at most, and for one with a
    byte-order mark in its name."""
    names = list(names)
    places: dict[str, tuple[int, Any]] = {}
    for place, name in enumerate(names, start=1):
        key = str(name).strip().lstrip("\ufeff").casefold()
        if not key:
            raise UserError(f"{where}: column {place} has no name; give it one, or leave the column out")
        if key in places:
            before, first = places[key]
            alike = "" if str(first) == str(name) else f", the second as {brief(name)}"
            raise UserError(
                f"{where}: the column {brief(str(first))} occurs twice{alike}: columns {before} and {place}"
            )
        places[key] = (place, name)
        if place > MOST_COLUMNS:
            raise UserError(f"{where}: more than {MOST_COLUMNS:,} columns")
    for place, name in enumerate(map(str, names), start=1):
        if "\ufeff" in name:  # it shows nowhere, and at the beginning of a CSV file it goes
            raise UserError(f"{where}: column {place}: {brief(name)} has a byte-order mark in it; rename it")


def _refuse_nested_columns(table: pd.DataFrame, where: str) -> None:
    for name in table.columns:
        if table[name].dtype == object and any(map(_is_nested, set(map(type, table[name])))):
            row = next(place for place, value in enumerate(table[name]) if _is_nested(type(value)))
            refuse_nested([(name, table[name].iloc[row])], f"{where}: {row_at(table, row)}")


def refuse_nested(values: Iterable[tuple[Any, Any]], place: str) -> None:
    """UserError for a value of a row that is no single value, with its column."""
    for name, value in values:
        if _is_nested(type(value)):
            raise UserError(
                f"{place}, column {name}: {kind_of_value(value)}, where a table has one value; write it as JSON text"
            )


def kind_of_value(value: Any) -> str:
    """What a value is, for a complaint."""
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if _is_nested(type(value)) else f"{value!r:.60}"


def _is_nested(kind: type) -> bool:
    return issubclass(kind, dict | list | tuple | set) or kind.__name__ == "ndarray"


def refuse_near_names(names: Iterable[str], where: str) -> None:
    """UserError for a name that is almost one of the schema's, when the schema's own is absent."""
    given = list(names)
    for name in given:
        if column_for(name) is not None:
            continue
        near = near_name(name, BY_NAME, MISSPELT)
        if near is not None and near not in given:
            raise UserError(
                f"{where}: column {brief(name)}: did you mean {brief(near)}? Rename it, or keep it out of the way"
            )


def require(table: pd.DataFrame, names: Iterable[str], where: str = "run table") -> None:
    """UserError, with the nearest existing column, for the first name that the table lacks."""
    for name in names:
        if name not in table.columns:
            raise UserError(f"{where}: no column {brief(name)}{hint(name, map(str, table.columns), quoted=True)}")


def renamed(table: pd.DataFrame, names: Mapping[str, str], where: str) -> pd.DataFrame:
    """The table with columns under other names; UserError where it has a column of the new name already."""
    for old, new in names.items():
        if old in table.columns and new in table.columns and new != old:
            columns = list(table.columns)
            places = f"columns {columns.index(old) + 1} and {columns.index(new) + 1}"
            raise UserError(
                f"{where}: {brief(old)} is read as {brief(new)}, and a column of that name is there too: {places}"
            )
    return table.rename(columns=names)


def under_names(table: pd.DataFrame, columns: Mapping[str, str], where: str) -> pd.DataFrame:
    """The table with columns under the names that they are asked for by: name -> what the table calls it.

    A column that the table has under such a name gives way: what was asked for is meant. UserError for one that is not
    there, or that is asked for by two names.
    """
    require(table, columns.values(), where)
    of_theirs: dict[str, str] = {}
    for name, theirs in columns.items():
        other = of_theirs.setdefault(theirs, name)
        if other != name:
            raise UserError(
                f"column {brief_name(name)}: {brief(theirs)} is {brief_name(other)} already; name another column of "
                f"{where}"
            )
    taken = {name: table[theirs] for name, theirs in columns.items()}
    return table.drop(columns=list(dict.fromkeys(columns.values()))).assign(**taken)


def row_at(table: pd.DataFrame, position: int) -> str:
    """The row at a position of a table: its number, and its run_id where there is one."""
    return name_row(position + 1, table["run_id"].iloc[position] if "run_id" in table.columns else None)


def _finished(table: pd.DataFrame, where: str) -> npt.NDArray[np.bool_]:
    if "status" not in table.columns:
        return np.ones(len(table), dtype=bool)
    status = _text(table["status"], BY_NAME["status"], where).fillna(FINISHED)
    return np.asarray(status == FINISHED, dtype=bool)


def _text(values: pd.Series, column: RunColumn, where: str) -> pd.Series:
    text = values.where(values.isna(), values.astype(str)).astype(object)
    if column.choices:
        wrong = np.flatnonzero(text.notna() & ~text.isin(column.choices))
        if wrong.size:
            given, row = text.iloc[wrong[0]], name_row(int(wrong[0]) + 1)
            raise UserError(
                f"{where}: {row}, column {column.name}: {brief(given)} is none of {', '.join(column.choices)}"
            )
    return text


def _refuse_outside(
    table: pd.DataFrame,
    numbers: npt.NDArray[np.float64],
    column: RunColumn,
    finished: npt.NDArray[np.bool_],
    where: str,
) -> None:
    """A missing optional value is no error; a present one outside the column's range is."""
    given = ~np.isnan(numbers)
    if column.kind == "loss":
        bad = given & finished & ~(np.isfinite(numbers) & (numbers > 0))
        expected = "a loss is finite and positive, in nats per token"
    elif column.values == "positive":
        bad = given & ~(np.isfinite(numbers) & (numbers > 0))
        expected = "must be finite and positive"
    elif column.values == "non-negative":
        bad = given & ~(np.isfinite(numbers) & (numbers >= 0))
        expected = "must be finite and not negative"
    elif column.values == "share":
        bad = given & ~((numbers >= 0) & (numbers <= 1))
        expected = "must lie between 0 and 1"
    else:
        bad = given & ~np.isfinite(numbers)
        expected = "must be finite"
    if column.kind == "count":
        bad |= given & (numbers != np.rint(numbers))
        expected += " and whole"
    if bad.any():
        row = int(np.argmax(bad))
        raise _complaint(table, row, column, where, f"{numbers[row]:g} is impossible: {expected}")
    if column.required_value and (missing := ~given & finished).any():
        row = int(np.argmax(missing))
        raise _complaint(table, row, column, where, "is missing; fill it, or say in a status column how the run ended")


def _complaint(table: pd.DataFrame, row: int, column: RunColumn, where: str, what: str) -> UserError:
    unit = f" [{column.unit}]" if column.unit else ""
    return UserError(f"{where}: {row_at(table, row)}, column {column.name}{unit}: {what}")


# Counts as people write them: 2T, 80M, 1e9, 1_000_000, 1,000


def parse_quantity(text: str) -> float:
    """The number behind one written quantity; NaN for an empty cell; ValueError for anything else."""
    stripped = text.strip()
    if stripped.lower() in _EMPTY:
        return float("nan")
    if stripped.lower() in ("inf", "+inf", "-inf", "infinity"):
        return float(stripped)
    try:
        value, unit = split_quantity(stripped)
    except ValueError:
        raise ValueError(f"{brief(text)} is not {EXPECTED}") from None
    if unit.upper() not in COUNT_UNITS:
        raise ValueError(f"{brief(text)} has the unknown unit {brief(unit)}; known: K, M, B, T")
    return value * COUNT_UNITS[unit.upper()]


def parse_quantities(values: pd.Series) -> tuple[npt.NDArray[np.float64], dict[int, str]]:
    """Numbers of a column that may hold text, and what is wrong by row position.

    Each distinct text is parsed once, so a million rows of a few values cost nothing.
    """
    if pd.api.types.is_bool_dtype(values.dtype):
        return np.full(len(values), np.nan), {0: f"true or false is not {EXPECTED}"}
    if pd.api.types.is_numeric_dtype(values.dtype):
        return values.to_numpy(dtype=np.float64, na_value=np.nan), {}
    codes, distinct = pd.factorize(values, use_na_sentinel=True)
    parsed = np.full(len(distinct) + 1, np.nan)  # the last stands for missing, whose code is -1
    wrong: dict[int, str] = {}
    for position, value in enumerate(distinct):
        try:
            parsed[position] = parse_quantity(value if isinstance(value, str) else repr(value))
        except (ValueError, OverflowError) as error:
            wrong[position] = str(error)
    complaints = {int(np.argmax(codes == position)): message for position, message in wrong.items()}
    return parsed[codes], complaints
