"""The settings of a recipe by their dotted names: which there are, how one is set, and what their values may be."""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from typing import Any, get_args, get_origin

from moewright.complaints import check_integer, hint
from moewright.errors import UserError
from moewright.experiment.recipe import Recipe
from moewright.quantities import LARGEST, brief, parse_count, plain_integer
from moewright.records import LARGEST_SIZE, Record

# Nine digits a side: any size and any share of one, and no exponent that takes gigabytes to write out.
_FRACTION = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{0,9})?)\s*(?:/\s*([0-9]{1,9}))?\s*")


class MisfitError(ValueError):
    """Sizes that do not fit in one cell: it has no recipe, and the other cells go on. Says which in one line."""


def fraction(value: Any, name: str) -> Fraction:
    """An exact number from 0.125, 3 or "1/8"; UserError for anything else, and for what is below zero."""
    found = None
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST:
        found = Fraction(str(value))  # the decimal number that was written, not its nearest binary one
    elif isinstance(value, str) and (match := _FRACTION.fullmatch(value)):
        divisor = int(match[2] or 1)
        found = Fraction(match[1]) / divisor if divisor else None
    if found is None or found < 0:
        raise UserError(f"{name}: {brief(value)} is not a positive number or a fraction such as 1/8")
    return found


def parse_size(value: Any, name: str) -> int:
    """A size of at least 1; UserError for anything else."""
    return check_integer(value, name, 1, LARGEST_SIZE)


def amount(value: Any, name: str) -> float:
    """A count such as 4M or 1e15; UserError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UserError(f"{name}: {brief(value)} is not a count such as 4M or 1e15")
    return parse_count(value, name)


def show_fraction(value: Fraction) -> str:
    """An exact number in a few digits."""
    return f"{value}" if value.denominator == 1 else f"{float(value):.6g}"


def whole_width(value: Fraction, what: str) -> int:
    """A width that must be whole; a MisfitError that names it and the number if it is not."""
    if value.denominator != 1 or value < 1:
        raise MisfitError(f"{what} = {show_fraction(value)} is not a whole number from 1")
    return int(value)


# What is no axis, and where it is said instead.
_ELSEWHERE = {
    "seed": "seed is no axis; list the sweep's `seeds`",
    "format": "format is no axis; it names the kind of file",
}


def check_key(name: str, others: Sequence[str] = ()) -> None:
    """UserError unless `name` is a setting of a recipe; suggests the nearest of those and of the other settings."""
    if name in _ELSEWHERE:
        raise UserError(f"axes: {_ELSEWHERE[name]}")
    if name.startswith("architecture."):
        raise UserError(
            f"axes: {name} is no setting; the sizes are settings of their own ({', '.join(others[:3])} ...), and "
            f"`architecture` takes whole models{hint(name.rsplit('.', 1)[-1], others, '')}"
        )
    if not _exists(name.split("."), Recipe):
        raise UserError(f"axes: no setting {brief(name)}{hint(name, [*others, *_names(Recipe)], '')}")


def check_recipe(values: dict[str, Any], also_set: Sequence[str]) -> None:
    """UserError unless the base recipe has known keys, and all that a recipe needs is in it or set by an axis."""
    for key in values:
        if key not in Recipe.model_fields:
            raise UserError(f"recipe: no key {brief(key)}{hint(key, Recipe.model_fields, '')}")
    roots = {name.split(".")[0] for name in also_set}
    for key, field in Recipe.model_fields.items():
        if field.is_required() and key not in values and key not in roots:
            raise UserError(f"recipe: {key} is missing; state it, or set it on an axis")


def with_setting(values: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """The recipe's values with one setting changed; what is not on the way to it is shared with the given ones.

    Raises UserError where a part of the name stands for something that has no settings.
    """
    first, *rest = name.split(".")
    changed = _changed(values.get(first), rest, value, first, name) if rest else value
    return {**values, first: changed}


def _changed(node: Any, steps: list[str], value: Any, where: str, name: str) -> Any:
    """The node with the value at the end of the steps; `where` is the way so far."""
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    here = f"{where}.{step}"
    place = plain_integer(step)
    if place is not None:
        entries = list(node) if isinstance(node, list | tuple) else []
        if place >= len(entries):
            raise UserError(f"axes: {name}: the recipe's {where} has {len(entries)} entries; write it out there first")
        entries[place] = _changed(entries[place], rest, value, here, name)
        return entries
    if node is None:
        node = {}
    if not isinstance(node, dict):
        raise UserError(f"axes: {name}: the recipe's {where} is {brief(node)}, not a mapping; write it as one")
    return {**node, step: _changed(node.get(step), rest, value, here, name)}


def _exists(steps: list[str], annotation: Any) -> bool:
    """Whether a type has a field at the end of the steps: through records, lists by number, and free mappings."""
    if not steps:
        return True
    step, rest = steps[0], steps[1:]
    if isinstance(annotation, type) and issubclass(annotation, Record):
        field = annotation.model_fields.get(step)
        return field is not None and _exists(rest, field.annotation)
    arguments = get_args(annotation)
    if get_origin(annotation) in (tuple, list):
        return plain_integer(step) is not None and any(_exists(rest, argument) for argument in arguments)
    if get_origin(annotation) is dict:
        return _exists(rest, arguments[1])
    return any(_exists(steps, argument) for argument in arguments)


@cache
def _names(annotation: Any, at: str = "") -> tuple[str, ...]:
    """Every dotted name of a type's fields; entries of lists by the number 0."""
    return tuple(_walk(annotation, at))


def _walk(annotation: Any, at: str) -> Iterator[str]:
    if isinstance(annotation, type) and issubclass(annotation, Record):
        for name, field in annotation.model_fields.items():
            if name != "architecture":
                yield f"{at}{name}"
                yield from _walk(field.annotation, f"{at}{name}.")
    else:
        is_list = get_origin(annotation) in (tuple, list)
        for argument in get_args(annotation):
            yield from _walk(argument, f"{at}0." if is_list else at)
