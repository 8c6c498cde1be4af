"""A form, its data and its free coefficients as one least-cost problem over many candidate laws at once.

Shapes: S candidates, R rows, P coefficients (nonlinear first, then linear). A coefficient that is searched in its
logarithm enters the vectors `u` as that logarithm; `coefficients` undoes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from moewright.laws.fitting.objective import Objective
from moewright.laws.fitting.rows import Mask
from moewright.laws.form import Form
from moewright.laws.variable import Array

# Step of central differences in u: truncation (20 h)^2/6, for exponents of numbers near e^20, meets rounding eps/h.
_STEP = 3e-6
# Ridge on column-scaled Gram matrices: it moves a coefficient only along directions that the rows leave open.
_RIDGE = 1e-13


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
        return np.asarray(self.form.loss(self._named(u), self.columns))

    def residual(self, u: Array) -> Array:
        """Residuals (S, R) of candidates (S, P)."""
        return self.objective.residual(self.predict(u), self.loss)

    def linearise(self, u: Array) -> tuple[Array, Array]:
        """Residuals (S, R) and their derivatives by u (S, P, R); zero for coefficients that are not free."""
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
        for j in range(n_nonlinear):
            if self.free[j]:
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
        named = self._named(u)
        basis = np.stack(self._basis(named, len(u)), axis=1)
        aim = self.loss * np.exp(np.clip(target, -5, 5)) if self.objective.on_log else self.loss + target
        with np.errstate(invalid="ignore", divide="ignore"):
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
