"""The status of a fit in one word, and the sentences behind it."""

import numpy as np

from moewright.laws.fitting.identifiability import degenerate
from moewright.laws.fitting.problem import Problem
from moewright.laws.fitting.rows import Mask, Rows
from moewright.laws.variable import Array


def judge(
    problem: Problem, u: Array, rows: Rows, weights: Array, converged: bool, failed: int, replicates: int
) -> tuple[str, tuple[str, ...]]:
    """The status code and the sentences behind it, worst first."""
    status, messages = "converged", []
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
