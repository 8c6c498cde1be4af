"""Columns of counts as people write them: 2T, 80M, 1e9, 1_000_000, 1,000."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from moewright.quantities import COUNT_UNITS, split_quantity

EXPECTED = "a number such as 2000000000, 2e9, 2B or 2T"

_EMPTY = {"", "nan", "na", "n/a", "null", "none"}


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
        raise ValueError(f"{text!r} is not {EXPECTED}") from None
    if unit.upper() not in COUNT_UNITS:
        raise ValueError(f"{text!r} has the unknown unit {unit!r}; known: K, M, B, T")
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
