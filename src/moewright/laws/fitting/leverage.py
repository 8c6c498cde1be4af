"""Which planned runs a prediction hangs on: how much wider it gets without those at one value of one axis.

By the law's slopes at its assumed truth (the covariance of least squares), without a new simulation: good for ranking
groups of runs, where the forecast's own intervals are for believing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from moewright.laws.fitting.identifiability import DEGENERATE
from moewright.laws.fitting.objective import objective_named
from moewright.laws.fitting.problem import Problem
from moewright.laws.variable import Array

if TYPE_CHECKING:
    import pandas as pd

MOST_VALUES = 12
"""An axis with more values than this is not an axis of a plan but a consequence of others."""
# Slopes that the kept runs reproduce worse than this share cannot be predicted from them at all.
_UNREACHED = 1e-6


@dataclass(frozen=True)
class Group:
    """The planned runs at one value of one axis, and what leaving them out would do."""

    axis: str
    value: object
    runs: int
    widening: float | None
    """Standard error of the prediction at the first target without these runs over that with all of them; None where
    the other runs do not determine the prediction."""

    @property
    def widening_per_run(self) -> float:
        """How much wider for each run left out; infinite without a widening."""
        return np.inf if self.widening is None else (self.widening - 1) / self.runs


def leverage(
    problem: Problem, u: Array, target: Mapping[str, float], table: "pd.DataFrame", axes: Sequence[str]
) -> tuple[Group, ...]:
    """Groups by the widening that each would cause per run left out, largest first; `u` (P,) is the assumed truth."""
    jacobian, slope = _slopes(problem, u, target)
    everything = _error(jacobian, slope)
    groups = []
    for axis in axes:
        for value, places in table.groupby(axis, sort=True).indices.items():
            kept = np.ones(len(table), dtype=bool)
            kept[places] = False
            error = _error(jacobian[:, kept], slope)
            widening = None if error is None or everything is None else error / everything
            plain = value.item() if isinstance(value, np.generic) else value
            groups.append(Group(axis, plain, len(places), widening))
    return tuple(sorted(groups, key=lambda group: -group.widening_per_run))


def standard_error(problem: Problem, u: Array, target: Mapping[str, float]) -> float | None:
    """Of the log loss predicted at a target, per unit of noise in log loss; None where the runs leave it open."""
    return _error(*_slopes(problem, u, target))


def axes_of(table: "pd.DataFrame", names: Sequence[str]) -> list[str]:
    """Those of the columns that take a few values: two to `MOST_VALUES`."""
    return [name for name in names if 2 <= table[name].nunique() <= MOST_VALUES]


def _slopes(problem: Problem, u: Array, target: Mapping[str, float]) -> tuple[Array, Array]:
    """Derivatives of log loss by the free coefficients, scaled alike, at the runs (P, R) and at the target (P,)."""
    relative = replace(problem, objective=objective_named("squares_log"))
    columns = {name: np.array([target[name]]) for name in problem.columns}
    at_target = replace(relative, columns=columns, loss=np.ones(1))
    jacobian = relative.linearise(u[None])[1][0][problem.free]
    slope = at_target.linearise(u[None])[1][0][problem.free][:, 0]
    size = np.linalg.norm(jacobian, axis=1)
    size = np.where(size > 0, size, 1.0)
    return jacobian / size[:, None], slope / size


def _error(jacobian: Array, slope: Array) -> float | None:
    """Standard error of slope . u per unit of noise, from runs' slopes (P, R); None where they leave it open."""
    if not jacobian.shape[1]:
        return None
    # The least-norm z with jacobian z = slope has |z|^2 = slope' (jacobian jacobian')^-1 slope.
    z = np.linalg.lstsq(jacobian, slope, rcond=DEGENERATE)[0]
    if np.linalg.norm(jacobian @ z - slope) > _UNREACHED * np.linalg.norm(slope):
        return None
    return float(np.linalg.norm(z))
