"""What a table cannot tell: coefficients and combinations that the rows leave open."""

from dataclasses import dataclass

import numpy as np

from moewright.laws.fitting.problem import Problem
from moewright.laws.fitting.rows import Mask
from moewright.laws.variable import Array

# A coefficient is pinned where half its 90 % interval is less than this share of it.
PINNED = 0.5
# Bootstrap draws of two coefficients this correlated move as one.
_TOGETHER = 0.98
# Below this ratio of singular values of the column-scaled Jacobian, columns are the same up to the rounding of its
# central differences.
DEGENERATE = 1e-7


@dataclass(frozen=True)
class Identified:
    """One coefficient: its value, its 90 % interval, whether the rows pin it, and what it moves with."""

    name: str
    value: float
    low: float
    high: float
    pinned: bool
    moves_with: tuple[str, ...] = ()


def identify(problem: Problem, u: Array, weights: Array, draws: Array) -> list[Identified]:
    """Each free coefficient by the spread of its draws (B, P), or by the Jacobian where there are too few."""
    values = problem.coefficients(u)
    if len(draws) >= 20:
        low, high = np.quantile(draws, [0.05, 0.95], axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = np.asarray(np.corrcoef(_to_ranks(draws), rowvar=False))
    else:
        spread = 1.645 * standard_errors(problem, u, weights)  # 1.645: the 95th percentile of a normal
        low, high = values - spread, values + spread
        correlation = np.zeros((len(values), len(values)))
    found = []
    for i, name in enumerate(problem.names):
        if problem.free[i]:
            partners = [
                other
                for j, other in enumerate(problem.names)
                if j != i and problem.free[j] and abs(correlation[i, j]) > _TOGETHER
            ]
            pinned = bool((high[i] - low[i]) / 2 < PINNED * abs(values[i]))
            found.append(Identified(name, float(values[i]), float(low[i]), float(high[i]), pinned, tuple(partners)))
    return found


def degenerate(problem: Problem, u: Array, weights: Array, on_bound: Mask) -> tuple[str, ...]:
    """Free coefficients, those on a bound (P,) apart, that the rows cannot tell apart at all; empty where all can."""
    kept = ~on_bound[problem.free]
    names = [name for name, is_kept in zip(problem.names, problem.free & ~on_bound, strict=True) if is_kept]
    jacobian = _jacobian(problem, u, weights)[kept]
    size = np.linalg.norm(jacobian, axis=1)
    # A large coefficient of a small basis has a small derivative and may matter all the same: b of b D^-beta.
    reach = size * np.maximum(np.abs(u[problem.free][kept]), 1.0)
    silent = reach <= DEGENERATE * size.max()
    if silent.any():
        return tuple(name for name, is_silent in zip(names, silent, strict=True) if is_silent)
    _, singular, directions = np.linalg.svd((jacobian / size[:, None]).T, full_matrices=False)
    if singular[-1] > DEGENERATE * singular[0]:
        return ()
    return tuple(name for name, share in zip(names, np.abs(directions[-1]), strict=True) if share > 0.1)


def standard_errors(problem: Problem, u: Array, weights: Array) -> Array:
    """Standard errors (P,) of the coefficients from the Jacobian and the residuals' spread; 0 where fixed."""
    jacobian = _jacobian(problem, u, weights)
    residual = problem.residual(u[None])[0]
    freedom = max(len(residual) - problem.free.sum(), 1)
    variance = float(np.average(residual**2, weights=weights)) * len(residual) / freedom
    # Of log-searched coefficients to first order: d coefficient = coefficient x d log.
    scale = np.where(problem.is_log, problem.coefficients(u), 1.0)[problem.free]
    covariance = np.linalg.pinv(jacobian @ jacobian.T, rcond=1e-14, hermitian=True) * variance
    errors = np.zeros(len(problem.names))
    errors[problem.free] = np.sqrt(np.maximum(np.diagonal(covariance), 0)) * scale
    return errors


def _jacobian(problem: Problem, u: Array, weights: Array) -> Array:
    _, jacobian = problem.linearise(u[None])
    return np.asarray(jacobian[0][problem.free] * np.sqrt(weights / weights.mean()))


def _to_ranks(draws: Array) -> Array:
    """Ranks column by column: coefficients that move together seldom do so on a straight line."""
    return np.argsort(np.argsort(draws, axis=0), axis=0).astype(np.float64)
