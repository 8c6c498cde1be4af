"""Axes: their points against loops written out, and what is refused when it is read."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from moewright.complaints import first_complaint
from moewright.errors import UserError
from moewright.sweeps.settings.axes import Axis, points, product

LISTS = st.lists(st.integers(0, 9), min_size=1, max_size=3)


def read(**values: Any) -> Axis:
    return Axis.model_validate(values)


def settings_of(axis: Axis) -> list[dict[str, Any]]:
    return [point.settings for point in points(axis)]


@given(first=LISTS, second=LISTS, pairs=st.lists(st.tuples(st.integers(), st.text()), min_size=1, max_size=3))
@settings(max_examples=50)
def test_product_is_every_combination_in_order(first: list[int], second: list[int], pairs: list[Any]) -> None:
    """A grid of two settings times a zip of two against three loops; all that any axis holds is held."""
    grid = read(grid={"top_k": first, "seed_like": second}, hold=["active"])
    zipped = read(zip={"a": [one for one, _ in pairs], "b": [other for _, other in pairs]}, hold=["flops", "active"])
    expected = []
    for one in first:
        for other in second:
            for a, b in pairs:
                expected.append([("top_k", one), ("seed_like", other), ("a", a), ("b", b)])
    found = product([grid, zipped])
    assert [list(point.settings.items()) for point in found] == expected
    assert {point.hold for point in found} == {frozenset({"active", "flops"})}


def test_no_axes_are_one_point() -> None:
    assert [(point.settings, point.hold) for point in product([])] == [({}, frozenset())]


def test_ladders() -> None:
    """The dial's sizes written out, and shapes as they stand; the rule of tokens comes with each rung."""
    dial = read(ladder={"num_layers": [3, 5], "width_per_layer": 16, "head_dim": 8, "tokens_per_active_param": 20.0})
    assert settings_of(dial) == [
        {"hidden_size": 48, "num_layers": 3, "head_dim": 8, "tokens_per_active_param": 20.0},
        {"hidden_size": 80, "num_layers": 5, "head_dim": 8, "tokens_per_active_param": 20.0},
    ]
    shape = {"hidden_size": 240, "num_layers": 5, "num_heads": 6}
    assert settings_of(read(ladder={"shapes": [shape]})) == [shape]
    assert settings_of(read(points=[{"mix": None}, {}])) == [{"mix": None}, {}]


DIAL = {"num_layers": [2], "width_per_layer": 16, "head_dim": 8}
SHAPES = [{"hidden_size": 8, "num_layers": 1, "num_heads": 1}]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "exactly one of grid, zip, points, ladder; none given"),
        ({"grid": {"a": [1]}, "zip": {"a": [1]}}, "grid, zip given"),
        ({"gird": {"a": [1]}}, "no key 'gird' among grid, zip, points, ladder, hold; did you mean grid?"),
        ({"grid": {}}, "grid is empty"),
        ({"points": []}, "points is empty"),
        ({"grid": {"top_k": []}}, "grid.top_k is an empty list"),
        ({"grid": {"top_k": 2}}, "grid.top_k"),
        ({"zip": {"a": [1, 2], "b": [1]}}, "a 2, b 1"),
        ({"grid": {"a": [1]}, "hold": ["activ"]}, "hold[0]"),
        ({"grid": {"train_tokens": [1]}, "hold": ["flops"]}, "train_tokens sets them"),
        ({"ladder": {**DIAL, "tokens_per_total_param": 1.0}, "hold": ["flops"]}, "tokens_per_total_param sets them"),
        ({"ladder": DIAL, "hold": ["active"]}, "a ladder changes the widths"),
        ({"ladder": {**DIAL, "head_dims": 8}}, "did you mean head_dim?"),
        ({"ladder": {"num_layers": [2], "head_dim": 8}}, "width_per_layer is missing"),
        ({"ladder": {**DIAL, "num_layers": []}}, "ladder.num_layers"),
        ({"ladder": {"shapes": SHAPES, "head_dim": 8}}, "head_dim has no use"),
        ({"ladder": {"shapes": [{**SHAPES[0], "heads": 1}]}}, "no key 'heads'"),
        ({"ladder": {**DIAL, "tokens_per_total_param": 1.0, "tokens_per_active_param": 1.0}}, "state one"),
        ({"grid": {name: list(range(100)) for name in "abc"}}, "1,000,000 cells"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_axes_that_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises((ValidationError, UserError)) as caught:
        Axis.model_validate(values)
    message = first_complaint(caught.value, "axis") if isinstance(caught.value, ValidationError) else str(caught.value)
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (
            [{"grid": {"top_k": [1]}}, {"grid": {"b": [1]}}, {"zip": {"top_k": [1]}}],
            "axes[0] and axes[2] both set top_k",
        ),
        ([{"grid": {"train_flops": [1]}}, {"grid": {"train_tokens": [1]}}], "train_tokens and train_flops"),
        ([{"grid": {"schedule": [{}], "schedule.kind": ["wsd"]}}], "schedule.kind is a part of schedule"),
        ([{"ladder": DIAL, "hold": ["flops"]}, {"grid": {"train_tokens": [1]}}], "set train_flops instead"),
        ([{"grid": {name: list(range(200))}} for name in "abc"], "8,000,000 cells"),
    ],
)
def test_products_that_are_refused(axes: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(UserError) as caught:
        product([Axis.model_validate(axis) for axis in axes])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
