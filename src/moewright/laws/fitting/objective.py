"""What a fit minimises, by name: how far a prediction is from a run, and what that costs."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from moewright.complaints import check_names
from moewright.errors import UserError
from moewright.laws.variable import Array


@dataclass(frozen=True)
class Objective:
    """The mean over rows of weight x rho(residual); residual = prediction - loss, or the same of their logarithms.

    rho is Huber's function, or half the square where `delta` is None; predictions that are too high cost `over` times
    as much. `delta` is in the residual's unit: relative for log losses, nats for plain ones.
    """

    name: str
    on_log: bool
    delta: float | None = None
    over: float = 1.0
    scaled_delta: float | None = None
    """delta in units of the residuals' own spread, found by `with_delta` once there are residuals."""

    def with_delta(self, residuals: Array) -> "Objective":
        """With delta set from the residuals (R,) of a first fit, where it is relative to their spread."""
        if self.scaled_delta is None:
            return self
        # The median absolute residual is 0.6745 standard deviations of normal noise.
        spread = float(np.median(np.abs(residuals))) / 0.6745
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
            if self.delta is not None:
                rho = np.where(size < self.delta, rho, self.delta * (size - 0.5 * self.delta))
            rho = self._side(residual) * rho
        return np.where(np.isfinite(rho), rho, np.inf)

    def slopes(self, residual: Array) -> tuple[Array, Array, Array]:
        """rho', rho'' and rho'/residual; the last one weighs rows in reweighted least squares."""
        side = self._side(residual) * np.ones_like(residual)
        if self.delta is None:
            return side * residual, side, side
        size = np.abs(residual)
        inside = size < self.delta
        pull = np.where(inside, 1.0, self.delta / np.maximum(size, self.delta))
        return side * pull * residual, side * inside, side * pull

    def _side(self, residual: Array) -> Any:
        return np.where(residual > 0, self.over, 1.0) if self.over != 1.0 else 1.0


# Residuals of an exact law are rounding; a smaller delta would chase it.
_SMALLEST_DELTA = 1e-9

# robust_log, the default: Huber on log loss with its corner at 1.345 standard deviations of the residuals, Huber's own
# choice (Robust Statistics, section 4.5): all but 5 % as precise as squares under normal noise, and safe from outliers.
# huber_log: on log loss with delta 1e-3, the objective of Hoffmann et al. 2022 (arXiv 2203.15556, equation 3) and of
# most papers after it. At a noise of .3 % that is nearly an absolute error, and its intervals are a quarter wider. The
# asymmetric one is that of the `chinchilla` package, absolute errors in which a loss predicted
# too high costs ten times one too low, with its corner rounded over 1e-6 nats.
OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective("robust_log", on_log=True, scaled_delta=1.345),
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
        if value is not None and not (np.isfinite(value) and value > 0):
            raise UserError(f"fit: {setting} must be above 0, got {value}")
    if delta is not None:
        objective = replace(objective, delta=delta, scaled_delta=None)
    return objective if over is None else replace(objective, over=over)
