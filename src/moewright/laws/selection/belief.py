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
    parts, heard, silent = [], [], []
    for law, one, other in zip(laws, runs, points, strict=True):
        try:
            parts.append(_LawBelief.of(law, one, other, noise, candidates))
            heard.append(law.name)
        except UserError as error:
            if not skip:
                raise
            silent.append((law.name, error))
    if not parts:
        raise silent[0][1]
    evidence = np.array([part.evidence for part in parts])
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()
    mean = sum(weight * part.mean for weight, part in zip(weights, parts, strict=True))
    covariance = np.zeros((len(mean), len(mean)))
    for weight, part in zip(weights, parts, strict=True):
        apart = part.mean - mean
        covariance += weight * (part.covariance + np.outer(apart, apart))
    left_out = [f"left out, as their coefficients give these models no loss: {', '.join(name for name, _ in silent)}"]
    return Belief(
        mean=mean,
        covariance=covariance,
        noise=float(np.sqrt(weights @ [part.noise**2 for part in parts])),
        weights=dict(zip(heard, weights.tolist(), strict=True)),
        misfit={name: part.misfit for name, part in zip(heard, parts, strict=True)},
        notes=(*(left_out if silent else ()), *(note for part in parts for note in part.notes)),
    )


@dataclass(frozen=True)
class _LawBelief:
    mean: Array
    covariance: Array
    noise: float
    misfit: float
    evidence: float
    """Log density of the runs."""
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls, law: Law, runs: "pd.DataFrame | None", points: "pd.DataFrame", noise: float | None, candidates: int
    ) -> "_LawBelief":
        model = _Linearised.of(law, runs, points, noise, candidates)
        if runs is None:
            here = model.points
            covariance = here.features @ here.features.T + _MISFIT**2 * model.alike(here, here, _LENGTH)
            found = NOISE if noise is None else noise
            return cls(model.points.mean, covariance, found, _MISFIT, 0.0, model.notes)
        gap = model.log_loss - model.runs.mean
        likely = model.likely(gap, noise)
        density = np.array([each.density for each in likely])
        weights = np.exp(density - density.max())
        evidence = float(density.max() + np.log(weights.sum()))
        weights /= weights.sum()
        told = [model.conditioned(gap, each) for each in likely]
        mean = sum(weight * each[0] for weight, each in zip(weights, told, strict=True))
        covariance = np.zeros((len(mean), len(mean)))
        for weight, (each, spread) in zip(weights, told, strict=True):
            covariance += weight * (spread + np.outer(each - mean, each - mean))
        found = float(np.sqrt(weights @ [each.noise**2 for each in likely]))
        misfit = float(np.sqrt(weights @ [each.misfit**2 for each in likely]))
        return cls(mean, (covariance + covariance.T) / 2, found, misfit, evidence, model.notes)


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

    @classmethod
    def of(
        cls, law: Law, runs: "pd.DataFrame | None", points: "pd.DataFrame", noise: float | None, candidates: int
    ) -> "_Linearised":
        form = law.as_form()
        at_points = read_columns(points, form.inputs, {})
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
        usable = (each for each in centres if np.abs(_at(here, each)[1] @ root).max(initial=0.0) < _STEEPEST)
        centre = next(usable, prior)
        number = len(measured)
        places = _places(at_runs, at_points)
        scaled = (places - places.min(axis=0)) / np.maximum(np.ptp(places, axis=0), 1e-12)
        box = places[:number] if number else places
        beyond = np.maximum(np.hstack([places - box.max(axis=0), box.min(axis=0) - places]), 0.0)
        rows = []
        for problem, part in ((here, slice(None, number)), (there, slice(number, None))):
            log_loss, slopes = _at(problem, centre)
            features = np.hstack([slopes @ root, _BEYOND * beyond[part]])
            rows.append(_Rows(log_loss + slopes @ (prior - centre), features, scaled[part]))
        return cls(rows[0], rows[1], measured, notes)

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

    def conditioned(self, gap: Array, spread: "_Spread") -> tuple[Array, Array]:
        """Mean (Q,) and covariance (Q, Q) at the points, given what the centre misses at the runs (R,)."""
        square = spread.misfit**2
        among = square * self.alike(self.runs, self.runs, spread.length) + spread.noise**2 * np.eye(len(gap))
        between = square * self.alike(self.points, self.runs, spread.length)
        told = np.linalg.solve(among, np.column_stack([gap, self.runs.features, between.T]))
        number = self.runs.features.shape[1]
        system = np.eye(number) + self.runs.features.T @ told[:, 1 : number + 1]
        rest = self.points.features - between @ told[:, 1 : number + 1]
        mean = between @ told[:, 0] + rest @ np.linalg.solve(system, self.runs.features.T @ told[:, 0])
        own = square * self.alike(self.points, self.points, spread.length) - between @ told[:, number + 1 :]
        return self.points.mean + mean, own + rest @ np.linalg.solve(system, rest.T)


@dataclass(frozen=True)
class _Spread:
    """One point of the grid: tau, length, noise, and the log density of the runs there."""

    misfit: float
    length: float
    noise: float
    density: float


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


def _places(runs: Mapping[str, Array], points: Mapping[str, Array]) -> Array:
    """Variables of runs, then points, (R + Q, V): logarithms where all are positive, else shares of the range."""
    columns = [np.concatenate([runs[name], points[name]]) for name in points]
    return np.stack(
        [np.log(each) if (each > 0).all() else each / max(float(np.ptp(each)), 1e-12) for each in columns], axis=1
    )
