"""Quantiles of Student's t for whole degrees of freedom, from the closed form of its distribution."""

from math import atan, cos, inf, pi, sin, sqrt
from statistics import NormalDist


def student_quantile(share: float, freedom: int | None) -> float:
    """The value that a share (between .5 and 1) of draws lies below; None degrees of freedom is the normal limit.

    Bisection on the finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4, to the last bits of a float.
    """
    if not 0.5 <= share < 1:
        raise ValueError(f"share must be at least .5 and below 1, got {share}")
    if freedom is None:
        return NormalDist().inv_cdf(share)
    low, high = 0.0, 1.0
    while _between(high, freedom) < 2 * share - 1 and high < inf:
        high *= 2
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if _between(middle, freedom) < 2 * share - 1 else (low, middle)
    return middle


def _between(value: float, freedom: int) -> float:
    """The share of draws between -value and value."""
    angle = atan(value / sqrt(freedom))
    odd = freedom % 2
    term = cos(angle) if odd else 1.0
    total = 0.0
    for power in range(1 + odd, freedom, 2):
        total += term
        term *= cos(angle) ** 2 * power / (power + 1)
    return 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total
