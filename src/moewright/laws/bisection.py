"""Where many monotonic functions cross a value, each by halving an interval of its own."""

from collections.abc import Callable

import numpy as np

from moewright.laws.variable import Array, Mask


def halved(is_below: Callable[[Array], Mask], low: Array, high: Array, halvings: int) -> tuple[Array, Array]:
    """Intervals (S,) around the crossings, 2^halvings times narrower; `is_below` says of points (S,) whether they lie
    below theirs.

    >>> low, high = halved(lambda x: x**2 < np.array([2.0, 9.0]), np.zeros(2), np.full(2, 10.0), 40)
    >>> [round(float(each), 6) for each in high]
    [1.414214, 3.0]
    """
    for _ in range(halvings):
        middle = (low + high) / 2
        below = is_below(middle)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low, high
