"""How sure a fit is: a bootstrap over configurations, what the rows leave open, and the status in one word."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from moewright.laws.fitting.observations import Clusters, Observations
from moewright.laws.fitting.problem import Problem
from moewright.laws.fitting.solver import Solution, minimise
from moewright.laws.rate_optimum import student_quantile
from moewright.laws.variable import Array, Mask
from moewright.processors import processors
from moewright.progress import progress_task
from moewright.records import Items, Record

FitStatus = Literal["converged", "bound_hit", "poor_fit", "not_converged", "unstable", "underdetermined"]
"""Best first; docs/fitting.md defines the words."""
Unknown = Literal["on_bound", "undetermined"]
_ITERATIONS = 80
_TOLERANCE = 1e-6
# Numbers in one Jacobian of a batch: small enough for the second-level cache, large enough that numpy's calls do not
# dominate. Measured on 446 rows and 12 coefficients, see tests/benchmarks/bench_laws.py.
_BATCH = 100_000
LEVEL = 0.9
"""Of intervals, where no other is asked for."""
_MANY = 200
"""Degrees of freedom from which Student's t is taken for the normal: they differ by half a per cent."""
# More failed replicates than this, and the others tell of the tables on which the fit happens to work.
MOST_FAILED = 0.1
# Fewer replicates than this have no percentiles.
_FEWEST_DRAWS = 20
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

    with (
        ThreadPoolExecutor(max_workers=processors().granted) as pool,
        progress_task("fitting again", len(starts), "times") as task,
    ):
        solved = []
        for part, solution in zip(parts, pool.map(work, parts), strict=True):
            solved.append(solution)
            task.advance(len(starts[part]))
    return Solution(
        np.concatenate([solution.u for solution in solved]),
        np.concatenate([solution.cost for solution in solved]),
        np.concatenate([solution.converged for solution in solved]),
    )


def residual_variance(residuals: Array, weights: Array, free: int) -> float:
    """Variance of one run's noise, from residuals (R,) of a fit with so many free coefficients."""
    number = int((weights > 0).sum())
    return float(np.average(residuals**2, weights=weights)) * number / max(number - free, 1)


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
    low: float | None
    """None, as `high` is, where the rows say nothing about it: see `unknown`."""
    high: float | None
    pinned: bool
    moves_with: Items[str] = ()
    unknown: Unknown | None = None
    """Why there is no interval."""


@dataclass(frozen=True)
class Freedom:
    """What the rows of a fit leave to judge it by; masks are (P,) of bool."""

    on_bound: Mask
    """Free coefficients on one of their bounds."""
    undetermined: Mask
    """Free coefficients that the rows cannot tell from others, or at all."""
    degrees: int
    """Configurations, outliers apart, beyond the free coefficients; 0 or less: nothing is left to judge by."""


def freedom_of(problem: Problem, u: Array, weights: Array, clusters: Clusters) -> Freedom:
    """Of a fit u (P,) to rows with weights (R,), outliers among them at 0, in clusters (R,)."""
    on_bound = find_bound(problem, u)
    degrees = len(np.unique(clusters[weights > 0])) - int(problem.free.sum())
    alike = np.isin(problem.names, degenerate(problem, u, weights, on_bound))
    return Freedom(on_bound, problem.free if degrees <= 0 else alike, degrees)


def identify(
    problem: Problem, u: Array, weights: Array, draws: Array, freedom: Freedom, stable: bool
) -> list[Identified]:
    """Each free coefficient by the spread of its draws (B, P), or by the Jacobian where there are too few.

    Pinned is one that both show to be narrow: a flat objective lets replicates stay where they start, which only the
    Jacobian tells, and a curved one spreads them further than the Jacobian does. None is where the fit is not `stable`.
    """
    values = problem.coefficients(u)
    errors = half_interval(LEVEL, max(freedom.degrees, 1)) * standard_errors(problem, u, weights)
    if len(draws) >= _FEWEST_DRAWS:
        low, high = interval_of(draws)
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = np.asarray(np.corrcoef(_to_ranks(draws), rowvar=False))
    else:
        low, high = values - errors, values + errors
        correlation = np.zeros((len(values), len(values)))
    unknown = freedom.on_bound | freedom.undetermined
    half = np.maximum(errors, (high - low) / 2)
    pinned = stable & ~unknown & (half < PINNED_HALF_WIDTH * np.abs(values))
    found = []
    for i, name in enumerate(problem.names):
        if problem.free[i]:
            partners = [
                other
                for j, other in enumerate(problem.names)
                if j != i and problem.free[j] and abs(correlation[i, j]) > _TOGETHER
            ]
            why: Unknown | None = "on_bound" if freedom.on_bound[i] else None
            if freedom.undetermined[i]:
                why = "undetermined"
            found.append(
                Identified(
                    name=name,
                    value=float(values[i]),
                    low=None if unknown[i] else float(low[i]),
                    high=None if unknown[i] else float(high[i]),
                    pinned=bool(pinned[i]),
                    moves_with=tuple(partners),
                    unknown=why,
                )
            )
    return found


def half_interval(level: float, freedom: int) -> float:
    """Half of Student's interval in standard deviations; from `_MANY` degrees of freedom on that of the normal."""
    return student_quantile((1 + level) / 2, freedom if freedom < _MANY else None)


def degenerate(problem: Problem, u: Array, weights: Array, on_bound: Mask) -> tuple[str, ...]:
    """Free coefficients, those on a bound (P,) apart, that the rows cannot tell apart at all; empty where all can."""
    kept = ~on_bound[problem.free]
    names = np.array(problem.names)[problem.free & ~on_bound]
    if not len(names):
        return ()
    jacobian = _jacobian(problem, u, weights)[kept]
    size = np.linalg.norm(jacobian, axis=1)
    # A large coefficient of a small basis has a small derivative and may matter all the same: b of b D^-beta.
    reach = size * np.maximum(np.abs(u[problem.free][kept]), 1.0)
    open_ones = reach <= DEGENERATE * size.max()
    seen = np.flatnonzero(~open_ones)
    if len(seen):
        _, singular, directions = np.linalg.svd((jacobian[seen] / size[seen, None]).T, full_matrices=True)
        # Directions beyond the number of rows have no singular value: no row tells of them.
        silent = np.ones(len(seen), dtype=bool)
        silent[: len(singular)] = singular <= DEGENERATE * singular[0]
        open_ones[seen] = (np.abs(directions[silent]) > 0.1).any(axis=0)
    return tuple(map(str, names[open_ones]))


def standard_errors(problem: Problem, u: Array, weights: Array) -> Array:
    """Standard errors (P,) of the coefficients from the Jacobian and the residuals' spread; 0 where fixed."""
    jacobian = _jacobian(problem, u, weights)
    variance = residual_variance(problem.residual(u[None])[0], weights, int(problem.free.sum()))
    # Of log-searched coefficients to first order: d coefficient = coefficient x d log.
    scale = np.where(problem.is_log, problem.coefficients(u), 1.0)[problem.free]
    size = np.maximum(np.linalg.norm(jacobian, axis=1), 1e-300)
    scaled = jacobian / size[:, None]
    covariance = np.linalg.pinv(scaled @ scaled.T, rcond=1e-14, hermitian=True) * variance
    errors = np.zeros(len(problem.names))
    errors[problem.free] = np.sqrt(np.maximum(np.diagonal(covariance), 0)) * scale / size
    return errors


def _jacobian(problem: Problem, u: Array, weights: Array) -> Array:
    _, jacobian = problem.linearise(u[None])
    return np.asarray(jacobian[0][problem.free] * np.sqrt(weights / weights.mean()))


def _to_ranks(draws: Array) -> Array:
    """Ranks column by column: coefficients that move together seldom do so on a straight line."""
    return np.argsort(np.argsort(draws, axis=0), axis=0).astype(np.float64)


# The status


def status_of_fit(
    problem: Problem, freedom: Freedom, rows: Observations, converged: bool, poor: str | None, failed: float
) -> tuple[FitStatus, tuple[str, ...]]:
    """The status code and the sentences behind it, worst first; `poor` says why the fit explains badly, `failed` is the
    share of the bootstrap that did."""
    found: list[tuple[FitStatus, str]] = []
    named = np.array(problem.names)
    if freedom.degrees <= 0:
        found.append(
            (
                "underdetermined",
                f"as many coefficients as configurations that are no outliers ({problem.free.sum()} free, "
                f"{freedom.degrees + problem.free.sum()} configurations): nothing is left to judge the law by",
            )
        )
    elif freedom.undetermined.any():
        constant = [name for name, values in rows.columns.items() if len(values) and np.ptp(values) == 0]
        why = f"; {', '.join(constant)} has one value in all rows" if constant else ""
        which = ", ".join(named[freedom.undetermined])
        found.append(
            (
                "underdetermined",
                f"the rows cannot tell {which} apart{why}: fix some of them or add runs that vary",
            )
        )
    if failed > MOST_FAILED:
        found.append(
            ("unstable", f"{failed:.0%} of the bootstrap replicates determine no law: no interval is to be believed")
        )
    if not converged:
        found.append(("not_converged", "the solver stopped before the objective stopped falling"))
    if poor is not None:
        found.append(("poor_fit", poor))
    if freedom.on_bound.any():
        found.append(("bound_hit", f"on a bound: {', '.join(named[freedom.on_bound])}"))
    return found[0][0] if found else "converged", tuple(message for _, message in found)


def find_bound(problem: Problem, u: Array) -> Mask:
    """Which free coefficients of a fit u (P,) sit on one of their bounds, (P,)."""
    return np.asarray(problem.free & (np.isclose(u, problem.lower) | np.isclose(u, problem.upper)))
