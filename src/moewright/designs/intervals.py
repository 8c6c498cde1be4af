"""Columns of intervals: a law's own formula, given intervals instead of numbers, answers with bounds of its loss.

An interval column behaves like an array in arithmetic, `exp`, `log` and powers (numpy's override protocol), so no law
has a second formula for its bounds. Every operation encloses all results that numbers between the ends can give
(interval arithmetic, Moore 1966), up to rounding. Bounds are wider than the true range where a variable occurs twice,
and shrink to the value as the interval does.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

_Ends = tuple[Any, Any]


class IntervalColumn(np.lib.mixins.NDArrayOperatorsMixin):
    """Values that lie between `low` and `high`, arrays of one shape; functions enclose their results.

    >>> x = IntervalColumn(np.array([1.0]), np.array([4.0]))
    >>> root = x**0.5
    >>> root.low.tolist(), root.high.tolist()
    ([1.0], [2.0])
    """

    __slots__ = ("high", "low")

    def __init__(self, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> None:
        self.low, self.high = low, high

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        rule = _RULES.get(ufunc)
        if rule is None or method != "__call__" or kwargs:
            return NotImplemented
        return IntervalColumn(*rule(*inputs))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function is np.ones_like:
            return np.ones(np.shape(self.low))
        return NotImplemented


def interval(one: Any, other: Any) -> Any:
    """The interval of two values in any order; a plain array where they are equal, whose results are then exact."""
    one, other = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    return one if np.array_equal(one, other) else IntervalColumn(np.minimum(one, other), np.maximum(one, other))


def lower(values: Any) -> Any:
    """The lower ends, or the values themselves if they are no interval."""
    return values.low if isinstance(values, IntervalColumn) else values


def upper(values: Any) -> Any:
    """The upper ends, or the values themselves if they are no interval."""
    return values.high if isinstance(values, IntervalColumn) else values


def _increasing(function: Callable[[Any], Any]) -> Callable[[Any], _Ends]:
    return lambda x: (function(lower(x)), function(upper(x)))


def _hull(*values: Any) -> _Ends:
    least = most = values[0]
    for value in values[1:]:
        least, most = np.minimum(least, value), np.maximum(most, value)
    return least, most


def _multiply(x: Any, y: Any) -> _Ends:
    if isinstance(x, IntervalColumn) and isinstance(y, IntervalColumn):
        if x.low.min(initial=0.0) >= 0 and y.low.min(initial=0.0) >= 0:
            return x.low * y.low, x.high * y.high
        return _hull(x.low * y.low, x.low * y.high, x.high * y.low, x.high * y.high)
    interval, factor = (x, y) if isinstance(x, IntervalColumn) else (y, x)
    if np.ndim(factor) == 0:
        ends = (interval.low * factor, interval.high * factor)
        return ends if factor >= 0 else ends[::-1]
    return _hull(interval.low * factor, interval.high * factor)


def _reciprocal(x: Any) -> Any:
    if not isinstance(x, IntervalColumn):
        return 1 / x
    if np.any((x.low <= 0) & (x.high >= 0)):
        # Nothing is known of a quotient whose divisor may be 0.
        through = (x.low <= 0) & (x.high >= 0)
        with np.errstate(divide="ignore"):
            return IntervalColumn(np.where(through, -np.inf, 1 / x.high), np.where(through, np.inf, 1 / x.low))
    return IntervalColumn(1 / x.high, 1 / x.low)


def _divide(x: Any, y: Any) -> _Ends:
    quotient = x * _reciprocal(y)
    return lower(quotient), upper(quotient)


def _power(x: Any, y: Any) -> _Ends:
    if isinstance(x, IntervalColumn) and not isinstance(y, IntervalColumn) and np.ndim(y) == 0 and y == 2:
        crosses = (x.low < 0) & (x.high > 0)
        low, high = _hull(x.low**2, x.high**2)
        return np.where(crosses, 0.0, low), high
    # For positive bases a power is monotone in its base and in its exponent, so its extremes lie at the corners.
    return _hull(
        *(np.power(a, b) for a in {id(e): e for e in (lower(x), upper(x))}.values() for b in (lower(y), upper(y)))
    )


_RULES: dict[np.ufunc, Callable[..., _Ends]] = {
    np.add: lambda x, y: (lower(x) + lower(y), upper(x) + upper(y)),
    np.subtract: lambda x, y: (lower(x) - upper(y), upper(x) - lower(y)),
    np.negative: lambda x: (-x.high, -x.low),
    np.multiply: _multiply,
    np.true_divide: _divide,
    np.power: _power,
    np.exp: _increasing(np.exp),
    np.log: _increasing(np.log),
    np.log2: _increasing(np.log2),
    np.log10: _increasing(np.log10),
}
