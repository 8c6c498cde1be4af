"""What a law takes: its variables by call name, what values they may have, and where the law was fitted."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moewright.architecture.spec import Countable
from moewright.complaints import check_names
from moewright.errors import UserError
from moewright.quantities import parse_count

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Values = float | Array


@dataclass(frozen=True)
class Variable:
    """One argument of a law, with the law's own meaning of it.

    `low` and `high` bound the runs that the law was fitted on, None where the source does not say. `at_least`,
    `above` and `below` bound the values for which the formula means anything at all.
    """

    name: str
    meaning: str
    low: float | None = None
    high: float | None = None
    unit: str = ""
    derive: Callable[[Countable[Any]], Any] | None = None
    """Computes the variable from an architecture, or a column of it from one of columns; None for what a model and its
    training tokens do not give."""
    per_token: bool = False
    """`derive` gives the value for one training token, to be multiplied by their number."""
    above: float = 0.0
    at_least: float | None = None
    below: float | None = None

    def of(self, architecture: Countable[Any], train_tokens: Values | None) -> Any:
        """The value for a model (a column for an architecture of columns); None where that needs what was not given."""
        if self.derive is None or (self.per_token and train_tokens is None):
            return None
        value = self.derive(architecture)
        return value * train_tokens if self.per_token and train_tokens is not None else value

    def check(self, values: Any, owner: str) -> Array:
        """The values as float64, or a UserError that names the variable."""
        try:
            array = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError):
            raise UserError(f"{owner}: {self.name} must be a number or an array of numbers") from None
        if not np.all(np.isfinite(array)):
            raise UserError(f"{owner}: {self.name} has a value that is not a finite number")
        wrong, rule = self.outside(array)
        if np.any(wrong):
            raise UserError(f"{owner}: {self.name} must be {rule}, got {array[wrong].flat[0]:g}")
        return array

    def outside(self, values: Array) -> tuple[Mask, str]:
        """Which values the formula means nothing for, and what they must be, in words."""
        if self.at_least is not None:
            wrong, rule = values < self.at_least, f"at least {self.at_least:g}"
        else:
            wrong, rule = values <= self.above, f"above {self.above:g}"
        if self.below is not None:
            wrong, rule = wrong | (values >= self.below), f"{rule} and below {self.below:g}"
        return np.asarray(wrong), rule


TRAIN_TOKENS = Variable("train_tokens", "D, training tokens", unit="tokens", derive=lambda _: 1.0, per_token=True)
TRAIN_FLOPS = Variable("train_flops", "C, FLOPs of training", unit="FLOPs")


def parse_value(text: str, where: str) -> float:
    """A variable's value as people write it: 2T, 0.25, and 0, which is no count. UserError for anything else.

    >>> parse_value("2T", "at"), parse_value("0.0", "at")
    (2000000000000.0, 0.0)
    """
    return 0.0 if text.strip() in ("0", "0.0") else parse_count(text, where)


@dataclass(frozen=True)
class Status:
    """Where values of one variable lie against the range that a law was fitted on; arrays for arrays of values.

    `status` is inside, below, above, or unstated where the source gives no range. `factor` is 1 inside, otherwise
    value / high above and low / value below, so always how many times too far out.
    """

    variable: str
    status: Any
    factor: Any
    low: float | None
    high: float | None


def status_of(variable: Variable, values: Array) -> Status:
    """Compare checked values with the fitted range of their variable."""
    low = -np.inf if variable.low is None else variable.low
    high = np.inf if variable.high is None else variable.high
    # A value that differs from the bound by rounding only is inside.
    is_below, is_above = values < low * (1 - 1e-9), values > high * (1 + 1e-9)
    with np.errstate(divide="ignore", invalid="ignore"):
        # A count of none has no ratio to the bound; one more of each has.
        below = np.where(values > 0, low / values, low + 1)
        factor = np.where(is_below, below, np.where(is_above, values / high, 1.0))
    inside = "unstated" if variable.low is None and variable.high is None else "inside"
    status = np.where(is_below, "below", np.where(is_above, "above", inside))
    if values.ndim == 0:
        return Status(variable.name, str(status), float(factor), variable.low, variable.high)
    return Status(variable.name, status, factor, variable.low, variable.high)


def check_values(variables: Iterable[Variable], given: Mapping[str, Any], owner: str) -> dict[str, Array]:
    """Every variable's values as float64 arrays that broadcast together; UserError names what does not."""
    variables = tuple(variables)
    check_names(given, [variable.name for variable in variables], owner, "variable")
    checked = {variable.name: variable.check(given[variable.name], owner) for variable in variables}
    try:
        np.broadcast_shapes(*(values.shape for values in checked.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {values.shape}" for name, values in checked.items())
        raise UserError(f"{owner}: the arrays have shapes that do not go together: {shapes}") from None
    return checked
