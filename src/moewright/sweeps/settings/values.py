"""Values of settings as people write them in a sweep, and what cannot be made of them."""

import math
import re
from fractions import Fraction
from typing import Any

from moewright.errors import UserError
from moewright.quantities import parse_count
from moewright.records import LARGEST_SIZE

# Nine digits a side: any size and any share of one, and no exponent that takes gigabytes to write out.
_FRACTION = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{0,9})?)\s*(?:/\s*([0-9]{1,9}))?\s*")


class MisfitError(ValueError):
    """Sizes that do not fit in one cell: it has no recipe, and the other cells go on. Says which in one line."""


def fraction(value: Any, name: str) -> Fraction:
    """An exact number from 0.125, 3 or "1/8"; UserError for anything else, and for what is below zero."""
    found = None
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        found = Fraction(str(value))  # the decimal number that was written, not its nearest binary one
    elif isinstance(value, str) and (match := _FRACTION.fullmatch(value)):
        divisor = int(match[2] or 1)
        found = Fraction(match[1]) / divisor if divisor else None
    if found is None or found < 0:
        raise UserError(f"{name}: {value!r} is not a positive number or a fraction such as 1/8")
    return found


def whole(value: Any, name: str) -> int:
    """A size of at least 1; UserError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LARGEST_SIZE:
        raise UserError(f"{name}: {value!r} is not a whole number from 1 to {LARGEST_SIZE:,}")
    return value


def amount(value: Any, name: str) -> float:
    """A count such as 4M or 1e15; UserError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UserError(f"{name}: {value!r} is not a count such as 4M or 1e15")
    return parse_count(value, name)


def shown(value: Fraction) -> str:
    """An exact number in a few digits."""
    return f"{value}" if value.denominator == 1 else f"{float(value):.6g}"


def as_whole(value: Fraction, what: str) -> int:
    """A width that must be whole; a MisfitError that names it and the number if it is not."""
    if value.denominator != 1 or value < 1:
        raise MisfitError(f"{what} = {shown(value)} is not a whole number from 1")
    return int(value)
