"""One rule for the best learning rate of many models, learned from a few tuned ones; published rules are its prior.

    ln(best rate) = a + sum over variables of b_v ln(v) + what the rule misses,   the last normal with deviation tau

a and b are normal around what is published, so that what tuned models say is linear regression with a Gaussian prior
(Rasmussen and Williams, Gaussian Processes for Machine Learning, section 2.1); tau is averaged over what they find
likely.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np

from moewright.laws.rate_optimum import RateOptimum, student_quantile
from moewright.laws.variable import Array

EXPONENTS: Mapping[str, tuple[float, float]] = {
    # Of all parameters -.713 (Step Law, arXiv 2503.04715), of active ones -.81 (arXiv 2502.05172); 0 on the runs of
    # docs/small_mixtures.md, so the deviation is wide.
    "active_params": (-0.76, 0.4),
    # .307 (Step Law) and 0 (arXiv 2502.05172).
    "train_tokens": (0.15, 0.2),
    # -.25 (arXiv 2502.05172); Step Law's -.713 of all parameters comes to -.5 or so where most are experts'.
    "num_experts": (-0.25, 0.3),
    # Nothing is published: of the experts' width as a share of the model's, and of how many are chosen.
    "top_k": (0.0, 0.25),
    "expert_share": (0.0, 0.25),
    # The square root rule of Adam (Malladi et al. 2022, arXiv 2205.10287) and 0 (Step Law).
    "batch_tokens": (0.25, 0.25),
}
"""Prior mean and deviation of each exponent."""
MUP_EXPONENT = (0.0, 0.2)
"""Of active_params under muP, whose best rate is meant not to move with the width (arXiv 2203.03466)."""
CURVATURE = 0.5
"""Second derivative of the loss by ln(rate), nats, until a tuned model says it: the 14 parabolas of
docs/small_mixtures.md that have a minimum have .69 in the median, the eight of the long runs .55."""
_LEVEL_SPREAD = 1.5  # of a: the first model's own rate may be off by a factor of 4 either way
_MISSES = (0.05, 0.1, 0.2, 0.4)
_MISS, _MISS_LOG = 0.15, 0.7  # of tau: the prior's centre, and its deviation in ln
_Z90 = student_quantile(0.95, None)


@dataclass(frozen=True)
class TunedModel:
    """What tuning told of one model."""

    sizes: Mapping[str, float]
    """Its variables, those of `EXPONENTS`."""
    rate: float
    """The best."""
    deviation: float
    """Of its logarithm."""
    curvature: float | None
    """Second derivative of the loss by ln(rate), nats; None without a minimum."""


@dataclass(frozen=True)
class PredictedRate:
    """The best rate of a model that was not tuned."""

    rate: float
    deviation: float
    """Of its logarithm."""
    gives_away: float
    """Nats that training at `rate` is expected to lie above the loss at the best rate."""

    @property
    def interval(self) -> tuple[float, float]:
        """Where the best rate lies, at 90 %."""
        factor = exp(_Z90 * self.deviation)
        return self.rate / factor, self.rate * factor


class RateRule:
    """The rule as tuned models have it so far."""

    def __init__(self, start: float, sizes: Mapping[str, float], tuned: Sequence[TunedModel], mup: bool = False):
        """`start` is the rate, and `sizes` the model, that the prior is around; `mup`: weights follow muP."""
        self._origin = {name: log(value) for name, value in sizes.items()}
        exponents = {**EXPONENTS, **({"active_params": MUP_EXPONENT} if mup else {})}
        prior = np.array([(log(start), _LEVEL_SPREAD), *(exponents[name] for name in self._origin)])
        self._mean, self._precision = prior[:, 0], np.diag(prior[:, 1] ** -2)
        self._tuned = [self._features(each.sizes) for each in tuned]
        self._variances = [each.deviation**2 for each in tuned]
        rates = np.array([log(each.rate) for each in tuned])
        likely = [self._given(rates, miss) for miss in _MISSES]
        weights = np.exp(np.array([each[0] for each in likely]) - max(each[0] for each in likely))
        self._weights = weights / weights.sum()
        self._centres, self._covariances = [each[1] for each in likely], [each[2] for each in likely]
        curves = sorted(each.curvature for each in tuned if each.curvature is not None)
        self.curvature = float(np.median(curves)) if curves else CURVATURE
        self.miss = float(np.sqrt(self._weights @ np.square(_MISSES)))
        """tau: deviation of ln(best rate) that the rule misses."""
        self._test_variance = float(np.median(self._variances)) if self._variances else None

    def predict(self, sizes: Mapping[str, float]) -> PredictedRate:
        """The best rate of a model."""
        x = self._features(sizes)
        means = np.array([x @ centre for centre in self._centres])
        spreads = np.array([x @ each @ x for each in self._covariances]) + np.square(_MISSES)
        mean = float(self._weights @ means)
        variance = float(self._weights @ (spreads + (means - mean) ** 2))
        return PredictedRate(exp(mean), sqrt(variance), self.curvature * variance / 2)

    def to_test(self, models: Sequence[Mapping[str, float]], within: float, test_deviation: float) -> tuple[int, ...]:
        """Which of the models to tune so that none of the others is expected to give away more than `within` nats.

        The least sure first, until the others are sure. What a test tells does not depend on its outcome, but for tau
        and the curvature, so the models can be tuned side by side. `test_deviation`: of ln(best rate) after tuning,
        where nothing has been tuned yet.
        """
        features = [self._features(sizes) for sizes in models]
        noise = self._test_variance if self._test_variance is not None else test_deviation**2
        known, spread, chosen = list(self._tuned), [each + self.miss**2 for each in self._variances], list[int]()
        while len(chosen) < len(models):
            covariance = self._covariance(known, spread)
            left = [number for number in range(len(models)) if number not in chosen]
            variances = [float(features[each] @ covariance @ features[each]) + self.miss**2 for each in left]
            if self.curvature * max(variances) / 2 <= within:
                break
            least_sure = left[int(np.argmax(variances))]
            chosen.append(least_sure)
            known.append(features[least_sure])
            spread.append(noise + self.miss**2)
        return tuple(chosen)

    def _features(self, sizes: Mapping[str, float]) -> Array:
        return np.array([1.0, *(log(sizes[name]) - origin for name, origin in self._origin.items())])

    def _covariance(self, rows: Sequence[Array], variances: Sequence[float]) -> Array:
        precision = self._precision.copy()
        for row, variance in zip(rows, variances, strict=True):
            precision += np.outer(row, row) / variance
        return np.linalg.inv(precision)

    def _given(self, rates: Array, miss: float) -> tuple[float, Array, Array]:
        """Log density of tau = `miss` and the tuned rates, and then mean (F,) and covariance (F, F)."""
        prior = -((log(miss / _MISS) / _MISS_LOG) ** 2) / 2
        variances = [each + miss**2 for each in self._variances]
        covariance = self._covariance(self._tuned, variances)
        if not self._tuned:
            return prior, self._mean, covariance
        rows, gap = np.stack(self._tuned), rates - np.stack(self._tuned) @ self._mean
        among = rows @ np.linalg.inv(self._precision) @ rows.T + np.diag(variances)
        density = -(gap @ np.linalg.solve(among, gap) + np.linalg.slogdet(among)[1]) / 2
        mean = self._mean + covariance @ (rows.T @ (gap / np.array(variances)))
        return prior + float(density), mean, covariance


def tuned_model(sizes: Mapping[str, float], rate: float, found: RateOptimum, step: float) -> TunedModel:
    """What a tuning stage that promoted `rate` told of a model, whose tested rates were `step` apart in ln.

    The deviation is that of the minimum's interval. Where the runs give none, the minimum lies anywhere within half a
    step of the best rate tested; at an end or without curvature, within a step either way.
    """
    inside = found.status == "inside"
    deviation = (step if inside else 2 * step) / sqrt(12)
    if inside and found.interval is not None:
        deviation = max(log(found.interval[1] / found.interval[0]) / (2 * _Z90), 0.02)
    return TunedModel(sizes, rate, deviation, found.curvature if inside and (found.curvature or 0) > 0 else None)
