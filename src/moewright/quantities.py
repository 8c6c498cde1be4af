"""Numbers with units, as people write them: 80GB, 80GiB, 3B, 2T, 1e23; and back."""

import math
import re
from collections.abc import Sequence

from moewright.errors import UserError

# GB = 10^9 bytes, GiB = 2^30 bytes (IEC 80000-13).
_BYTES = {
    "B": 1,
    **{f"{letter}B": 10 ** (3 * power) for power, letter in enumerate("KMGTP", start=1)},
    **{f"{letter}iB": 2 ** (10 * power) for power, letter in enumerate("KMGTP", start=1)},
}
COUNT_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
"""Decimal multiples of a count; B and G both mean 1e9."""

SMALLEST, LARGEST = 1e-30, 1e36
"""Of any quantity: a hundred million times the FLOPs of the largest training runs. Products of several stay finite."""
_LONGEST = 60
LARGEST_SEED = 2**63 - 1
"""Of a random stream: what an int64 holds."""
_LETTERS_END = 1e15  # beyond a thousand T: 1.000e+18
_QUANTITY = (
    r"\s*([-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+(?:_[0-9]+)*)?(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?)\s*([A-Za-z]*)\s*"
)


LEAST_NOISE = 1e-7
"""Of a log loss, between runs: float32 tells no smaller differences apart (2^-24), and loss logs are of that."""


def brief(value: object) -> str:
    """A value as complaints repeat it: in one short line, even where it is a number of a million digits."""
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        value = value.item()  # type: ignore[attr-defined]  # its repr says np.float64(...), which nobody wrote
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def split_quantity(text: str) -> tuple[float, str]:
    """The number and the unit of a written quantity; ValueError if it is none."""
    match = re.fullmatch(_QUANTITY, text)
    if match is None or not any(character.isdigit() for character in match[1]):
        raise ValueError(f"{brief(text)} is not a number with a unit")
    return float(match[1].replace(",", "").replace("_", "")), match[2]


def parse_bytes(text: str | float, name: str) -> float:
    """Bytes from a number with a unit; a bare number must be at least a million to be taken for bytes."""
    value, unit = _split(text, name)
    units = {key.lower(): factor for key, factor in _BYTES.items()}
    if unit and unit.lower() not in units:
        raise UserError(
            f"{name}: unknown unit {brief(unit)} in {brief(text)}; use one of {', '.join(list(_BYTES)[1:])}"
        )
    if not unit and value < 1e6:
        raise UserError(f"{name}: {brief(text)} has no unit; write for example {value:g}GB")
    return _positive(value * units[unit.lower()] if unit else value, text, name)


def parse_count(text: str | float, name: str) -> float:
    """A count from a number with K, M, B or T, or in scientific notation."""
    value, unit = _split(text, name)
    if unit.upper() not in COUNT_UNITS:
        hint = "; this option takes a count, not bytes" if unit.lower() in map(str.lower, _BYTES) else ""
        raise UserError(f"{name}: unknown unit {brief(unit)} in {brief(text)}; use K, M, B or T{hint}")
    return _positive(value * COUNT_UNITS[unit.upper()], text, name)


def parse_tokens(text: str | float, name: str) -> float:
    """A count of at least one, such as 2T."""
    value = parse_count(text, name)
    if value < 1:
        raise UserError(f"{name}: {brief(text)} is less than one token")
    return value


def format_count(value: float, digits: int = 4) -> str:
    """A count with a letter: 671.0B, 36.63B, 2.000T; beyond these 1.000e+18."""
    found = _in_thousands(value, digits, ("T", "B", "M", "K"))
    return found or (f"{value:.0f}" if float(value).is_integer() else _significant(value, digits))


def format_bytes(value: float, digits: int = 4) -> str:
    """Bytes with a decimal unit: 80.00 GB; beyond these 1.000e+18 B."""
    return _in_thousands(value, digits, (" TB", " GB", " MB", " kB"), " B") or f"{value:.0f} B"


def format_figure(value: float, digits: int = 3, *, letters: bool = True) -> str:
    """An amount that was measured or modelled, such as hours, money or speed: small ones and huge ones too.

    `letters`: whether 2,480 is 2.48K; seconds are not counted in thousands.

    >>> [format_figure(value) for value in (0.00352, 36.04, 670.2, 999.7, 2480, 3.2e30)]
    ['0.00352', '36', '670', '1.00K', '2.48K', '3.20e+30']
    >>> format_figure(2480, letters=False)
    '2,480'
    """
    if letters and _reached(value, digits) >= 1000:
        return format_count(value, digits)
    text = f"{value:.{digits}g}"
    return f"{value:,.0f}" if "e+" in text and abs(value) < _LETTERS_END else text


def format_range(ends: Sequence[float], digits: int = 3, *, letters: bool = True) -> str:
    """Both ends of a range as `format_figure` has them: 670-2.48K."""
    return "-".join(format_figure(float(end), digits, letters=letters) for end in ends)


def format_size(value: float) -> str:
    """A size or a ratio: whole numbers in full, others to three digits.

    >>> format_size(8704.0), format_size(0.0234375)
    ('8704', '0.0234')
    """
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.3g}"


def plain_integer(text: str, digits: int = 9) -> int | None:
    """An integer in so many plain digits at most; None for every other text. int() itself takes other scripts' digits,
    signs and blanks, and raises for thousands of digits in words of its own.

    >>> plain_integer("42"), plain_integer("+42"), plain_integer("9" * 5000)
    (42, None, None)
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= digits else None


def counted(number: float, noun: str) -> str:
    """A number of things, in the noun's singular where it is one.

    >>> counted(1, "run"), counted(1200, "run")
    ('1 run', '1,200 runs')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_duration(seconds: float) -> str:
    """45 s, 12 min, 3.4 h, 2.1 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def _reached(value: float, digits: int) -> float:
    """The size that a number has once it is rounded: 999.96B with four digits would print as 1000.0B, and is 1.000T."""
    return abs(value) / (1 - 0.5 * 10.0 ** -max(digits, 3))


def _in_thousands(value: float, digits: int, units: Sequence[str], one: str = "") -> str | None:
    """The value in the largest that it reaches of the units of 10^12, 10^9, 10^6 and 10^3, beyond them in units of
    `one`; None below a thousand."""
    reached = _reached(value, digits)
    if reached >= _LETTERS_END:
        return f"{value:.{digits - 1}e}{one}"
    sizes = zip(units, (1e12, 1e9, 1e6, 1e3), strict=True)
    return next((f"{_significant(value / size, digits)}{unit}" for unit, size in sizes if reached >= size), None)


def _significant(value: float, digits: int) -> str:
    whole = len(str(int(abs(value))))
    return f"{value:.{max(digits - whole, 0)}f}"


def _split(text: str | float, name: str) -> tuple[float, str]:
    try:
        return (float(text), "") if not isinstance(text, str) else split_quantity(text)
    except (ValueError, OverflowError):
        raise UserError(f"{name}: {brief(text)} is not a number with a unit, such as 80GB, 3B or 1e23") from None


def _positive(value: float, text: str | float, name: str) -> float:
    if not 0 < value < math.inf:
        raise UserError(f"{name}: {brief(text)} must be positive and finite")
    if not SMALLEST <= value <= LARGEST:
        raise UserError(f"{name}: {brief(text)} is beyond what is computed with, {SMALLEST:g} to {LARGEST:g}")
    return value
