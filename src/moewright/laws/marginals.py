"""What each variable does to the loss while the others stay: a law's marginal curves."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from moewright.errors import UserError
from moewright.laws.law import Law
from moewright.laws.variable import Array

# Variables that span more than this are stepped through evenly in the logarithm.
_LOG_RATIO = 8.0


@dataclass(frozen=True)
class MarginalCurve:
    """A law's loss along one variable: values and losses (V,), and whether the steps are even in the logarithm."""

    variable: str
    values: Array
    loss: Array
    log_steps: bool


def marginal_curves(
    law: Law, at: Mapping[str, float], ranges: Mapping[str, tuple[float, float]] | None = None, points: int = 80
) -> dict[str, MarginalCurve]:
    """The curve of every variable, the others as in `at`, over `ranges` or else the law's own fitted range.

    Variables without either range, or with a range of one value, are left out.
    """
    curves = {}
    for variable in law.inputs:
        low, high = (ranges or {}).get(variable.name, (variable.low, variable.high))
        if low is None or high is None or low == high:
            continue
        if not low < high:
            raise UserError(f"{law.name}: the range of {variable.name} is empty: {low:g} to {high:g}")
        log_steps = spans_widely(low, high)
        values = (np.geomspace if log_steps else np.linspace)(low, high, points)
        loss = np.asarray(law.loss(**{**at, variable.name: values}), dtype=np.float64)
        curves[variable.name] = MarginalCurve(variable.name, values, loss, log_steps)
    return curves


def spans_widely(low: float, high: float) -> bool:
    """Whether a logarithmic axis serves a range better."""
    return low > 0 and high / low > _LOG_RATIO
