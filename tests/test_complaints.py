"""Checks of single values and names: the same line for Python and the command line."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moewright.complaints import MISSPELT, check_integer, check_names, check_number, hint, near_name, one_of
from moewright.errors import UserError
from moewright.experiment.recipe import Checkpoints

names = st.lists(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1), min_size=1)


@given(names, st.data())
def test_a_name_is_near_itself_whatever_its_case_and_dashes(known: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(known))
    for written in (name, name.upper(), f" {name}"):
        near = near_name(written, known)
        assert near is not None
        assert near.lower() == name.lower()


def test_names_that_may_be_right_must_be_nearer() -> None:
    assert near_name("batch", ["batch_tokens"]) == "batch_tokens"
    assert near_name("batch", ["batch_tokens"], MISSPELT) is None
    assert near_name("train-token", ["train_tokens"], MISSPELT) == "train_tokens"


def test_hints() -> None:
    assert hint("zhao", ["zhao2025", "liew2026"]) == "; did you mean zhao2025?"
    assert hint("qqq", ["zhao2025", "liew2026"]) == "; known: zhao2025, liew2026"
    assert hint("qqq", []) == "; known: none"


@given(st.lists(st.text(max_size=400), max_size=300), st.text(max_size=30))
def test_a_hint_has_its_bounds(known: list[str], name: str) -> None:
    """However many names a user's file has, and however long they are."""
    told = hint(name, known)
    assert len(told) <= 300
    if (more := re.search(r" and (\d+) more$", told)) and known:
        assert 0 < int(more[1]) <= len(known)
    assert hint("qqq", ["zhao2025"], "see the list") == "; see the list"
    assert hint("qqq", ["zhao2025"], "") == ""
    assert hint("modle", ["model"], quoted=True) == "; did you mean 'model'?"


def test_what_is_right_is_returned() -> None:
    assert check_integer(np.int64(3), "batch") == 3
    assert type(check_integer(np.int64(3), "batch")) is int
    assert check_number(np.float32(0.5), "share", above=0, at_most=0.5) == 0.5
    assert check_number(2, "share") == 2.0
    assert one_of("bf16", "dtype", {"bf16": 2}) == "bf16"
    check_names(["a", "b"], ["b", "a"], "f", "argument")


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (lambda: check_integer("3", "batch"), "batch: expected an integer from 1 to 10^9, found '3'"),
        (lambda: check_integer(True, "batch"), "batch: expected an integer from 1 to 10^9, found True"),
        (lambda: check_integer(3.0, "batch"), "batch: expected an integer from 1 to 10^9, found 3.0"),
        (lambda: check_integer(0, "top", 1, 1000), "top: expected an integer from 1 to 1000, found 0"),
        (lambda: check_integer(None, "batch"), "batch: expected an integer from 1 to 10^9, found None"),
        (lambda: check_number("3", "noise"), "noise: expected a number, found '3'"),
        (lambda: check_number(True, "noise"), "noise: expected a number, found True"),
        (lambda: check_number(float("nan"), "noise"), "noise: nan must be finite"),
        (lambda: check_number(0, "noise", above=0), "noise: 0 must be above 0"),
        (lambda: check_number(1, "share", at_least=0, below=1), "share: 1 must be at least 0 and below 1"),
        (lambda: check_number(0.6, "share", above=0, at_most=0.5), "share: 0.6 must be above 0 and at most 0.5"),
        (lambda: one_of("bf17", "dtype", ["bf16", "fp8"]), "dtype: unknown 'bf17'; did you mean bf16?"),
        (lambda: one_of(3, "dtype", ["bf16", "fp8"]), "dtype: unknown 3; known: bf16, fp8"),
        (lambda: check_names(["aa"], ["a"], "f", "argument"), "f has no argument 'aa': did you mean a? it takes a"),
        (lambda: check_names([], ["a", "b"], "f", "argument"), "f needs the argument a; it takes a, b"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(check: Callable[[], Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        check()
    assert str(caught.value) == said


def test_what_is_long_is_not_repeated_twice() -> None:
    """A complaint is a line of at most 400 characters, wherever it is said."""
    with pytest.raises(UserError) as caught:
        Checkpoints.from_dict({"every_tokens": "1024" + "[" * 500})
    assert len(str(caught.value)) < 250
    assert str(caught.value).count("1024[") == 1
    with pytest.raises(UserError, match=r"'1024x'; use .*\(given: \"1024x\"\)"):
        Checkpoints.from_dict({"every_tokens": "1024x"})
