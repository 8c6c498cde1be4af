"""A form, its data, its free coefficients and what a fit minimises, as one least-cost problem over many candidates.

Shapes: S candidates, R rows, P coefficients (nonlinear first, then linear). A coefficient that is searched in its
logarithm enters the vectors `u` as that logarithm; `Problem.coefficients` undoes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from moewright.complaints import check_names, check_number
from moewright.errors import UserError
from moewright.laws.fitting.observations import Observations
from moewright.laws.form import Coefficient, Form
from moewright.laws.variable import Array, Mask, Values

# Step of central differences in u: truncation (20 h)^2/6, for exponents of numbers near e^20, meets rounding eps/h.
_STEP = 3e-6
# Ridge on column-scaled Gram matrices: it moves a coefficient only along directions that the rows leave open.
_RIDGE = 1e-13
# What stands for zero where a coefficient is searched in its logarithm.
_LOG_FLOOR = 1e-10
# Residuals of an exact law are rounding; a smaller delta would chase it.
_SMALLEST_DELTA = 1e-9


@dataclass(frozen=True)
class Objective:
    """The mean over rows of weight x rho(residual); residual = prediction - loss, or the same of their logarithms.

    rho is half the square where `delta` is None, Tukey's bisquare where it is `bounded`, else Huber's function;
    predictions that are too high cost `over` times as much. `delta` is in the residual's unit: relative for log losses,
    nats for plain ones.
    """

    name: str
    on_log: bool
    delta: float | None = None
    over: float = 1.0
    scaled_delta: float | None = None
    """delta in units of the residuals' own spread, set by `with_spread` once that is known."""
    bounded: bool = False
    """A residual beyond delta costs the same however large it is, and so pulls at nothing."""

    def with_spread(self, spread: float) -> "Objective":
        """With delta set by the standard deviation of the residuals, where it is relative to that."""
        if self.scaled_delta is None:
            return self
        return replace(self, delta=max(self.scaled_delta * spread, _SMALLEST_DELTA), scaled_delta=None)

    def residual(self, predicted: Array, loss: Array) -> Array:
        """Shape of the broadcast arrays; NaN where a log has no value."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            return np.log(predicted) - np.log(loss) if self.on_log else predicted - loss

    def cost(self, residual: Array) -> Array:
        """rho of each residual; not finite residuals cost infinitely much."""
        size = np.abs(residual)
        with np.errstate(over="ignore", invalid="ignore"):
            rho = 0.5 * size**2
            if self.delta is not None and self.bounded:
                rho = self.delta**2 / 6 * (1 - (1 - np.minimum(size / self.delta, 1) ** 2) ** 3)
                rho = np.where(np.isfinite(size), rho, np.inf)
            elif self.delta is not None:
                rho = np.where(size < self.delta, rho, self.delta * (size - 0.5 * self.delta))
            rho = self._side(residual) * rho
        return np.where(np.isfinite(rho), rho, np.inf)

    def slopes(self, residual: Array) -> tuple[Array, Array, Array]:
        """rho', rho'' (0 where it is negative) and rho'/residual, which weighs rows in reweighted least squares."""
        side = self._side(residual) * np.ones_like(residual)
        if self.delta is None:
            return side * residual, side, side
        size = np.abs(residual)
        inside = size < self.delta
        if self.bounded:
            near = 1 - np.minimum(size / self.delta, 1) ** 2
            return side * near**2 * residual, side * near * np.maximum(5 * near - 4, 0), side * near**2
        pull = np.where(inside, 1.0, self.delta / np.maximum(size, self.delta))
        return side * pull * residual, side * inside, side * pull

    def _side(self, residual: Array) -> Any:
        return np.where(residual > 0, self.over, 1.0) if self.over != 1.0 else 1.0


# robust_log, the default: Tukey's bisquare on log loss, which ends at 4.685 standard deviations of the residuals: all
# but 5 % as precise as squares under normal noise (Maronna, Martin, Yohai, Robust Statistics, chapter 2). The standard
# deviation is that of a fit which leaves out what does not belong to it (`trimming`), so outliers do not move it, and
# the whole is an MM-estimate (Yohai 1987). Under Huber's function every outlier still pulls.
# huber_log: on log loss with delta 1e-3, the objective of Hoffmann et al. 2022 (arXiv 2203.15556, equation 3) and of
# most papers after it. At a noise of .3 % that is nearly an absolute error, and its intervals are a quarter wider. The
# asymmetric one is that of the `chinchilla` package, absolute errors in which a loss predicted
# too high costs ten times one too low, with its corner rounded over 1e-6 nats.
OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective("robust_log", on_log=True, scaled_delta=4.685, bounded=True),
        Objective("huber_log", on_log=True, delta=1e-3),
        Objective("squares_log", on_log=True),
        Objective("squares", on_log=False),
        Objective("asymmetric", on_log=False, delta=1e-6, over=10.0),
    )
}


def objective_named(name: str, delta: float | None = None, over: float | None = None) -> Objective:
    """An objective by name, its delta or its weight of predictions too high replaced where given."""
    if name not in OBJECTIVES:
        check_names([name], OBJECTIVES, "fit", "objective")
    objective = OBJECTIVES[name]
    for setting, value in (("delta", delta), ("over", over)):
        if value is not None:
            check_number(value, setting, above=0)
    if delta is not None:
        objective = replace(objective, delta=delta, scaled_delta=None)
    return objective if over is None else replace(objective, over=over)


@dataclass(frozen=True)
class Problem:
    """Rows and what a fit may change; see the module's docstring for shapes."""

    form: Form
    columns: Mapping[str, Array]
    loss: Array
    objective: Objective
    lower: Array
    upper: Array
    """Bounds of u, (P,)."""
    free: Mask
    """Which coefficients a fit may change, (P,) of bool."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Coefficient names in the order of u."""
        return tuple(coefficient.name for coefficient in self.form.coefficients)

    @cached_property
    def is_log(self) -> Mask:
        """Which coefficients u holds as logarithms, (P,) of bool."""
        return np.array([coefficient.log_search for coefficient in self.form.coefficients])

    def coefficients(self, u: Array) -> Array:
        """Coefficient values of candidates in u, any leading shape."""
        with np.errstate(over="ignore"):
            return np.where(self.is_log, np.exp(u), u)

    def predict(self, u: Array) -> Array:
        """Losses (S, R) of candidates (S, P)."""
        with np.errstate(all="ignore"):  # hopeless candidates overflow; their cost is infinite
            return np.asarray(self.form.loss(self._named(u), self.columns))

    def residual(self, u: Array) -> Array:
        """Residuals (S, R) of candidates (S, P)."""
        return self.objective.residual(self.predict(u), self.loss)

    def linearise(self, u: Array) -> tuple[Array, Array]:
        """Residuals (S, R) and their derivatives by u (S, P, R); zero for coefficients that are not free."""
        with np.errstate(all="ignore"):
            return self._linearise(u)

    def _linearise(self, u: Array) -> tuple[Array, Array]:
        named = self._named(u)
        basis = self._basis(named, len(u))
        n_nonlinear = len(self.form.nonlinear)
        total = sum(u[:, n_nonlinear + i, None] * column for i, column in enumerate(basis))
        predicted = self.form.link.loss(total, named)
        slope = self.form.link.slope(predicted, named)
        jacobian = np.zeros((*u.shape, len(self.loss)))
        for i, column in enumerate(basis):
            if self.free[n_nonlinear + i]:
                jacobian[:, n_nonlinear + i] = slope * column
        for j, derivatives in self._slopes(named).items():
            along = sum(u[:, n_nonlinear + i, None] * each for i, each in enumerate(derivatives))
            jacobian[:, j] = slope * along * (named[self.names[j]] if self.is_log[j] else 1.0)
        for j in range(n_nonlinear):
            if self.free[j] and self.form.slopes is None:
                step = np.zeros(u.shape[1])
                step[j] = _STEP
                jacobian[:, j] = (self.predict(u + step) - self.predict(u - step)) / (2 * _STEP)
        if self.objective.on_log:
            jacobian /= predicted[:, None, :]
        return self.objective.residual(predicted, self.loss), jacobian

    def with_best_linear(self, u: Array, weights: Array, target: Array, moves: Mask | None = None) -> Array:
        """Candidates with the linear coefficients inside their bounds that come closest to residuals `target` (S, R).

        A target of zeros is the projection of variable projection (Golub and Pereyra 1973): least squares on the
        losses. Weights are (S, R); distances are taken to first order around the target; `moves` (S, P) says which
        coefficients of which candidate may change.
        """
        with np.errstate(all="ignore"):
            return self._with_best_linear(u, weights, target, moves)

    def _with_best_linear(self, u: Array, weights: Array, target: Array, moves: Mask | None) -> Array:
        named = self._named(u)
        basis = np.stack(self._basis(named, len(u)), axis=1)
        aim = self.loss * np.exp(np.clip(target, -5, 5)) if self.objective.on_log else self.loss + target
        total = np.broadcast_to(self.form.link.sum(aim, named), (len(u), len(self.loss)))
        scale = self.form.link.slope(aim, named) / (aim if self.objective.on_log else 1.0)
        weights = weights * scale**2
        n_nonlinear = len(self.form.nonlinear)
        lower, upper = self.lower[n_nonlinear:], self.upper[n_nonlinear:]
        values = u[:, n_nonlinear:].copy()
        free = np.broadcast_to(self.free if moves is None else moves, u.shape)[:, n_nonlinear:].copy()
        weighted = basis * weights[:, None, :]
        gram = weighted @ basis.swapaxes(1, 2)
        pull = (weighted @ total[:, :, None])[:, :, 0]
        for _ in range(1 + values.shape[1]):
            solved = _solve_free(gram, pull, values, free)
            outside = free & ((solved < lower) | (solved > upper))
            values = np.clip(solved, lower, upper)
            if not outside.any():
                break
            free &= ~outside
        projected = u.copy()
        usable = np.isfinite(values).all(axis=1)
        projected[usable, n_nonlinear:] = values[usable]
        return projected

    def _basis(self, named: Mapping[str, Array], candidates: int) -> list[Array]:
        """The basis columns, (S, R) each even where a form's basis has no nonlinear coefficient."""
        shape = (candidates, len(self.loss))
        return [np.broadcast_to(column, shape) for column in self.form.basis(named, self.columns)]

    def _slopes(self, named: Mapping[str, Array]) -> dict[int, tuple[Values, ...]]:
        """The derivatives of the basis by each free nonlinear coefficient, by its place, where the form has them."""
        found = {} if self.form.slopes is None else self.form.slopes(named, self.columns)
        return {j: found[name] for j, name in enumerate(self.names) if name in found and self.free[j]}

    def _named(self, u: Array) -> dict[str, Array]:
        values = self.coefficients(u)
        return {name: values[:, i, None] for i, name in enumerate(self.names)}


def _solve_free(gram: Array, pull: Array, values: Array, free: Mask) -> Array:
    """Least-squares values of the free coefficients with the others held; (S, p) each."""
    held = np.where(free, 0.0, values)
    rest = np.where(free, pull - (gram @ held[:, :, None])[:, :, 0], 0.0)
    size = np.sqrt(np.maximum(np.diagonal(gram, axis1=1, axis2=2), 1e-300))
    system = gram / (size[:, :, None] * size[:, None, :])
    system = np.where(free[:, :, None] & free[:, None, :], system, 0.0)
    system += np.where(free, _RIDGE, 1.0)[:, :, None] * np.eye(gram.shape[1])
    try:
        scaled = np.linalg.solve(system, (rest / size)[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        return values
    return np.where(free, scaled / size, values)


def to_search_units(form: Form, values: Array) -> Array:
    """Values of a form's coefficients (..., P) as `u` has them; below 1e-10 is that where u is a logarithm."""
    is_log = np.array([coefficient.log_search for coefficient in form.coefficients])
    return np.where(is_log, np.log(np.maximum(values, _LOG_FLOOR)), values)


class TooFewRuns(UserError):  # noqa: N818  (a verdict on a table, and for a forecast no error at all)
    """The table has fewer configurations than the form has free coefficients."""

    def __init__(self, message: str, free: tuple[str, ...]) -> None:
        super().__init__(message)
        self.free = free


def build_problem(
    form: Form,
    rows: Observations,
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
