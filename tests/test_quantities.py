"""Quantities as people write them."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moewright import UserError
from moewright.quantities import (
    brief,
    format_bytes,
    format_count,
    format_figure,
    parse_bytes,
    parse_count,
    parse_tokens,
    plain_integer,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [("80GB", 80e9), ("80GiB", 80 * 2**30), ("80 gb", 80e9), ("1.5TB", 1.5e12), ("24GIB", 24 * 2**30), ("8e10", 8e10)],
)
def test_bytes(text: str, value: float) -> None:
    assert parse_bytes(text, "memory") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("3B", 3e9), ("2T", 2e12), ("1e23", 1e23), ("30,000", 30_000), ("1_000", 1000), ("2.5e1K", 25e3), (7e9, 7e9)],
)
def test_counts(text: str | float, value: float) -> None:
    assert parse_count(text, "total-params") == value


@given(st.one_of(st.text(max_size=12), st.from_regex(r"[0-9]{1,30}", fullmatch=True), st.integers().map(str)))
def test_integers_in_plain_digits(text: str) -> None:
    found = plain_integer(text)
    assert (found is not None) == bool(re.fullmatch("[0-9]{1,9}", text))
    assert found is None or found == int(text)


@pytest.mark.parametrize("text", ["", "B", "-3B", "3 B B", "nan", "inf", "1e999", "0", "3X", "3GB", "١B", "3B\n4"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="total-params"):
        parse_count(text, "total-params")


@pytest.mark.parametrize("text", ["0.5", "1e-5", 0.999, "0.0001K"])
def test_less_than_a_token_is_none(text: str | float) -> None:
    assert parse_count(text, "price") < 1
    with pytest.raises(UserError, match=r"train-tokens: .* is less than one token"):
        parse_tokens(text, "train-tokens")


def test_values_of_numpy_are_complained_of_as_people_write_them() -> None:
    values = [np.float64("nan"), np.int64(3), np.bool_(True), np.str_("x"), np.float32(0.5)]
    assert [brief(each) for each in values] == ["nan", "3", "True", "'x'", "0.5"]


@given(st.floats(1, 1e15))
def test_formatted_counts_read_back(value: float) -> None:
    assert parse_count(format_count(value, digits=8), "x") == pytest.approx(value, rel=1e-6)


@given(st.floats(1e6, 1e14))
def test_formatted_bytes_read_back(value: float) -> None:
    assert parse_bytes(format_bytes(value, digits=8), "x") == pytest.approx(value, rel=1e-6)


def test_values_of_numpy_are_repeated_as_they_were_written() -> None:
    assert brief(np.float64("nan")) == "nan"
    assert brief(np.int64(3)) == "3"
    assert brief(np.str_("a")) == "'a'"


@given(st.floats(1e-20, 1e35), st.integers(2, 5), st.booleans())
def test_figures_are_short_and_near(value: float, digits: int, letters: bool) -> None:
    """Whatever the size: no exponent between a thousandth and 1e15, few characters, and the value to its digits."""
    text = format_figure(value, digits, letters=letters)
    assert len(text) <= (digits + 6 if letters or value >= 1e15 else 20)
    assert parse_count(text.replace(",", ""), "x") == pytest.approx(value, rel=0.5001 * 10.0 ** (1 - digits))
    if 1e-3 <= value < 9e14:
        assert "e" not in text


@given(st.floats(1e-3, 1e30), st.integers(2, 6))
def test_counts_and_bytes_are_rounded_to_the_next_letter(value: float, digits: int) -> None:
    """999.96B is 1.000T: no number has four places before its point."""
    for text in (format_count(value, digits), format_bytes(value, digits)):
        number = text.rstrip("BKMGTk ").split("e")[0]
        assert abs(float(number)) < 1000 or (text.endswith(" B") and value < 1000)
