"""How sure a fit is: a bootstrap over configurations, what the rows leave open, and the status in one word."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np

from moewright.laws.fitting.observations import Clusters, Mask, Observations
from moewright.laws.fitting.problem import Problem
from moewright.laws.fitting.solver import Solution, minimise
from moewright.laws.variable import Array
from moewright.processors import processors
from moewright.records import Items, Record

FitStatus = Literal["converged", "bound_hit", "not_converged", "underdetermined"]
_ITERATIONS = 80
_TOLERANCE = 1e-6
# Numbers in one Jacobian of a batch: small enough for the second-level cache, large enough that numpy's calls do not
# dominate. Measured on 446 rows and 12 coefficients, see tests/benchmarks/bench_laws.py.
_BATCH = 100_000
LEVEL = 0.9
"""Of intervals, where no other is asked for."""
NORMAL_95 = 1.645
"""The 95th percentile of a normal: 90 % of its draws lie within so many standard deviations."""
# A coefficient is pinned where half its interval is less than this share of it.
PINNED_HALF_WIDTH = 0.5
# Bootstrap draws of two coefficients this correlated move as one.
_TOGETHER = 0.98
# Below this ratio of singular values of the column-scaled Jacobian, columns are the same up to the rounding of its
# central differences.
DEGENERATE = 1e-7


# How far the coefficients would move had other runs been made


def resampled_weights(clusters: Clusters, weights: Array, replicates: int, random: np.random.Generator) -> Array:
    """Row weights (B, R) of B resamples of whole clusters, drawn as often as there are clusters."""
    number = int(clusters.max()) + 1
    counts = random.multinomial(number, np.full(number, 1 / number), size=replicates)
    return np.asarray(counts[:, clusters] * weights, dtype=np.float64)


def refit(problem: Problem, starts: Array, weights: Array, held: Mask | None = None) -> Solution:
    """Replicates (B, P) from `starts` (B, P) with row weights (B, R), in batches over the processors that are granted.

    Threads, because nearly all time is spent in numpy, which lets go of the interpreter there.
    """
    size = max(1, _BATCH // (starts.shape[1] * weights.shape[1]))
    parts = [slice(first, first + size) for first in range(0, len(starts), size)]

    def work(part: slice) -> Solution:
        return minimise(
            problem,
            starts[part],
            weights[part],
            iterations=_ITERATIONS,
            tolerance=_TOLERANCE,
            held=None if held is None else held[part],
        )

    with ThreadPoolExecutor(max_workers=processors().granted) as pool:
        solved = list(pool.map(work, parts))
    return Solution(
        np.concatenate([solution.u for solution in solved]),
        np.concatenate([solution.cost for solution in solved]),
        np.concatenate([solution.converged for solution in solved]),
    )


# What the rows leave open


def interval_of(draws: Array, level: float = LEVEL) -> Array:
    """Low and high ends (2, ...) of the middle share of draws (B, ...), by quantiles; draws that are NaN do not count.

    NaN where all of them are.
    """
    tail = round((1 - level) / 2, 12)
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")
        return np.asarray(np.nanquantile(draws, [tail, 1 - tail], axis=0))


class Identified(Record):
    """One coefficient: its value, its 90 % interval (`LEVEL`), whether the rows pin it, and what it moves with."""

    name: str
    value: float
    low: float
    high: float
    pinned: bool
    moves_with: Items[str] = ()


def identify(problem: Problem, u: Array, weights: Array, draws: Array) -> list[Identified]:
    """Each free coefficient by the spread of its draws (B, P), or by the Jacobian where there are too few."""
    values = problem.coefficients(u)
    if len(draws) >= 20:
        low, high = interval_of(draws)
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = np.asarray(np.corrcoef(_to_ranks(draws), rowvar=False))
    else:
        spread = NORMAL_95 * standard_errors(problem, u, weights)
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
            pinned = bool((high[i] - low[i]) / 2 < PINNED_HALF_WIDTH * abs(values[i]))
            found.append(
                Identified(
                    name=name,
                    value=float(values[i]),
                    low=float(low[i]),
                    high=float(high[i]),
                    pinned=pinned,
                    moves_with=tuple(partners),
                )
            )
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


# The status


def status_of_fit(
    problem: Problem, u: Array, rows: Observations, weights: Array, converged: bool, failed: int, replicates: int
) -> tuple[FitStatus, tuple[str, ...]]:
    """The status code and the sentences behind it, worst first."""
    status: FitStatus = "converged"
    messages = []
    constant = [name for name, values in rows.columns.items() if len(values) and np.ptp(values) == 0]
    if failed:
        messages.append(f"{failed} of {replicates} bootstrap replicates did not converge and are left out")
    on_bound = find_bound(problem, u)
    if on_bound.any():
        status = "bound_hit"
        bound = [name for name, is_on in zip(problem.names, on_bound, strict=True) if is_on]
        messages.insert(0, f"on a bound: {', '.join(bound)}")
    if not converged:
        status = "not_converged"
        messages.insert(0, "the solver stopped before the objective stopped falling")
    alike = degenerate(problem, u, weights, on_bound)
    if alike:
        status = "underdetermined"
        why = f"; {', '.join(constant)} has one value in all rows" if constant else ""
        messages.insert(
            0, f"the rows cannot tell {', '.join(alike)} apart{why}: fix some of them or add runs that vary"
        )
    return status, tuple(messages)


def find_bound(problem: Problem, u: Array) -> Mask:
    """Which free coefficients of a fit u (P,) sit on one of their bounds, (P,)."""
    return np.asarray(problem.free & (np.isclose(u, problem.lower) | np.isclose(u, problem.upper)))
