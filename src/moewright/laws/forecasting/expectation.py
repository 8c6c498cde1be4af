"""What fits to simulated runs say about each coefficient, optimum and prediction, and which runs a prediction hangs on.

The second is by the law's slopes at its assumed truth (the covariance of least squares), without a new simulation: good
for ranking groups of runs, where the intervals of the first are for believing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from moewright.laws.fitting.problem import Problem, objective_named
from moewright.laws.fitting.reach import Reach, extrapolate, why_beyond
from moewright.laws.fitting.uncertainty import DEGENERATE, LEVEL, PINNED_HALF_WIDTH, interval_of
from moewright.laws.forecasting.simulation import SimulatedFits, optimum_arguments
from moewright.laws.law import LossForm, Optimum
from moewright.laws.rate_optimum import student_quantile
from moewright.laws.variable import Array
from moewright.records import Echo, Record

if TYPE_CHECKING:
    import pandas as pd

PINNED, LOOSE, NOT_IDENTIFIED = "pinned", "loose", "not identified"

# A coefficient or optimum is pinned where its interval spans less than a fifth of it, loose up to the width at which
# `fit` stops to call a coefficient pinned (half the interval half of the value).
_LIMITS = (0.2, 2 * PINNED_HALF_WIDTH)
# Standard deviations of one run's noise that its interval is wide.
_ONE_RUN = 2 * student_quantile((1 + LEVEL) / 2, None)
# With more fits than this on a bound or without a value, an end of the 90 % interval is not the runs' doing.
_MOST_UNUSABLE = 0.05

RULE = (
    f"pinned: the 90 % interval, stretched to hold the truth, spans at most {_LIMITS[0]:.0%} of the value (of a loss: "
    f"what the noise of one run spans); loose: at most {_LIMITS[1] / _LIMITS[0]:.0f} times that; not identified: more, "
    f"or on a bound, undetermined or without a value in over {_MOST_UNUSABLE:.0%} of the fits"
)
MOST_VALUES = 12
"""An axis with more values than this is not an axis of a plan but a consequence of others."""
# Slopes that the kept runs reproduce worse than this share cannot be predicted from them at all.
_UNREACHED = 1e-6


class QuantityForecast(Record):
    """One quantity as fits to the planned runs would find it."""

    kind: str
    """coefficient, optimum or prediction."""
    name: str
    at: Mapping[str, float] = Field(default_factory=dict)
    """The target, or the arguments of the optimum."""
    truth: float | None = None
    median: float | None = None
    low: float | None = None
    high: float | None = None
    """Ends of the 90 % interval over fits."""
    relative_width: float | None = None
    """Width of the interval, stretched to hold the truth, over the truth."""
    on_bound: float = 0.0
    """Share of the fits with the coefficient on a bound."""
    undetermined: float = 0.0
    """Share of the fits whose runs leave the quantity open."""
    missing: float = 0.0
    """Share of the fits in which it has no value."""
    verdict: str = NOT_IDENTIFIED
    new_run: float | None = None
    """Of a prediction: half the 90 % interval of one new run's log loss as a fit to these runs would print it, with
    noise and the form's own error by their holdouts (`reach`)."""
    withheld: str | None = None
    """Why a fit to these runs would print no such interval, and which runs would support one."""


def expect(
    law: LossForm,
    problem: Problem,
    truth: Array,
    u: Array,
    found: SimulatedFits,
    targets: Sequence[Mapping[str, float]],
    noise: float,
) -> tuple[QuantityForecast, ...]:
    """Every free coefficient, every optimum that the law has, and the loss at each target.

    `truth` (P,) are the coefficients assumed, `u` the same in the solver's units.
    """
    rows = []
    for i, name in enumerate(problem.names):
        if problem.free[i]:
            row = QuantityForecast(
                kind="coefficient", name=name, on_bound=found.on_bound[i], undetermined=found.undetermined[i]
            )
            rows.append(_with_spread(row, truth[i], found.draws[:, i], _LIMITS))
    one_run = _ONE_RUN * noise
    losses = (one_run, one_run * _LIMITS[1] / _LIMITS[0])
    named, draws = dict(zip(problem.names, truth, strict=True)), dict(zip(problem.names, found.draws.T, strict=True))
    for name, at, answer in _optima(law, named, targets):
        shares = [found.undetermined[i] for i, key in enumerate(problem.names) if _moves(answer, named, key)]
        row = QuantityForecast(kind="optimum", name=name, at=at, undetermined=max(shares, default=0.0))
        values = np.broadcast_to(answer(draws), found.draws.shape[:1])
        rows.append(_with_spread(row, float(answer(named)), values, losses if name == "loss" else _LIMITS))
    for target in targets:
        at = {name: target[name] for name in problem.columns}
        undetermined = float(standard_error(problem, u, target) is None)
        row = QuantityForecast(kind="prediction", name="loss", at=at, undetermined=undetermined)
        with np.errstate(all="ignore"):
            values = np.broadcast_to(problem.form.loss(draws, at), found.draws.shape[:1])
        row = _with_spread(row, float(problem.form.loss(named, at)), values, losses)
        rows.append(_with_new_run(row, found.reaches, noise))
    return tuple(rows)


def _with_new_run(row: QuantityForecast, reaches: Sequence[Sequence[Reach]], noise: float) -> QuantityForecast:
    """A prediction with what a fit's interval of one new run adds: noise, and what the form may err beyond the runs."""
    if row.low is None or row.high is None or row.low <= 0 or row.verdict == NOT_IDENTIFIED or not reaches:
        return row
    at = {name: np.array([value]) for name, value in row.at.items()}
    # Ranges and cuts are those of the planned runs, alike in all simulated tables.
    withheld = why_beyond(reaches[0], at, 0)
    if withheld is not None:
        return row.model_copy(update={"withheld": withheld})
    form_error = float(np.median([extrapolate(each, at).half_width(LEVEL)[0] for each in reaches]))
    coefficients = np.log(row.high / row.low) / 2
    return row.model_copy(update={"new_run": float(np.hypot(np.hypot(coefficients, _ONE_RUN * noise / 2), form_error))})


def _optima(
    law: LossForm, truth: Mapping[str, Any], targets: Sequence[Mapping[str, float]]
) -> Iterator[tuple[str, Mapping[str, float], Callable[[Mapping[str, Any]], Array]]]:
    """Name, arguments and function of the coefficients of every answer, at each target that gives the arguments."""
    rule = law.optimum_rule
    if rule is None:
        return
    required = {variable.name for variable in rule.arguments}
    asked: list[tuple[str, Mapping[str, float]]] = []
    for target in targets:
        everything = optimum_arguments(law, target)
        if not required <= set(everything):
            continue
        # Optional arguments are given only for what has no answer without them: elsewhere they narrow the question.
        needed = {name: everything[name] for name in everything if name in required}
        free = list(_solve(rule, needed, truth))
        asked += [(name, needed) for name in free if (name, needed) not in asked]
        asked += [(name, everything) for name in _solve(rule, everything, truth) if name not in free]
    yield from ((name, at, partial(_answer, rule, at, name)) for name, at in asked)


def _answer(rule: Optimum, at: Mapping[str, float], name: str, coefficients: Mapping[str, Any]) -> Array:
    return _solve(rule, at, coefficients)[name]


def _solve(rule: Optimum, at: Mapping[str, float], coefficients: Mapping[str, Any]) -> dict[str, Array]:
    with np.errstate(all="ignore"):
        solved = rule.solve(coefficients, **{name: np.float64(value) for name, value in at.items()})
    return {name: np.asarray(value) for name, value in solved.items()}


def _moves(answer: Any, coefficients: Mapping[str, float], name: str) -> bool:
    """Whether an answer depends on a coefficient, tried by a step of 1 %."""
    value = coefficients[name]
    moved = answer({**coefficients, name: value * 1.01 if value else 0.01})
    # Numerical optima repeat to about 1e-9.
    return not np.isclose(moved, answer(coefficients), rtol=1e-7, atol=0, equal_nan=True)


def _with_spread(row: QuantityForecast, truth: float, values: Array, limits: tuple[float, float]) -> QuantityForecast:
    """The row with interval and verdict from the fits' values (B,)."""
    usable = values[np.isfinite(values)]
    missing = 1 - len(usable) / len(values) if len(values) else 1.0
    known: dict[str, Any] = {"truth": float(truth) if np.isfinite(truth) else None, "missing": missing}
    if not len(usable):
        return row.model_copy(update=known)
    low, high = interval_of(usable).tolist()
    median = float(np.median(usable))
    known |= {"low": low, "median": median, "high": high}
    if not np.isfinite(truth):
        return row.model_copy(update=known)
    width = (max(high, truth) - min(low, truth)) / abs(truth) if truth else np.inf
    known["relative_width"] = float(width) if np.isfinite(width) else None
    if max(row.on_bound, row.undetermined, missing) <= _MOST_UNUSABLE:
        known["verdict"] = PINNED if width <= limits[0] else LOOSE if width <= limits[1] else NOT_IDENTIFIED
    return row.model_copy(update=known)


# Which runs a prediction hangs on


class RunGroup(Record):
    """The planned runs at one value of one axis, and what leaving them out would do."""

    axis: str
    value: Echo
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
) -> tuple[RunGroup, ...]:
    """Groups by the widening that each would cause per run left out, largest first; `u` (P,) is the assumed truth."""
    jacobian, slope = _slopes(problem, u, target)
    everything = _standard_error(jacobian, slope)
    groups = []
    for axis in axes:
        for value, places in table.groupby(axis, sort=True).indices.items():
            kept = np.ones(len(table), dtype=bool)
            kept[places] = False
            error = _standard_error(jacobian[:, kept], slope)
            widening = None if error is None or everything is None else error / everything
            plain = value.item() if isinstance(value, np.generic) else value
            groups.append(RunGroup(axis=str(axis), value=plain, runs=len(places), widening=widening))
    return tuple(sorted(groups, key=lambda group: -group.widening_per_run))


def standard_error(problem: Problem, u: Array, target: Mapping[str, float]) -> float | None:
    """Of the log loss predicted at a target, per unit of noise in log loss; None where the runs leave it open."""
    return _standard_error(*_slopes(problem, u, target))


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


def _standard_error(jacobian: Array, slope: Array) -> float | None:
    """Standard error of slope . u per unit of noise, from runs' slopes (P, R); None where they leave it open."""
    if not jacobian.shape[1]:
        return None
    # The least-norm z with jacobian z = slope has |z|^2 = slope' (jacobian jacobian')^-1 slope.
    z = np.linalg.lstsq(jacobian, slope, rcond=DEGENERATE)[0]
    if np.linalg.norm(jacobian @ z - slope) > _UNREACHED * np.linalg.norm(slope):
        return None
    return float(np.linalg.norm(z))
