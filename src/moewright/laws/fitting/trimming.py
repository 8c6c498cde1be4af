"""A fit that outliers do not bend, and the spread of its residuals: least trimmed squares, then reweighted once more.

A fit to all rows is no start for a robust one: a single diverged run at a large size moves it, and the residuals around
it, so far that the run looks ordinary. Least trimmed squares (Rousseeuw 1984) minimises the squares of the three
quarters of the rows that lie nearest, found by concentration (Rousseeuw and van Driessen 2006): fit, keep the nearest,
fit again. Some candidates come from fits to all rows, the others from a few random rows each, among which some have no
outlier. Up to a quarter of the rows may be anything. The spread is then that of the rows within 2.5 spreads (Gervini
and Yohai 2002), corrected for the rows that normal noise puts outside and for the coefficients that were fitted.
"""

from dataclasses import dataclass

import numpy as np

from moewright.laws.fitting.problem import Problem
from moewright.laws.fitting.solver import minimise
from moewright.laws.variable import Array, Mask

# Share of the rows (by weight) that must lie near the law.
_NEAR = 0.75
# Variance of normal noise of variance 1 within its central 75 %, and within 2.5 standard deviations.
_VARIANCE_NEAR, _VARIANCE_INSIDE = 0.3684, 0.9113
_INSIDE = 2.5
# Candidates from random rows. Of a tenth of outliers, draws of 14 rows (12 coefficients) are free in 23 %.
_RANDOM = 24
# Rounds of concentration and steps in each, with all candidates and with the best; more change nothing on takano_dense,
# joint_moe and synthetic tables of zhao2025 with a tenth of the rows replaced.
_FIRST, _LAST = (2, 4), (6, 12)
_KEPT = 4
_REWEIGHTED = 2


@dataclass(frozen=True)
class TrimmedFit:
    """The best candidates (S, P), best first, and the standard deviation of the residuals without outliers."""

    u: Array
    spread: float


def trimmed_fit(
    squares: Problem, fitted: Array, starts: Array, weights: Array, random: np.random.Generator
) -> TrimmedFit:
    """From candidates fitted to all rows (F, P) and starts (S, P), with row weights (R,); costs are squares."""
    rows, free = len(weights), int(squares.free.sum())
    # Fewer than half of the rows that are no coefficients' own cannot be told from outliers.
    near = max(int(np.ceil(_NEAR * rows)), (rows + free + 1) // 2)
    drawn = np.zeros((_RANDOM, rows))
    for candidate in drawn:
        candidate[random.permutation(rows)[: min(free + 2, rows)]] = 1.0
    drawn *= weights
    usable = drawn.sum(axis=1) > 0
    drawn = drawn[usable]
    first = squares.with_best_linear(starts[np.arange(len(drawn)) % len(starts)], drawn, np.zeros_like(drawn))
    first = minimise(squares, first, drawn, iterations=_FIRST[1], tolerance=1e-4).u
    u = np.concatenate([fitted, first])
    u = _concentrate(squares, u, weights, near, *_FIRST)[: 2 * _KEPT]
    u = _concentrate(squares, u, weights, near, *_LAST)[:_KEPT]
    kept = _nearest(squares, u[:1], weights, near)[0]
    spread = _spread(squares, u[0], weights, kept, _VARIANCE_NEAR if near < rows else 1.0, free)
    for _ in range(_REWEIGHTED):
        inside = np.abs(squares.residual(u)) <= _INSIDE * spread
        inside[(inside & (weights > 0)).sum(axis=1) <= free] = True
        u = minimise(squares, u, inside * weights, iterations=_LAST[1], tolerance=1e-8).u
        spread = _spread(squares, u[0], weights, inside[0], _VARIANCE_INSIDE, free)
    return TrimmedFit(u, spread)


def _concentrate(squares: Problem, u: Array, weights: Array, near: int, rounds: int, steps: int) -> Array:
    """Candidates (S, P) after some rounds, or until the best keeps its rows; least squares of the nearest first."""
    kept = _nearest(squares, u, weights, near)
    for _ in range(rounds):
        solution = minimise(squares, u, kept * weights, iterations=steps, tolerance=1e-6)
        # `minimise` divides by the sum of weights, the same for all up to the last row kept.
        u = solution.u[np.argsort(solution.cost, kind="stable")]
        before, kept = kept[np.argmin(solution.cost)], _nearest(squares, u, weights, near)
        if (kept[0] == before).all():
            break
    return u


def _nearest(squares: Problem, u: Array, weights: Array, near: int) -> Mask:
    """Which rows lie nearest to each candidate, (S, R): so many of them, counted by weight."""
    size = np.abs(squares.residual(u))
    order = np.argsort(np.where(np.isfinite(size), size, np.inf), axis=1, kind="stable")
    below = np.cumsum(weights[order], axis=1) - weights[order]
    chosen = np.zeros(size.shape, dtype=bool)
    np.put_along_axis(chosen, order, below < near / len(weights) * weights.sum() * (1 - 1e-12), axis=1)
    return chosen


def _spread(squares: Problem, u: Array, weights: Array, kept: Mask, variance: float, free: int) -> float:
    """Standard deviation of normal noise whose central part `kept` (R,) is, fitted by so many coefficients."""
    residual = squares.residual(u[None])[0]
    inside = kept & (weights > 0)
    number = int(inside.sum())
    mean = float(np.average(residual[inside] ** 2, weights=weights[inside]))
    return float(np.sqrt(mean * number / max(number - free, 1) / variance))
