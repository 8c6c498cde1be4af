"""What fits to simulated runs say about each coefficient, optimum and prediction, and the verdict on it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from moewright.laws.fitting.identifiability import PINNED as HALF_WIDTH_OF_FITS
from moewright.laws.fitting.leverage import standard_error
from moewright.laws.fitting.problem import Problem
from moewright.laws.fitting.simulation import Simulated
from moewright.laws.fitting.targets import optimum_arguments
from moewright.laws.law import Law, Optimum
from moewright.laws.variable import Array

PINNED, LOOSE, NOT_IDENTIFIED = "pinned", "loose", "not identified"

_QUANTILES = (0.05, 0.95)
# A coefficient or optimum is pinned where its interval spans less than a fifth of it, loose up to the width at which
# `fit` stops to call a coefficient pinned (half the interval half of the value).
_LIMITS = (0.2, 2 * HALF_WIDTH_OF_FITS)
# 90 % of normal draws lie within 1.645 standard deviations: the interval of one run's noise is 3.29 of them wide.
_ONE_RUN = 2 * 1.645
# With more fits than this on a bound or without a value, an end of the 90 % interval is not the runs' doing.
_MOST_UNUSABLE = 0.05

RULE = (
    f"pinned: the 90 % interval, stretched to hold the truth, spans at most {_LIMITS[0]:.0%} of the value (of a loss: "
    f"what the noise of one run spans); loose: at most {_LIMITS[1] / _LIMITS[0]:.0f} times that; not identified: more, "
    f"or on a bound, undetermined or without a value in over {_MOST_UNUSABLE:.0%} of the fits"
)


@dataclass(frozen=True)
class Expected:
    """One quantity as fits to the planned runs would find it."""

    kind: str
    """coefficient, optimum or prediction."""
    name: str
    at: Mapping[str, float] = field(default_factory=dict)
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


def expect(
    law: Law,
    problem: Problem,
    truth: Array,
    u: Array,
    found: Simulated,
    targets: Sequence[Mapping[str, float]],
    noise: float,
) -> tuple[Expected, ...]:
    """Every free coefficient, every optimum that the law has, and the loss at each target.

    `truth` (P,) are the coefficients assumed, `u` the same in the solver's units.
    """
    rows = []
    for i, name in enumerate(problem.names):
        if problem.free[i]:
            row = Expected("coefficient", name, on_bound=found.on_bound[i], undetermined=found.undetermined[i])
            rows.append(_with_spread(row, truth[i], found.draws[:, i], _LIMITS))
    one_run = _ONE_RUN * noise
    losses = (one_run, one_run * _LIMITS[1] / _LIMITS[0])
    named, draws = dict(zip(problem.names, truth, strict=True)), dict(zip(problem.names, found.draws.T, strict=True))
    for name, at, answer in _optima(law, named, targets):
        shares = [found.undetermined[i] for i, key in enumerate(problem.names) if _moves(answer, named, key)]
        row = Expected("optimum", name, at, undetermined=max(shares, default=0.0))
        values = np.broadcast_to(answer(draws), found.draws.shape[:1])
        rows.append(_with_spread(row, float(answer(named)), values, losses if name == "loss" else _LIMITS))
    for target in targets:
        at = {name: target[name] for name in problem.columns}
        row = Expected("prediction", "loss", at, undetermined=float(standard_error(problem, u, target) is None))
        with np.errstate(all="ignore"):
            values = np.broadcast_to(problem.form.loss(draws, at), found.draws.shape[:1])
        rows.append(_with_spread(row, float(problem.form.loss(named, at)), values, losses))
    return tuple(rows)


def _optima(
    law: Law, truth: Mapping[str, Any], targets: Sequence[Mapping[str, float]]
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


def _with_spread(row: Expected, truth: float, values: Array, limits: tuple[float, float]) -> Expected:
    """The row with interval and verdict from the fits' values (B,)."""
    usable = values[np.isfinite(values)]
    missing = 1 - len(usable) / len(values) if len(values) else 1.0
    known = {**row.__dict__, "truth": truth if np.isfinite(truth) else None, "missing": missing}
    if not len(usable):
        return Expected(**known)
    low, median, high = np.quantile(usable, [_QUANTILES[0], 0.5, _QUANTILES[1]]).tolist()
    known |= {"low": low, "median": median, "high": high}
    if not np.isfinite(truth):
        return Expected(**known)
    width = (max(high, truth) - min(low, truth)) / abs(truth) if truth else np.inf
    known["relative_width"] = width if np.isfinite(width) else None
    if max(row.on_bound, row.undetermined, missing) <= _MOST_UNUSABLE:
        known["verdict"] = PINNED if width <= limits[0] else LOOSE if width <= limits[1] else NOT_IDENTIFIED
    return Expected(**known)
