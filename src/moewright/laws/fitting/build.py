"""From a form, rows and what the user fixed or bounded to the problem that the solver works on."""

from collections.abc import Mapping

import numpy as np

from moewright.complaints import check_names
from moewright.errors import UserError
from moewright.laws.fitting.objective import Objective
from moewright.laws.fitting.problem import Problem
from moewright.laws.fitting.rows import Rows
from moewright.laws.form import Coefficient, Form

# What stands for zero where a coefficient is searched in its logarithm.
_LOG_FLOOR = 1e-10


class TooFewRuns(UserError):  # noqa: N818  (a verdict on a table, and for a forecast no error at all)
    """The table has fewer configurations than the form has free coefficients."""

    def __init__(self, message: str, free: tuple[str, ...]) -> None:
        super().__init__(message)
        self.free = free


def build_problem(
    form: Form,
    rows: Rows,
    objective: Objective,
    fixed: Mapping[str, float],
    bounds: Mapping[str, tuple[float, float]],
) -> Problem:
    """The problem of a fit; UserError for unknown coefficients and empty bounds, TooFewRuns for too few rows."""
    names = [coefficient.name for coefficient in form.coefficients]
    for name in (*fixed, *bounds):
        if name not in names:
            check_names([name], names, form.name, "coefficient")
    limits = np.array([_limits(coefficient, fixed, bounds) for coefficient in form.coefficients])
    if form.asymptote in {coefficient.name for coefficient in form.nonlinear} and form.asymptote not in fixed:
        # The logarithm of the loss above its asymptote exists only below the lowest loss.
        place = names.index(form.asymptote)
        limits[place, 1] = min(limits[place, 1], 0.999 * rows.loss.min())
    free = np.array([name not in fixed for name in names])
    if not free.any():
        raise UserError(f"{form.name}: every coefficient is fixed, nothing is left to fit")
    if rows.num_clusters < free.sum():
        what = "rows" if rows.num_clusters == len(rows) else f"different configurations ({len(rows)} rows)"
        raise TooFewRuns(
            f"{rows.num_clusters} {what} cannot determine the {free.sum()} free coefficients of {form.name}; add runs, "
            "fix coefficients, or fit a smaller form",
            tuple(name for name, is_free in zip(names, free, strict=True) if is_free),
        )
    return Problem(form, rows.columns, rows.loss, objective, limits[:, 0], limits[:, 1], free)


def _limits(
    coefficient: Coefficient, fixed: Mapping[str, float], bounds: Mapping[str, tuple[float, float]]
) -> tuple[float, float]:
    """Bounds in the solver's units; a fixed coefficient has both at its value."""
    name = coefficient.name
    if name in fixed:
        low = high = float(fixed[name])
    else:
        low, high = (float(bound) for bound in bounds.get(name, (coefficient.lower, coefficient.upper)))
    if not low <= high:
        raise UserError(f"the bounds of {name} are empty: {low:g} to {high:g}")
    if not coefficient.log_search:
        return low, high
    if high < 0:
        raise UserError(f"{name} cannot be negative, got {high:g}")
    return float(np.log(max(low, _LOG_FLOOR))), float(np.log(max(high, _LOG_FLOOR)))
