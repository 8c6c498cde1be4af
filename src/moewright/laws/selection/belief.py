"""What laws and the runs so far say about losses that nobody has measured: means and covariances of log loss.

Each law is a form with coefficients around a centre, and what the form misses is a smooth function of its variables:

    log loss = log form(u, x) + g(x) + noise,  u ~ N(centre, prior),  g ~ GP(0, tau^2 k)

linear in u around the centre, so that everything is Gaussian and conditioning on runs is linear algebra (Rasmussen and
Williams, Gaussian Processes for Machine Learning, section 2.7: an explicit basis with a Gaussian prior). Several laws
are weighted by how likely the runs are under each; their disagreement is part of the covariance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from moewright.errors import UserError
from moewright.laws.fitting.estimator import LawFitter
from moewright.laws.fitting.fit_settings import FitSettings
from moewright.laws.fitting.observations import read_columns, read_loss
from moewright.laws.fitting.problem import Problem, TooFewRuns, objective_named, to_search_units
from moewright.laws.forecasting.simulation import assume
from moewright.laws.law import Law
from moewright.laws.variable import Array
from moewright.progress import track

if TYPE_CHECKING:
    import pandas as pd

# Of the prior of a law's coefficients: all rows together tell as much as one run whose log loss has this deviation.
# A prior by what it says of losses does not depend on how a form is written (unit information, Kass, Wasserman 1995).
_PRIOR_SPREAD = 1.0
# Of each target's log loss before the runs, at most: a factor of e^.5.
_TARGET_SPREAD = 0.5
# What a form misses, as a deviation of log loss, and over which share of a variable's range it is alike: the grid from
# which the runs choose, and what is taken where there are none.
_MISFITS, _LENGTHS = (0.0005, 0.002, 0.005, 0.01, 0.02, 0.04), (0.25, 0.5, 1.0)
_MISFIT, _LENGTH = 0.01, 0.5
# Beyond the runs' box a law may go another way: a slope of log loss for each e-fold of a variable (or its range).
_BEYOND = 0.01
_NOISES = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032)
NOISE = 0.003
"""Deviation of log loss between seeds where nothing says it: small runs of the public tables have .001 to .005."""
# Deviation of the prior of their logarithms around what is taken where nothing has run: a factor of e either way.
_PRIOR_LOG = 1.0
_MOST_SPREADS, _UNLIKELY = 12, 4.0  # of the grid's points those are averaged over that are at most e^4 less likely
_ROWS_OF_GRID = 300  # rows that the grid looks at; each of its points solves a system of so many
_RIDGE = 1e-4  # of directions that no point tells anything about: 100 times the prior's deviation
_STEPS, _SMALLEST = 50, 1e-4
# Where one deviation of the prior moves a log loss by more than this, as on a coefficient's bound, a line is no picture
# of the law: another centre is taken.
_STEEPEST = 1e3


@dataclass(frozen=True)
class Belief:
    """Log losses at Q points."""

    mean: Array
    """(Q,)."""
    covariance: Array
    """(Q, Q), noise of single runs apart."""
    noise: float
    """Deviation of a single run's log loss around it."""
    weights: Mapping[str, float]
    """Of the laws, adding up to 1."""
    misfit: Mapping[str, float]
    """tau of each law: the deviation of log loss that its form misses."""
    notes: tuple[str, ...] = ()


def believe(
    laws: Sequence[Law],
    runs: "Sequence[pd.DataFrame | None]",
    points: "Sequence[pd.DataFrame]",
    noise: float | None = None,
    *,
    candidates: int = 0,
    skip: bool = False,
) -> Belief:
    """Log losses at the rows of `points` under `laws`, given the rows of `runs` with their `loss`.

    Both are one table per law, with its variables as columns. `noise` is the deviation of log loss between seeds; None:
    what makes the runs most likely, or `NOISE` where there are none. The first `candidates` points are candidates, the
    others targets. With `skip`, laws that say nothing of these models are left out while one does.
    """
    told = condition(laws, runs, points, noise, candidates=candidates, skip=skip)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # what comes of it is looked at
        found = {part.law: part.belief() for part in told.parts}
    # A law linearised far from its runs may overflow: it then says nothing of these models.
    whole = {law: each for law, each in found.items() if all(np.isfinite(part).all() for part in each)}
    if not whole or not (skip or len(whole) == len(found)):
        law = next(law for law in found if law not in whole)
        raise UserError(f"{law} gives some of these models no finite loss under what the runs say; name another law")
    beliefs, share = list(whole.values()), sum(told.weights[law] for law in whole)
    weights = [told.weights[law] / share if share > 0 else 1 / len(whole) for law in whole]
    mean = np.sum([weight * each[0] for weight, each in zip(weights, beliefs, strict=True)], axis=0)
    covariance = np.zeros((len(mean), len(mean)))
    for weight, (each, spread) in zip(weights, beliefs, strict=True):
        covariance += weight * (spread + np.outer(each - mean, each - mean))
    return Belief(
        mean=mean,
        covariance=covariance,
        noise=told.noise,
        weights=dict(zip(whole, weights, strict=True)),
        misfit={part.law: part.misfit for part in told.parts if part.law in whole},
        notes=(*told.notes, *(f"left out, as its losses overflow: {law}" for law in found if law not in whole)),
    )


def condition(
    laws: Sequence[Law],
    runs: "Sequence[pd.DataFrame | None]",
    points: "Sequence[pd.DataFrame]",
    noise: float | None = None,
    *,
    candidates: int = 0,
    skip: bool = False,
) -> "ConditionedLaws":
    """What `believe` says of its points, to be asked about more rows than a covariance could be kept of."""
    parts, silent = [], []
    asked = zip(laws, runs, points, strict=True)
    for law, one, other in track("asking the laws about all runs", asked, len(laws), "laws"):
        try:
            parts.append(_ConditionedLaw.of(law, one, other, noise, candidates))
        except UserError as error:
            if not skip:
                raise
            silent.append((law.name, error))
    if not parts:
        raise silent[0][1]
    evidence = np.array([part.evidence for part in parts])
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()
    left_out = [f"left out, as their coefficients give these models no loss: {', '.join(name for name, _ in silent)}"]
    return ConditionedLaws(
        parts=tuple(parts),
        weights=dict(zip((part.law for part in parts), weights.tolist(), strict=True)),
        notes=(*(left_out if silent else ()), *(note for part in parts for note in part.model.notes)),
    )


@dataclass(frozen=True)
class ConditionedLaws:
    """Several laws after the same runs."""

    parts: "tuple[_ConditionedLaw, ...]"
    weights: Mapping[str, float]
    """Of the laws that are heard, adding up to 1."""
    notes: tuple[str, ...]

    @property
    def noise(self) -> float:
        """Deviation of a single run's log loss."""
        return float(np.sqrt(np.array(list(self.weights.values())) @ [part.noise**2 for part in self.parts]))

    def means(self, rows: "Mapping[str, pd.DataFrame]") -> Array:
        """Expected log loss (Q,) of rows, by law: its variables as columns."""
        found = [w * part.means(rows[part.law]) for part, w in zip(self.parts, self.weights.values(), strict=True)]
        return np.asarray(np.sum(found, axis=0))

    def differences(
        self, rows: "Mapping[str, pd.DataFrame]", others: "Mapping[str, pd.DataFrame]"
    ) -> tuple[Array, Array]:
        """Mean and variance (Q, O) of the log loss of rows less that of others, noise of single runs apart."""
        weighted = [
            (weight * share, *each.differences(one, other))
            for part, weight in zip(self.parts, self.weights.values(), strict=True)
            for one, other in [(part.model.rows_of(rows[part.law]), part.model.rows_of(others[part.law]))]
            for share, each in part.by_spread
        ]
        mean = sum(weight * gap for weight, gap, _ in weighted)
        variance = sum(weight * (spread + (gap - mean) ** 2) for weight, gap, spread in weighted)
        return np.asarray(mean), np.asarray(variance)


@dataclass(frozen=True)
class _ConditionedLaw:
    """One law after the runs."""

    law: str
    model: "_Linearised"
    by_spread: "tuple[tuple[float, _Conditioned], ...]"
    """With weights, adding up to 1: for each likely spread."""
    evidence: float
    """Log density of the runs."""

    @classmethod
    def of(
        cls, law: Law, runs: "pd.DataFrame | None", points: "pd.DataFrame", noise: float | None, candidates: int
    ) -> "_ConditionedLaw":
        model = _Linearised.of(law, runs, points, noise, candidates)
        gap = model.log_loss - model.runs.mean
        likely = [_Spread(_MISFIT, _LENGTH, NOISE if noise is None else noise, 0.0)]
        if runs is not None:
            likely = model.likely(gap, noise)
        density = np.array([each.density for each in likely])
        weights = np.exp(density - density.max())
        evidence = float(density.max() + np.log(weights.sum()))
        weights /= weights.sum()
        by_spread = tuple(
            (float(w), _Conditioned.of(model, gap, each)) for w, each in zip(weights, likely, strict=True)
        )
        return cls(law.name, model, by_spread, evidence)

    @property
    def noise(self) -> float:
        """Deviation of a single run's log loss."""
        return float(np.sqrt(sum(weight * each.spread.noise**2 for weight, each in self.by_spread)))

    @property
    def misfit(self) -> float:
        """Deviation of log loss that the form misses."""
        return float(np.sqrt(sum(weight * each.spread.misfit**2 for weight, each in self.by_spread)))

    def means(self, rows: "pd.DataFrame") -> Array:
        """(Q,)."""
        read = self.model.rows_of(rows)
        return np.asarray(sum(weight * each.project(read).mean for weight, each in self.by_spread))

    def belief(self) -> tuple[Array, Array]:
        """Mean (Q,) and covariance (Q, Q) at the points."""
        beliefs = [each.belief(self.model.points) for _, each in self.by_spread]
        mean = np.sum([weight * each[0] for (weight, _), each in zip(self.by_spread, beliefs, strict=True)], axis=0)
        covariance = np.zeros((len(mean), len(mean)))
        for (weight, _), (each, spread) in zip(self.by_spread, beliefs, strict=True):
            covariance += weight * (spread + np.outer(each - mean, each - mean))
        return mean, (covariance + covariance.T) / 2


@dataclass(frozen=True)
class _Rows:
    """Some rows as a law has them."""

    mean: Array
    """Of log loss before the runs, (R,)."""
    features: Array
    """(R, F): what independent coefficients of deviation 1 multiply: the law's, then the slopes beyond runs."""
    scaled: Array
    """Variables, each from 0 to 1, (R, V)."""

    def some(self, rows: "npt.NDArray[np.int64]") -> "_Rows":
        """A selection."""
        return _Rows(self.mean[rows], self.features[rows], self.scaled[rows])


@dataclass(frozen=True)
class _Linearised:
    """A form, linear around the coefficients that the runs and the prior agree on, at the runs and at the points."""

    runs: _Rows
    points: _Rows
    log_loss: Array
    """Of the runs, as measured."""
    notes: tuple[str, ...]
    law: Law
    places: "_Places"
    prior: Array
    centre: Array
    root: Array
    """(P, P): of the prior's covariance."""

    @classmethod
    def of(
        cls, law: Law, runs: "pd.DataFrame | None", points: "pd.DataFrame", noise: float | None, candidates: int
    ) -> "_Linearised":
        form = law.as_form()
        at_points = read_columns(points, form.inputs, {}, are_targets=True)
        at_runs = {name: values[:0] for name, values in at_points.items()}
        measured = np.zeros(0)
        if runs is not None:
            at_runs, measured = read_columns(runs, form.inputs, {}), np.log(read_loss(runs, "loss"))
        prior, starts, outliers, notes = _centres(law, runs, points)
        kept = np.ones(len(measured), dtype=bool)
        kept[outliers] = False
        at_runs, measured = {name: values[kept] for name, values in at_runs.items()}, measured[kept]
        here, there = _problem(law, at_runs), _problem(law, at_points)
        precision = _precision(_at(here, prior)[1], _at(there, prior)[1], candidates)
        spread = NOISE if noise is None else noise
        agreed = [_agreed(here, prior, precision, start, measured, spread) for start in (prior, *starts)]
        root = _root(precision)
        centres = [each for each, _ in sorted(agreed, key=lambda each: each[1])]
        centre = next((each for each in centres if _usable(here, there, each, root)), prior)
        places = _Places.of(at_runs, at_points)
        rows = [_rows(problem, places, prior, centre, root) for problem in (here, there)]
        return cls(rows[0], rows[1], measured, notes, law, places, prior, centre, root)

    def rows_of(self, table: "pd.DataFrame") -> _Rows:
        """Any rows, with the law's variables as columns."""
        columns = read_columns(table, self.law.as_form().inputs, {}, are_targets=True)
        return _rows(_problem(self.law, columns), self.places, self.prior, self.centre, self.root)

    def alike(self, rows: _Rows, others: _Rows, length: float) -> Array:
        """k (R, O): 1 at the same place, Matern's of 5/2 with `length` as a share of each variable's range."""
        square = ((rows.scaled[:, None, :] - others.scaled[None, :, :]) ** 2).sum(axis=2)
        far = np.sqrt(5 * square) / length
        return np.asarray((1 + far + far**2 / 3) * np.exp(-far))

    def likely(self, gap: Array, noise: float | None) -> "list[_Spread]":
        """The spreads under which what the centre misses at the runs (R,) is likely, of a grid."""
        shown = np.unique(np.linspace(0, len(gap) - 1, min(len(gap), _ROWS_OF_GRID)).astype(int))
        rows = self.runs.some(shown)
        found = []
        for length in _LENGTHS:
            values, axes = np.linalg.eigh(self.alike(rows, rows, length))
            along, features = axes.T @ gap[shown], axes.T @ rows.features
            for misfit in _MISFITS:
                for sigma in _NOISES if noise is None else (noise,):
                    spread = np.maximum(values, 0.0) * misfit**2 + sigma**2
                    system, pull = _normal(features, along, 1 / spread)
                    density = pull @ np.linalg.solve(system, pull) - along @ (along / spread)
                    density -= np.log(spread).sum() + np.linalg.slogdet(system)[1]
                    density -= (np.log(misfit / _MISFIT) ** 2 + np.log(sigma / NOISE) ** 2) / _PRIOR_LOG**2
                    found.append(_Spread(misfit, length, sigma, 0.5 * float(density)))
        found.sort(key=lambda each: -each.density)
        return [each for each in found[:_MOST_SPREADS] if each.density > found[0].density - _UNLIKELY]


@dataclass(frozen=True)
class _Spread:
    """One point of the grid: tau, length, noise, and the log density of the runs there."""

    misfit: float
    length: float
    noise: float
    density: float


@dataclass(frozen=True)
class _Conditioned:
    """What the runs say under one spread: the law's coefficients and its misfit, as roots of what they leave open."""

    model: _Linearised
    spread: _Spread
    among: Array
    """(R, R): inverse root of the covariance of misfit and noise at the runs."""
    system: Array
    """(F, F): inverse root of the coefficients' precision."""
    features: Array
    """(R, F): of the runs, in units of `among`."""
    gap: Array
    """(R,): what the centre misses at the runs, likewise."""
    pull: Array
    """(F,): what the coefficients make of it."""

    @classmethod
    def of(cls, model: _Linearised, gap: Array, spread: _Spread) -> "_Conditioned":
        covariance = spread.misfit**2 * model.alike(model.runs, model.runs, spread.length)
        among = np.linalg.inv(np.linalg.cholesky(covariance + spread.noise**2 * np.eye(len(gap))))
        features, gap = among @ model.runs.features, among @ gap
        precision = np.eye(features.shape[1]) + features.T @ features
        system = np.linalg.inv(np.linalg.cholesky(precision))
        return cls(model, spread, among, system, features, gap, system @ (features.T @ gap))

    def project(self, rows: _Rows) -> "_Projected":
        """Rows as the runs tell of them."""
        told = self.spread.misfit**2 * self.model.alike(rows, self.model.runs, self.spread.length) @ self.among.T
        left = (rows.features - told @ self.features) @ self.system.T
        return _Projected(rows.mean + told @ self.gap + left @ self.pull, told, left)

    def belief(self, rows: _Rows) -> tuple[Array, Array]:
        """Mean (Q,) and covariance (Q, Q)."""
        at = self.project(rows)
        before = self.spread.misfit**2 * self.model.alike(rows, rows, self.spread.length)
        return at.mean, before - at.told @ at.told.T + at.left @ at.left.T

    def differences(self, rows: _Rows, others: _Rows) -> tuple[Array, Array]:
        """Mean and variance (Q, O) of the log loss of rows less that of others."""
        one, other = self.project(rows), self.project(others)
        before = 2 * self.spread.misfit**2 * (1 - self.model.alike(rows, others, self.spread.length))
        variance = before - _squares(one.told, other.told) + _squares(one.left, other.left)
        return one.mean[:, None] - other.mean[None, :], np.maximum(variance, 0.0)


@dataclass(frozen=True)
class _Projected:
    """Some rows: means (Q,), and roots of what the runs tell of their covariance (Q, R) and leave open (Q, F)."""

    mean: Array
    told: Array
    left: Array


def _squares(one: Array, other: Array) -> Array:
    """Squared distances (Q, O) of the rows of two matrices."""
    return np.asarray((one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None, :] - 2 * one @ other.T)


def _rows(problem: Problem, places: "_Places", prior: Array, centre: Array, root: Array) -> _Rows:
    """The rows of a problem as a law has them, linear around a centre."""
    log_loss, slopes = _at(problem, centre)
    at = places.of_columns(problem.columns)
    features = np.hstack([slopes @ root, _BEYOND * places.beyond(at)])
    return _Rows(log_loss + slopes @ (prior - centre), features, places.scaled(at))


def _normal(features: Array, gap: Array, weights: Array) -> tuple[Array, Array]:
    """Matrix (F, F) and right side (F,) of ridge regression with coefficients of deviation 1 and weights (R,)."""
    weighted = features * weights[:, None]
    return np.eye(features.shape[1]) + features.T @ weighted, weighted.T @ gap


def _precision(at_runs: Array, at_points: Array, candidates: int) -> Array:
    """Prior precision (P, P) of coefficients whose slopes (R, P) and (Q, P) these are."""
    everything = np.concatenate([at_runs, at_points])
    targets = at_points[candidates:]
    whole = everything.T @ everything / (len(everything) * _PRIOR_SPREAD**2) + targets.T @ targets / _TARGET_SPREAD**2
    return np.asarray(whole + _RIDGE * np.diag(np.maximum(np.diag(whole), 1e-12)))


def _root(precision: Array) -> Array:
    """L (P, P) with L L^T the inverse, scaled first: coefficients differ by powers of ten."""
    size = np.sqrt(np.diag(precision))
    values, axes = np.linalg.eigh(precision / np.outer(size, size))
    return np.asarray(axes / np.sqrt(np.maximum(values, _RIDGE**2)) / size[:, None])


def _centres(
    law: Law, runs: "pd.DataFrame | None", points: "pd.DataFrame"
) -> tuple[Array, list[Array], list[int], tuple[str, ...]]:
    """The prior's coefficients as the solver has them, a fit's to start from too, the rows outside it, and notes."""
    fitter, fits, outliers = LawFitter(law, FitSettings(bootstrap=0, tuning="none")), [], []
    if runs is not None:
        try:
            found = fitter.fit(runs).law_
            fits, outliers = [fitter.u_], [outlier.row - 1 for outlier in found.record.outliers]
        except TooFewRuns:
            pass
    try:
        assumed = assume(law, None, fitter, points)
    except UserError:
        if not fits:
            raise
        note = f"{law.name} has no coefficients that give these models a loss: the prior is around a fit to the runs"
        return fits[0], [], outliers, (note,)
    form = law.as_form().form
    values = np.array([assumed.coefficients[coefficient.name] for coefficient in form.coefficients])
    return to_search_units(form, values), fits, outliers, ()


def _agreed(
    here: Problem, prior: Array, precision: Array, start: Array, measured: Array, spread: float
) -> tuple[Array, float]:
    """What the runs and the prior agree on, and its cost: Gauss and Newton from a start, halved where that fails."""
    u = np.clip(start, here.lower, here.upper)

    def cost(at: Array) -> float:
        gap = _at(here, at)[0] - measured
        total = gap @ gap / spread**2 + (at - prior) @ precision @ (at - prior)
        return float(total) if np.isfinite(total) else np.inf

    now = cost(u)
    for _ in range(_STEPS):
        expected, slopes = _at(here, u)
        system = slopes.T @ slopes / spread**2 + precision
        pull = slopes.T @ (measured - expected) / spread**2 - precision @ (u - prior)
        step = np.linalg.lstsq(system, pull, rcond=None)[0]
        size = 1.0
        while size > _SMALLEST and (then := cost(np.clip(u + size * step, here.lower, here.upper))) >= now:
            size /= 2
        if size <= _SMALLEST:
            break
        u, now = np.clip(u + size * step, here.lower, here.upper), then
    return u, now


def _usable(here: Problem, there: Problem, centre: Array, root: Array) -> bool:
    """Whether a line is a picture of the law at the runs, and the law gives the points losses."""
    gentle = np.abs(_at(here, centre)[1] @ root).max(initial=0.0) < _STEEPEST
    return bool(gentle and np.isfinite(_at(there, centre)[0]).all())


def _problem(law: Law, columns: Mapping[str, Array]) -> Problem:
    """The form at some rows; residuals from a loss of 1 are log losses."""
    form = law.as_form().form
    limits = np.array([[each.lower for each in form.coefficients], [each.upper for each in form.coefficients]])
    lower, upper = to_search_units(form, limits)
    number = len(next(iter(columns.values())))
    free = np.ones(len(lower), dtype=bool)
    return Problem(form, columns, np.ones(number), objective_named("squares_log"), lower, upper, free)


def _at(problem: Problem, u: Array) -> tuple[Array, Array]:
    """Log losses (R,) and their slopes (R, P); of a direction in which nothing is known 0."""
    log_loss, slopes = problem.linearise(u[None])
    return log_loss[0], np.nan_to_num(slopes[0].T, nan=0.0, posinf=0.0, neginf=0.0)


@dataclass(frozen=True)
class _Places:
    """Where rows lie: logarithms of variables that are positive everywhere, else shares of the range."""

    logarithmic: Mapping[str, bool]
    widths: Mapping[str, float]
    """Ranges of those that are no logarithms."""
    low: Array
    span: Array
    """Of runs and points, (V,)."""
    box: tuple[Array, Array]
    """Ends of the runs' box (of the points', where nothing has run), (V,)."""

    @classmethod
    def of(cls, runs: Mapping[str, Array], points: Mapping[str, Array]) -> "_Places":
        every = {name: np.concatenate([runs[name], points[name]]) for name in points}
        logarithmic = {name: bool((each > 0).all()) for name, each in every.items()}
        widths = {name: max(float(np.ptp(each)), 1e-12) for name, each in every.items()}
        nowhere = np.zeros(len(points))
        measure = cls(logarithmic, widths, nowhere, nowhere, (nowhere, nowhere))
        at = measure.of_columns(every)
        box = at[: len(next(iter(runs.values())))]
        box = box if len(box) else at
        ends = box.min(axis=0), box.max(axis=0)
        return cls(logarithmic, widths, at.min(axis=0), np.maximum(np.ptp(at, axis=0), 1e-12), ends)

    def of_columns(self, columns: Mapping[str, Array]) -> Array:
        """(R, V)."""
        return np.stack(
            [
                np.log(columns[name]) if log else columns[name] / self.widths[name]
                for name, log in self.logarithmic.items()
            ],
            axis=1,
        )

    def scaled(self, at: Array) -> Array:
        """Each variable from 0 to 1 over runs and points, (R, V)."""
        return (at - self.low) / self.span

    def beyond(self, at: Array) -> Array:
        """How far outside the box, above and below, (R, 2 V)."""
        return np.maximum(np.hstack([at - self.box[1], self.box[0] - at]), 0.0)
