"""What the next runs are for, and how much doubt is left about it.

A criterion asks about differences of log losses: each row of `contrasts` (K, T) over the targets has a mean and a
deviation under a belief. `doubt` turns these into nats, for many deviations at once.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from moewright.laws.rate_optimum import student_quantile
from moewright.laws.variable import Array

Purpose = Literal["forecast", "design", "compare"]
PURPOSES: tuple[Purpose, ...] = ("forecast", "design", "compare")
_erfc = np.vectorize(math.erfc, otypes=[np.float64])
Z90 = student_quantile(0.95, None)
"""Half of a 90 % interval in deviations."""


@dataclass(frozen=True)
class Criterion:
    """One of the purposes over T targets."""

    purpose: Purpose
    within: float
    """Nats. forecast: half of the 90 % interval to come to. design: the regret. compare: what is no difference."""
    confidence: float
    """Of a comparison: the probability of the verdict to come to."""

    def contrasts(self, mean: Array) -> Array:
        """(K, T): each target; or each against the one of the lowest mean (T,)."""
        whole = np.eye(len(mean))
        if self.purpose == "forecast":
            return whole
        best = int(np.argmin(mean))
        return np.delete(whole - whole[best], best, axis=0)

    def doubt(self, mean: Array, deviation: Array, loss: float) -> Array:
        """Nats in doubt (...) for contrasts of means (K,) and deviations (K, ...); `loss` turns log loss into nats.

        forecast: the mean of the half-widths of 90 % intervals. Else the expected regret of taking the target of the
        lowest mean: the sum over the others of E max(0, what it is better by).
        """
        if self.purpose == "forecast":
            return np.asarray(loss * Z90 * deviation.mean(axis=0))
        above = mean.reshape(-1, *[1] * (deviation.ndim - 1))  # of a contrast: 0 or more, the first being the best
        z = above / np.maximum(deviation, 1e-12)
        density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
        return np.asarray(loss * (deviation * (density - z * upper_tail(z))).sum(axis=0))

    def right(self, mean: Array, deviation: Array) -> float | None:
        """The probability that the target of the lowest mean is better than the next one; None for a forecast."""
        if self.purpose == "forecast":
            return None
        return float((1 - upper_tail(mean / np.maximum(deviation, 1e-12))).min())

    def settled(self, mean: Array, deviation: Array, loss: float) -> str | None:
        """How it is settled, in words; None where it is not."""
        if self.purpose == "compare":
            right = self.right(mean, deviation)
            if right is not None and right >= self.confidence:
                return f"the better one is so with a probability of {right:.1%}"
            far = loss * (np.abs(mean) + Z90 * deviation)
            if (far <= self.within).all():
                return f"they differ by less than {self.within:g} nats, at 90 %"
            return None
        doubt = float(self.doubt(mean, deviation, loss))
        if doubt > self.within:
            return None
        what = "the 90 % interval is +-" if self.purpose == "forecast" else "the expected regret is "
        return f"{what}{doubt:.4f} nats"


def upper_tail(z: Array) -> Array:
    """Probability of a standard normal number above z."""
    return np.asarray(_erfc(z / np.sqrt(2)) / 2)
