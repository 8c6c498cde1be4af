import contextlib
import math
from collections.abc import Callable

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moewright.quantities import parse_bytes, parse_count
from moewright.runs.validation import parse_quantities, parse_quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2T", 2e12),
        ("2 t", 2e12),
        ("80M", 80e6),
        ("1.5B", 1.5e9),
        ("1.5G", 1.5e9),
        ("12k", 12e3),
        ("1e9", 1e9),
        ("1_000_000", 1e6),
        ("1,000,000", 1e6),
        (".5B", 0.5e9),
        ("-3", -3.0),
    ],
)
def test_written_quantities(text: str, number: float) -> None:
    assert parse_quantity(text) == pytest.approx(number, rel=1e-15)


@pytest.mark.parametrize("text", ["", " ", "nan", "None", "NA"])
def test_empty_cells(text: str) -> None:
    assert math.isnan(parse_quantity(text))


@pytest.mark.parametrize("text", ["2X", "two", "1,00", "2TB", "1e", "--1", "1.2.3", "B", "."])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a number such as|unknown unit"):
        parse_quantity(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_that_python_writes_is_read_back(number: float) -> None:
    assert parse_quantity(repr(number)) == number


@given(st.text())
def test_any_text_is_a_number_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_quantity(text), float)


@given(st.lists(st.sampled_from(["2T", "1e9", "17", 5, 2.5, None, "x9", True]), min_size=1))
def test_a_column_is_its_cells(cells: list[object]) -> None:
    numbers, complaints = parse_quantities(pd.Series(cells, dtype=object))
    for position, cell in enumerate(cells):
        if cell is None or cell in ("x9", True):
            assert math.isnan(numbers[position])
        else:
            assert numbers[position] == parse_quantity(str(cell))
    wrong = [position for position, cell in enumerate(cells) if cell in ("x9",) or cell is True]
    assert min(complaints, default=None) == min(wrong, default=None)


@pytest.mark.parametrize(
    "read", [parse_quantity, lambda text: parse_bytes(text, "x"), lambda text: parse_count(text, "x")]
)
@pytest.mark.parametrize(
    "text", ["[" * 3000, "9" * 3000, "0" * 3000 + "5", f"5{'x' * 3000}", f"0.{'0' * 3000}5Q", "x" * 50 + "\n" * 3000]
)
def test_complaints_are_short_however_long_the_text(read: Callable[[str], float], text: str) -> None:
    said = ""
    try:
        read(text)
    except ValueError as error:
        said = str(error)
    assert len(said) < 300
