"""Several forms' predictions as one: a mixture with the weights that rolling holdouts gave them (`comparison`).

Each form expects a log loss with an error of its own, normal with the spread of its 90 % interval. The stacked
prediction is the mean of that mixture, its interval the mixture's own quantiles: wide where forms disagree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from moewright.laws.bisection import halved
from moewright.laws.fitting.fitted_law import Interval
from moewright.laws.fitting.uncertainty import LEVEL
from moewright.laws.rate_optimum import student_quantile
from moewright.laws.variable import Array, Mask
from moewright.records import Record

_LEAST_HEARD = 0.05
"""Weight of a form whose interval is withheld, above which the stacked one is withheld too."""
_HALVINGS = 60
_normal = np.vectorize(NormalDist().cdf, otypes=[float])


class StackedPrediction(Record):
    """What the forms that are not told apart expect of one planned run together."""

    loss: float
    low: float | None
    """End of the 90 % interval of one new run; null where a form of more than a twentieth of the weight withholds its
    own."""
    high: float | None
    at: dict[str, float]
    weights: dict[str, float]


@dataclass(frozen=True)
class FormPrediction:
    """What one form expects of some targets (R,), with its 90 % interval; NaN where it is withheld."""

    loss: Array
    low: Array
    high: Array


def mixture_of(
    forms: Sequence[FormPrediction], weights: Sequence[float], level: float = LEVEL
) -> tuple[Array, Interval]:
    """Loss and interval (R,) of the mixture, weights adding up to 1; `forms` have intervals of that level."""
    share = np.array(weights)[:, None]
    mean = np.log([form.loss for form in forms])
    with np.errstate(invalid="ignore"):
        spread = np.log([form.high for form in forms]) - np.log([form.low for form in forms])
    spread /= 2 * student_quantile((1 + level) / 2, None)
    silent = np.isnan(spread)
    heard = np.where(silent, 0.0, share)
    total = heard.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        heard = np.where(total > 0, heard / total, share)
    spread, known = np.where(silent, 1.0, spread), total >= 1 - _LEAST_HEARD
    loss = np.exp((np.where(known, heard, share) * mean).sum(axis=0))  # of the forms that the interval is of
    low, high = (np.exp(_quantile(mean, spread, heard, tail)) for tail in ((1 - level) / 2, (1 + level) / 2))
    return loss, Interval(np.where(known, low, np.nan), np.where(known, high, np.nan))


def _quantile(mean: Array, spread: Array, weights: Array, probability: float) -> Array:
    """Of mixtures of normals (forms, R), by halving."""
    spread = np.maximum(spread, 1e-12)
    low, high = (mean - 12 * spread).min(axis=0), (mean + 12 * spread).max(axis=0)

    def is_below(point: Array) -> Mask:
        return np.asarray((weights * _normal((point - mean) / spread)).sum(axis=0) < probability)

    low, high = halved(is_below, low, high, _HALVINGS)
    return np.asarray((low + high) / 2)
