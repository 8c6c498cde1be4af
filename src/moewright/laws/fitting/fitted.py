"""A law fitted to runs: everything that a published law does, and how sure it is."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moewright.errors import UserError
from moewright.laws.fitting.identifiability import Identified
from moewright.laws.fitting.rows import as_frame, read_columns
from moewright.laws.law import InapplicableLaw, Law
from moewright.laws.variable import Array


class Interval(NamedTuple):
    """Ends of an interval, numbers or arrays of the same shape."""

    low: Any
    high: Any


@dataclass(frozen=True, eq=False)
class FitRecord:
    """What was fitted to what, how, and how it went; arrays have one row per replicate (B) or per run (R)."""

    law: str
    """The published law, or form, that was fitted."""
    settings: Mapping[str, Any]
    status: str
    """converged; bound_hit: a coefficient sits on a bound; not_converged: the solver stopped early;
    underdetermined: the rows cannot tell coefficients apart, and the law must not be trusted outside them."""
    messages: tuple[str, ...]
    data_sha256: str
    num_rows: int
    num_clusters: int
    num_free: int
    objective: float
    rmse: float
    """Nats, over the fitted rows."""
    rmse_log: float
    draws: Array
    """Coefficients of the converged replicates, (B, P), in the form's order."""
    failed: int
    """Replicates that did not converge and are left out of `draws`."""
    residuals: Array
    """log(predicted) - log(loss) of the fitted rows, (R,)."""
    weights: Array
    """Of the fitted rows, (R,)."""
    identified: tuple[Identified, ...]
    holdout: Mapping[str, float] | None = None
    """RMSE, its logarithmic twin, bias, and coverage of 90 % intervals on rows kept from the fit."""
    tuned: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class FittedLaw(Law):
    """A law whose coefficients come from a table of runs; see `FitRecord` for what is known about them."""

    record: FitRecord = field(default=None)  # type: ignore[assignment]  # dataclass order; always given

    @property
    def status(self) -> str:
        """converged, bound_hit, not_converged or underdetermined; the record's messages say why."""
        return self.record.status

    def predict(self, table: Any) -> Array:
        """Losses (R,) for the rows of a table with the law's variables as columns."""
        assert self.form is not None
        columns = read_columns(as_frame(table), self._inputs(), {})
        return np.asarray(self.form.loss(self.coefficients, columns), dtype=np.float64)

    def interval(self, table: Any, level: float = 0.9, noise: bool = True) -> Interval:
        """Interval of the loss for each row of a table, (R,) each.

        With `noise`, of one new run: the spread of the coefficients' draws and of the residuals, which are drawn as
        often as their rows weigh and with either sign, for nothing says on which side a law misses where it was not
        fitted. Without, of the law alone. The same call gives the same interval.
        """
        assert self.form is not None
        columns = {name: values[None] for name, values in read_columns(as_frame(table), self._inputs(), {}).items()}
        losses = np.asarray(self.form.loss(self._draw_columns(2), columns))
        if noise:
            record = self.record
            freedom = max(record.num_rows - record.num_free, 1)
            random = np.random.default_rng(0)
            sign = random.choice([-1.0, 1.0], size=losses.shape)
            drawn = sign * random.choice(record.residuals, size=losses.shape, p=record.weights / record.weights.sum())
            # A fit's residuals are smaller than the noise by the freedom that it used up.
            losses = losses * np.exp(drawn * np.sqrt(record.num_rows / freedom))
        return _interval(losses, level)

    def loss_interval(self, level: float = 0.9, **variables: Any) -> Interval:
        """Interval of the law's loss at numbers or arrays, by the spread of its coefficients alone."""
        assert self.form is not None
        from moewright.laws.variable import check_values

        checked = check_values(self._inputs(), variables, self.name)
        columns = {name: values[None] for name, values in checked.items()}
        dimensions = max(values.ndim for values in columns.values())
        return _interval(np.asarray(self.form.loss(self._draw_columns(dimensions), columns)), level)

    def optimum_interval(self, level: float = 0.9, **arguments: Any) -> dict[str, Interval]:
        """Interval of each answer of `optimum`, by solving for it under every draw."""
        rule = self._optimum_rule()
        checked = self._optimum_arguments(arguments)
        dimensions = 1 + max((values.ndim for values in checked.values()), default=0)
        with np.errstate(all="ignore"):
            solved = rule.solve(
                self._draw_columns(dimensions), **{name: values[None] for name, values in checked.items()}
            )
        return {name: _interval(np.asarray(values), level) for name, values in solved.items()}

    def coefficient_intervals(self, level: float = 0.9) -> dict[str, Interval]:
        """Interval of each coefficient."""
        return {name: _interval(values, level) for name, values in self._draw_columns(1).items()}

    def save(self, path: str | Path) -> None:
        """Write one JSON file that `laws.load` reads back bit for bit."""
        from moewright.laws.fitting.storage import save

        save(self, Path(path))

    def _draw_columns(self, dimensions: int) -> dict[str, Array]:
        """Draws by coefficient, shaped (B, 1, ...) with `dimensions` axes."""
        assert self.form is not None
        draws = self.record.draws
        if not len(draws):
            raise InapplicableLaw(f"{self.name} has no bootstrap draws and so no intervals: fit with n_bootstrap > 0")
        shape = (len(draws),) + (1,) * (dimensions - 1)
        return {c.name: draws[:, i].reshape(shape) for i, c in enumerate(self.form.coefficients)}


def _interval(values: Array, level: float) -> Interval:
    if not 0 < level < 1:
        raise UserError(f"the level of an interval is between 0 and 1, got {level}")
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        # An optimum that no draw has is NaN, as the caller sees.
        warnings.filterwarnings("ignore", "All-NaN slice")
        low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
    if low.ndim == 0:
        return Interval(float(low), float(high))
    return Interval(low, high)
