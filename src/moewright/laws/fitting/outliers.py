"""Which fitted rows lie too far from the law to belong to it, and whether the law explains the others."""

from collections.abc import Iterator

import numpy as np

from moewright.laws.fitting.problem import Problem
from moewright.laws.variable import Array, Mask
from moewright.records import Record, Size

# Standard deviations: where the bisquare of the default objective ends. Of normal noise 3 rows in a million lie beyond.
_FAR = 4.685
# Spreads below this are the rounding of an exact law.
_ROUNDING = 1e-9
# A law worth the name explains this share of the variance of log losses, and misses by less than that much.
_LEAST_EXPLAINED = 0.75
_LARGEST_ERROR = 0.05
# More outliers than this are no accidents: the form, or the table, is not what it seems.
_MOST_OUTLIERS = 0.1
_SHOWN = 3


class Outlier(Record):
    """A fitted row far from the law."""

    row: Size
    """Among the fitted rows, counted from 1."""
    name: str
    """The row in the user's table."""
    missed: float
    """loss / predicted - 1."""


def find_outliers(problem: Problem, u: Array, weights: Array) -> Mask:
    """Rows (R,) that lie beyond 4.685 standard deviations of the residuals; where the objective is bounded, those that
    have no pull on the fit u (P,)."""
    size = np.abs(problem.residual(u[None])[0])
    if problem.objective.bounded and problem.objective.delta is not None:
        return np.asarray(size >= problem.objective.delta)
    counted = size[weights > 0]
    freedom = max(len(counted) - int(problem.free.sum()), 1)
    # The median absolute residual is 0.6745 standard deviations of normal noise.
    spread = float(np.median(counted)) / 0.6745 * np.sqrt(len(counted) / freedom)
    return np.asarray(size >= _FAR * max(spread, _ROUNDING))


def list_outliers(names: list[str], residuals: Array, far: Mask) -> tuple[Outlier, ...]:
    """The outliers by the names (R,) of their rows; residuals are log(predicted) - log(loss)."""
    return tuple(
        Outlier(row=int(place) + 1, name=names[place], missed=float(np.expm1(-residuals[place])))
        for place in np.flatnonzero(far)
    )


def describe_outliers(outliers: tuple[Outlier, ...], residuals: Array, pull: bool) -> Iterator[str]:
    """A sentence on the outliers, if there are any; `pull`: whether they act on the fit."""
    if not outliers:
        return
    shown = ", ".join(f"{outlier.name} by {outlier.missed:+.1%}" for outlier in outliers[:_SHOWN])
    more = f" and {len(outliers) - _SHOWN} more" if len(outliers) > _SHOWN else ""
    others = np.delete(residuals, [outlier.row - 1 for outlier in outliers])
    does = "pull at the fit all the same" if pull else "do not pull at the fit"
    yield (
        f"{len(outliers)} of {len(residuals)} rows lie far from the law and {does}: {shown}{more}; the error on the "
        f"others is {np.sqrt(np.mean(others**2)):.2%}"
    )


def why_poor(residuals: Array, loss: Array, far: Mask, free: int) -> str | None:
    """Why a law with so many free coefficients explains its rows badly, or None where it does not.

    Outliers `far` (R,) are counted, and left out of the rest.
    """
    share = float(far.mean())
    if share > _MOST_OUTLIERS:
        return f"explains the rows badly: {share:.0%} of them are outliers"
    missed, logs = residuals[~far], np.log(loss[~far])
    freedom = max(len(missed) - free, 1)
    error = float(np.sqrt(np.sum(missed**2) / freedom))
    if error > _LARGEST_ERROR:
        return f"explains the rows badly: it misses by {error:.1%}"
    varied = float(np.sum((logs - logs.mean()) ** 2)) / max(len(logs) - 1, 1)
    if error > _ROUNDING and error**2 > (1 - _LEAST_EXPLAINED) * varied:
        explained = max(0.0, 1 - error**2 / varied) if varied else 0.0
        return f"explains the rows badly: {explained:.0%} of the variance of their log losses"
    return None
