"""How far a fit may be believed outside its rows: the form's own error there, by rolling holdouts of the largest rows.

Bootstrap draws and residuals tell of noise as if the form were right. That it is not shows only where it is asked about
larger runs than it was fitted to, so that is tried inside the table: the rows are cut at several sizes in every
direction (each variable, and training compute), the law is fitted below each cut, and the rows above it are predicted.
What the errors exceed noise and uncertain coefficients by is put down to the form, as an error with a standard
deviation that grows with the distance d from the fitted rows:

    log loss - log predicted ~ noise + coefficients + t d,   Var t = slope^2

d is counted in factors of e (of columns that are no sizes: in widths of the fitted range). The slope of a direction is
a posterior mode, from a prior that stands for other tables (`_PRIOR`) and from the mean squared error above each cut.
Directions other than compute add up as independent errors; compute, which they move, counts where it is more. At last
all slopes are raised together until the intervals would have held nine in ten rows above every cut, or are
`_MOST_RAISED` times as large.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field

from moewright.laws.fitting.observations import Clusters, Observations
from moewright.laws.fitting.problem import Problem, objective_named
from moewright.laws.fitting.uncertainty import LEVEL, find_bound, half_interval, refit
from moewright.laws.variable import Array, Mask, Variable
from moewright.quantities import format_count
from moewright.records import Count, Items, Record

COMPUTE = "training compute"
# The slope before anything is seen, relative loss per factor of e, and how many degrees of freedom it is worth. From
# takano_dense, joint_moe and scalebench's data_constrained, on which the method was developed; see
# tests/benchmarks/bench_intervals.py for the tables that it was then judged on.
_PRIOR, _PRIOR_FREEDOM = 0.01, 2
# Cuts in one direction share most of their rows: so many count as one independent error.
CUTS_ALIKE = 3
LEAST_ODDS = 1 / 19
"""Odds of .05 against .95, below which a form is told apart from the best."""
_MOST_CUTS = 9
LEAST_FITTED = 0.4
"""Share of the rows that a cut leaves to fit at least, beside twice as many configurations as coefficients: fits to
fewer say little about the fit to all."""
_SLOPES = np.exp(np.linspace(np.log(1e-4), np.log(0.5), 200))
# Larger than this the form's error is not raised: a cut that needs more is an accident.
_MOST_RAISED = 5.0
# Closer than this to the fitted rows is no extrapolation.
NEARBY = 1.1
# Beyond a size that is in no unit: a relative error of e is no prediction.
_LARGEST_ERROR = 1.0
# So that what is infinitely far (0 of something that the runs had) still has an error that can be compared.
FARTHEST = 50.0


class Reach(Record):
    """What rolling holdouts say about one direction in which a target may lie outside the fitted rows."""

    direction: str
    """A variable of the law, or training compute."""
    logarithmic: bool
    """Distances are logarithms of ratios; otherwise differences in widths of the fitted range."""
    low: float
    high: float
    """Of the fitted rows."""
    cuts: Count
    """Sizes below which the law was fitted, to predict the rows above."""
    farthest: float = Field(ge=0)
    """The largest distance of a row that was predicted."""
    slope: float = Field(ge=0)
    """Standard deviation of the form's error of the log loss, per unit of distance."""
    freedom: int = Field(ge=1)
    """Degrees of freedom of that."""

    @classmethod
    def untested(cls, direction: str, low: float, high: float, logarithmic: bool = True) -> "Reach":
        """Of a direction in which nothing was held out."""
        return cls(
            direction=direction,
            logarithmic=logarithmic and low > 0,
            low=low,
            high=high,
            cuts=0,
            farthest=0.0,
            slope=_PRIOR,
            freedom=_PRIOR_FREEDOM,
        )

    def distance(self, values: Array) -> Array:
        """How far outside the fitted rows values lie, 0 inside."""
        # A value of 0 lies infinitely far from sizes, and any other so from a range without width.
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            if self.logarithmic:
                outside = np.maximum(np.log(values / self.high), np.log(self.low / values))
            else:
                outside = np.maximum(values - self.high, self.low - values) / max(self.high - self.low, 1e-300)
        return np.asarray(np.maximum(np.where(np.isnan(outside), np.inf, outside), 0.0))

    @property
    def supported(self) -> float:
        """The largest distance at which the rows support a level."""
        return max(self.farthest, float(np.log(NEARBY)))

    def why_beyond(self, value: float) -> str:
        """What is missing for an interval at a value beyond what is supported."""
        where = f"{self.direction} {_shown(value)} lies outside the runs' {_shown(self.low)} to {_shown(self.high)}"
        if not self.cuts:
            return f"{where}, which have too few sizes to be held out: add runs at three sizes of it or more"
        if not self.logarithmic:
            return f"{where}, further than holdouts inside them reach: add runs nearer to it"
        ratio = np.exp(self.supported)
        need, bound = (value / ratio, "up to") if value > self.high else (value * ratio, "down to")
        return f"{where}, and holdouts inside them tell of {ratio:.2g} times more only: add runs {bound} {_shown(need)}"


def has_ratios(variable: Variable) -> bool:
    """Whether distances in a variable are logarithms of ratios: not in shares, which end at 1."""
    return variable.below is None


@dataclass(frozen=True)
class Extrapolation:
    """The form's error of some targets (R,), and which of them lie beyond what the rows support."""

    deviation: Array
    """Standard deviation of the log loss."""
    freedom: Array
    beyond: Mask

    def half_width(self, level: float) -> Array:
        """Half the interval of that error alone, (R,)."""
        return self.deviation * _quantiles(self.freedom, level)


def _quantiles(freedom: Array, level: float) -> Array:
    """Half the interval of so many degrees of freedom (R,), in standard deviations."""
    by_freedom = {int(each): half_interval(level, int(each)) for each in np.unique(freedom)}
    return np.array([by_freedom[int(each)] for each in freedom])


def extrapolate(reaches: Iterable[Reach], columns: Mapping[str, Array]) -> Extrapolation:
    """The form's error at targets given by a law's variables, (R,) each."""
    directions = directions_of(columns)
    number = len(next(iter(columns.values())))
    others, compute, largest = np.zeros(number), np.zeros(number), np.zeros(number)
    freedom, beyond = np.full(number, _PRIOR_FREEDOM), np.zeros(number, dtype=bool)
    for reach in reaches:
        distance = reach.distance(directions[reach.direction])
        with np.errstate(invalid="ignore", over="ignore"):  # a slope of 0 at infinite distance
            variance = np.nan_to_num((reach.slope * distance) ** 2, posinf=np.inf)
        if reach.direction == COMPUTE:
            compute = variance
        else:
            others = others + variance
        freedom = np.where(variance > largest, reach.freedom, freedom)
        largest = np.maximum(largest, variance)
        beyond |= distance > reach.supported * (1 + 1e-9)
    return Extrapolation(np.sqrt(np.maximum(others, compute)), freedom, beyond)


def drawn_errors(reaches: Sequence[Reach], columns: Mapping[str, Array], standard: Array) -> Array:
    """The form's error of the log loss (B, R) at targets (R,), from (B, directions) draws of `drawn_t`.

    Each draw has one slope a direction for all targets, so that what two of them share in distance cancels between
    them. Spreads are those of `extrapolate`.
    """
    directions = directions_of(columns)
    distances = np.array([reach.distance(directions[reach.direction]) for reach in reaches])
    distances = np.minimum(distances, FARTHEST)
    slopes = np.array([reach.slope for reach in reaches])[:, None]
    compute = np.array([reach.direction == COMPUTE for reach in reaches])
    alone = ((slopes * distances) ** 2)[~compute].sum(axis=0)
    told = ((slopes * distances) ** 2)[compute].sum(axis=0)
    # Compute, which the other directions move, counts where it is more: their errors then grow to its size.
    grown = np.sqrt(np.maximum(alone, told) / np.where(alone > 0, alone, 1.0))
    errors = (standard[:, ~compute] @ (slopes * distances)[~compute]) * grown
    return np.asarray(np.where(alone > 0, errors, standard[:, compute] @ (slopes * distances)[compute]))


def drawn_t(reaches: Sequence[Reach], number: int, random: np.random.Generator) -> Array:
    """Student's t (number, directions), each direction with its degrees of freedom."""
    return np.stack([random.standard_t(reach.freedom, number) for reach in reaches], axis=1)


def why_beyond(reaches: Iterable[Reach], columns: Mapping[str, Array], place: int) -> str | None:
    """What would support a level at one of the targets: the direction that lacks most; None where nothing does."""
    directions = directions_of(columns)
    lacking = [
        (float(reach.distance(directions[reach.direction])[place]) / reach.supported, reach) for reach in reaches
    ]
    excess, worst = max(lacking, key=lambda item: item[0], default=(0.0, None))
    if worst is None or excess <= 1 + 1e-9:
        return None
    return worst.why_beyond(float(directions[worst.direction][place]))


# Rolling holdouts


def rolling_holdouts(
    problem: Problem, u: Array, rows: Observations, weights: Array, spread: float, inputs: Iterable[Variable]
) -> Items[Reach]:
    """Every direction's reach, of a fit u (P,) to rows with weights (R,), outliers among them at 0.

    `spread` is the standard deviation of the residuals' logarithms.
    """
    directions = directions_of(rows.columns)
    linear = {variable.name for variable in inputs if not has_ratios(variable)}
    law = (rows.clusters, int(problem.free.sum()))
    cuts = [(name, below) for name, values in directions.items() for below in cuts_below(values, weights, [law])]
    found: dict[str, list[_Errors]] = {name: [] for name in directions}
    blank = {
        name: Reach.untested(name, float(values.min()), float(values.max()), name not in linear)
        for name, values in directions.items()
    }
    if not cuts:
        return tuple(blank.values())
    fitted = np.array([weights * below for _, below in cuts])
    missed, fits = errors_below(problem, u, rows.loss, fitted)
    tried = []
    for (name, below), error, at, row_weights in zip(cuts, missed, fits, fitted, strict=True):
        above = ~below & (weights > 0)
        distance = _between(blank[name], directions, below).distance(directions[name][above])
        expected = spread**2 * (1 + _leverage(problem, at, row_weights)[above])
        squares = float(np.mean(error[above] ** 2)), float(np.mean(expected)), float(np.mean(distance**2))
        found[name].append(_Errors(*squares, float(distance.max())))
        tried.append((below, above, error[above], expected))
    reaches = [_with_slope(blank[name], found[name]) for name in directions]
    within = []
    for below, above, error, expected in tried:
        from_here = [_between(each, directions, below) for each in reaches]
        form = extrapolate(from_here, {name: values[above] for name, values in rows.columns.items()})
        quantiles = _quantiles(form.freedom, LEVEL)
        within.append((error**2 / quantiles**2, expected, form.deviation**2))
    raised = _raise_to_hold(within)
    return tuple(each.model_copy(update={"slope": each.slope * raised}) for each in reaches)


def _between(reach: Reach, directions: Mapping[str, Array], below: Mask) -> Reach:
    """The reach of the rows below a cut."""
    values = directions[reach.direction][below]
    return reach.model_copy(update={"low": float(values.min()), "high": float(values.max())})


def _raise_to_hold(cuts: Sequence[tuple[Array, Array, Array]]) -> float:
    """How many times larger the form's deviation must be for intervals to hold `LEVEL` of the rows above every cut;
    at most `_MOST_RAISED`.

    For each cut: squares that a row's variance must reach, the variance of noise and coefficients, and the form's,
    (rows above,) each. With the few independent cuts that a table has, the worst is their 90th percentile.
    """
    low, high = 1.0, _MOST_RAISED

    def holds(times: float) -> bool:
        return all(np.mean(needed <= other + times**2 * form) >= LEVEL for needed, other, form in cuts)

    if holds(low) or not holds(high):
        return low if holds(low) else high
    while high > low * 1.001:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class _Errors:
    """Of the rows above one cut: means of squared errors, of what noise and coefficients explain, of distances."""

    squared: float
    expected: float
    distance_squared: float
    farthest: float


def _with_slope(reach: Reach, errors: list[_Errors]) -> Reach:
    """The reach with the slope of greatest posterior density: scaled inverse chi-squared prior, normal errors."""
    log_density = -0.5 * _PRIOR_FREEDOM * (2 * np.log(_SLOPES) + _PRIOR**2 / _SLOPES**2)
    for each in errors:
        variance = each.expected + _SLOPES**2 * each.distance_squared
        log_density -= 0.5 * (np.log(variance) + each.squared / variance) / CUTS_ALIKE
    return reach.model_copy(
        update={
            "cuts": len(errors),
            "farthest": max((each.farthest for each in errors), default=0.0),
            "slope": float(_SLOPES[np.argmax(log_density)]),
            "freedom": _PRIOR_FREEDOM + len(errors) // CUTS_ALIKE,
        }
    )


def cuts_below(values: Array, weights: Array, laws: Sequence[tuple[Clusters, int]]) -> list[Mask]:
    """Rows (R,) below each cut of one direction, for laws by their configurations (R,) and free coefficients."""
    levels = np.unique(values[weights > 0])
    if len(levels) > _MOST_CUTS:
        levels = np.unique(np.quantile(values[weights > 0], np.linspace(0.3, 0.95, _MOST_CUTS), method="lower"))
    found = []
    for level in levels:
        below = values <= level
        fitted = below & (weights > 0)
        enough = all(len(np.unique(clusters[fitted])) >= 2 * free for clusters, free in laws)
        enough &= bool(fitted.sum() >= LEAST_FITTED * len(values))
        if enough and np.ptp(values[fitted]) > 0 and (~below & (weights > 0)).any():
            found.append(below)
    return found


def errors_below(problem: Problem, u: Array, loss: Array, weights: Array) -> tuple[Array, Array]:
    """Errors of the log loss (C, R) under fits to the rows that weigh below each cut (C, R), and these fits (C, P).

    All are fitted in one batch, each from u (P,).
    """
    fits = refit(problem, np.repeat(u[None], len(weights), axis=0), weights).u
    with np.errstate(invalid="ignore", divide="ignore"):
        missed = np.log(problem.predict(fits)) - np.log(loss)
    return np.clip(np.nan_to_num(missed, nan=_LARGEST_ERROR), -_LARGEST_ERROR, _LARGEST_ERROR), fits


def log_evidence(cuts: int, squared: float) -> float:
    """Log density of so many cuts' errors, of which `CUTS_ALIKE` count as one, at their mean square."""
    return float(-0.5 * cuts / CUTS_ALIKE * np.log(max(squared, 1e-18)))


def _leverage(problem: Problem, u: Array, weights: Array) -> Array:
    """Variance (R,) of the log loss that uncertain coefficients predict, per unit of noise, by the law's slopes."""
    relative = replace(problem, objective=objective_named("squares_log"))
    free = problem.free & ~find_bound(problem, u)
    slopes = relative.linearise(u[None])[1][0][free]
    fitted = slopes * np.sqrt(weights)
    size = np.maximum(np.linalg.norm(fitted, axis=1), 1e-300)
    fitted, slopes = fitted / size[:, None], slopes / size[:, None]
    inverse = np.linalg.pinv(fitted @ fitted.T, rcond=1e-12, hermitian=True)
    return np.asarray(np.einsum("pr,pq,qr->r", slopes, inverse, slopes))


def directions_of(columns: Mapping[str, Array]) -> dict[str, Array]:
    """Every variable (R,), and training compute where the columns give a size and tokens."""
    found = dict(columns)
    size = columns.get("active_params", columns.get("total_params"))
    if size is not None and "train_tokens" in columns:
        found[COMPUTE] = size * columns["train_tokens"]
    return found


def _shown(value: float) -> str:
    return f"{value:.3g}" if not 1000 <= value < 1e15 else format_count(value, 3)
