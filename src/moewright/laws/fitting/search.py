"""From many starts to one fit: projected steps on squares from all starts, the objective itself from the best.

The default objective takes its scale, and one of its starts, from a fit that outliers do not bend (`trimming`).
"""

from dataclasses import dataclass, replace

import numpy as np

from moewright.laws.fitting.problem import Problem
from moewright.laws.fitting.solver import Solution, minimise
from moewright.laws.fitting.trimming import trimmed_fit
from moewright.laws.variable import Array, Mask

# Iterations before the field is cut, after it, and on the objective itself. Measured on zhao2025 (446 rows, 64
# starts), ludziejewski2025 on joint_moe and the additive law on takano_dense: the eight before the cut bring every
# start that will win into its first quarter.
_FIRST, _SECOND, _LAST = 8, 20, 300
_FINALISTS = 4
_SAME_COST = 1e-4


@dataclass(frozen=True)
class SearchResult:
    """The best candidate (P,), its cost, whether it converged, the finalists (F, P) and how many agree on the cost."""

    problem: Problem
    """The problem with its objective settled (a delta that depends on the residuals is known now)."""
    u: Array
    cost: float
    converged: bool
    finalists: Array
    agreeing: int


def draw_starts(problem: Problem, count: int, random: np.random.Generator) -> Array:
    """Starts in u, (count, P): nonlinear coefficients drawn from their start ranges, linear ones 0.

    Published coefficients are no start: a fit owes nothing to them.
    """
    u = np.zeros((count, len(problem.names)))
    for i, coefficient in enumerate(problem.form.nonlinear):
        low, high = coefficient.start
        if coefficient.name == problem.form.asymptote:
            low, high = 0.0, float(problem.loss.min())
        if coefficient.log_start:
            drawn = random.uniform(np.log(low), np.log(high), count)
            drawn = drawn if coefficient.log_search else np.exp(drawn)
        else:
            drawn = random.uniform(low, high, count)
        u[:, i] = np.clip(drawn, problem.lower[i], problem.upper[i])
    held = ~problem.free
    u[:, held] = problem.lower[held]
    return u


def search(problem: Problem, starts: Array, weights: Array, random: np.random.Generator) -> SearchResult:
    """The best fit from `starts` (S, P) with row weights (R,)."""
    squares = squares_of(problem)
    rows = _rows(weights, starts)
    projected = squares.with_best_linear(starts, rows, np.zeros_like(rows))
    solution = minimise(squares, projected, rows, iterations=_FIRST, tolerance=1e-6)
    kept = _best(solution, max(_FINALISTS, len(starts) // 4))
    solution = minimise(squares, kept, _rows(weights, kept), iterations=_SECOND, tolerance=1e-8)
    finalists = _best(solution, _FINALISTS)
    if problem.objective.scaled_delta is not None:
        trimmed = trimmed_fit(squares, finalists, starts, weights, random)
        finalists = trimmed.u
        problem = replace(problem, objective=problem.objective.with_spread(trimmed.spread))
    solution = descend(problem, finalists, weights)
    best = int(np.argmin(solution.cost))
    agreeing = int(np.sum(solution.cost <= solution.cost[best] * (1 + _SAME_COST)))
    return SearchResult(
        problem=problem,
        u=solution.u[best],
        cost=float(solution.cost[best]),
        converged=bool(solution.converged[best]),
        finalists=solution.u,
        agreeing=agreeing,
    )


def squares_of(problem: Problem) -> Problem:
    """The same problem with the squares of its residuals as costs."""
    return replace(
        problem, objective=replace(problem.objective, delta=None, scaled_delta=None, over=1.0, bounded=False)
    )


def descend(problem: Problem, u: Array, weights: Array, held: Mask | None = None) -> Solution:
    """Candidates (S, P) improved to convergence on the problem's own objective; `held` as in `minimise`.

    A Huber cost is approached from a delta that holds nearly all rows, narrowed step by step: followed this way,
    Newton's method reaches even the corner of an absolute error (delta 1e-6), where from afar it would stall.
    """
    rows = _rows(weights, u)
    delta = problem.objective.delta
    if delta is not None:
        wide = 3 * float(np.nanmedian(np.abs(problem.residual(u[:1]))))
        while wide > delta:
            softer = replace(problem, objective=replace(problem.objective, delta=wide))
            u = minimise(softer, u, rows, iterations=30, tolerance=1e-6, held=held).u
            wide /= 3
    return minimise(problem, u, rows, iterations=_LAST, held=held)


def _best(solution: Solution, count: int) -> Array:
    return solution.u[np.argsort(solution.cost, kind="stable")[:count]]


def _rows(weights: Array, u: Array) -> Array:
    return np.broadcast_to(weights, (len(u), weights.shape[-1]))
