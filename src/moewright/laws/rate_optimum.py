"""The best learning rate of one model from a few tested ones: a parabola of the loss in the logarithm of the rate."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import atan, cos, exp, inf, log, pi, sin, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from moewright.complaints import check_number
from moewright.display import Shown
from moewright.errors import UserError
from moewright.laws.variable import Array, Mask
from moewright.records import Items, Pair, Record

# More rates join the fit while their mean squared distance from the parabola, per degree of freedom, is at most this
# many times the variance of a run; `best_rate` gives the measurement behind it.
_MISFIT = 3.0
_FEWEST = 3
_LARGEST_LOG = log(sys.float_info.max)


class RateOptimum(Shown, Record):
    """The best learning rate, how sure it is, and how it was found."""

    rate: float | None
    """The parabola's vertex where `status` is inside, else the best rate tested; None if every run diverged."""
    interval: Pair[float] | None
    """Where the vertex lies at `level`; None where the runs do not bound it, or nothing says how noisy they are."""
    loss: float | None
    """Nats: the parabola's at its vertex, or the mean of the runs at the best rate tested."""
    curvature: float | None
    """Second derivative of the loss by ln(rate), nats; None without a parabola."""
    status: str
    """inside; edge_low, edge_high: the best lies at or beyond an end of the tested rates; flat: no curvature to be
    seen; too_few: fewer than three rates."""
    grid_best: float | None
    """The tested rate of least mean loss."""
    noise: float | None
    """Standard deviation of the loss between seeds, nats: as stated, or from repeated rates."""
    level: float
    used: Items[float]
    """The rates that the parabola was fitted to."""
    diverged: int
    """Runs without a finite loss, left out."""
    messages: Items[str]

    def _facts(self) -> Mapping[str, Any]:
        return {name: getattr(self, name) for name in ("status", "rate", "interval", "loss")}


@dataclass(frozen=True)
class _Parabola:
    """loss = a z^2 + b z + c with z = ln(rate) - center; covariance (3, 3) per unit of noise variance."""

    a: float
    b: float
    c: float
    center: float
    covariance: npt.NDArray[Any]

    @property
    def vertex(self) -> float:
        return self.center - self.b / (2 * self.a)

    def ends(self, reach: float) -> tuple[float, float] | None:
        """Fieller's interval of the vertex, ln(rate); `reach` is the quantile times the noise.

        z is inside where the slope b + 2 a z is less than `reach` standard errors from 0, a quadratic inequality in z;
        None where that does not bound z, which is where a itself is less than `reach` standard errors from 0.
        """
        v = self.covariance * reach**2
        square = 4 * (self.a**2 - v[0, 0])
        if self.a <= 0 or square <= 0:
            return None
        half = 2 * (self.a * self.b - v[0, 1])
        root = sqrt(max(half**2 - square * (self.b**2 - v[1, 1]), 0.0))
        low, high = self.center + (-half - root) / square, self.center + (-half + root) / square
        # An end that no float holds as a rate is no bound.
        return (low, high) if max(abs(low), abs(high)) < _LARGEST_LOG else None


def best_rate(
    rates: Sequence[float] | Array,
    losses: Sequence[float] | Array,
    noise: float | None = None,
    level: float = 0.9,
) -> RateOptimum:
    """The learning rate of least loss, from runs that differ in nothing but the rate (and the seed).

    A parabola in ln(rate) is fitted by least squares; its vertex is the answer, with Fieller's interval (Fieller 1954)
    for the ratio -b/2a. `noise` is the standard deviation of the loss between seeds, in nats; without it, rates that
    were run more than once tell it; without either there is no interval. Losses that are not finite are diverged runs:
    left out and counted.

    Which rates. Loss rises faster above the best rate than below, and a parabola through all rates is drawn away by the
    steep side. The fit takes the best rate and its two neighbours, and two more, one on each side, as long as they lie
    on one parabola within 3 times the noise variance (without a noise: three rates). Measured on simulated curves
    (tests/benchmarks/bench_rates.py: 27 designs of 5 or 7 rates by factors of 2 or 4), the loss given away at the
    answer, as a share of what the best tested rate gives away:

        curvature at e times the best rate    as at the best   1.6 times   2.7 times   7.4 times
        these rates                                 .18           .33         .50         .74
        three rates                                 .38           .40         .47         .65
        five rates                                  .15           .42         .90        1.48
        all rates                                   .11           .45        1.13        2.04

    The interval knows noise only. On parabolas it holds the best as often as it says for given rates and .86 instead of
    .9 with this choice of rates; on the lopsided curves above .50, .41 and .32.

    UserError for rates that are not positive, sequences of unlike length, and a level or noise that cannot be.

    >>> from moewright import laws
    >>> found = laws.best_rate([1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3], [3.21, 3.12, 3.08, 3.10, 3.24], noise=0.005)
    >>> found.status, round(found.rate, 5), [round(end, 5) for end in found.interval]
    ('inside', 0.00045, [0.00042, 0.0005])
    """
    given, y = _checked(rates, losses, noise, level)
    finite = np.isfinite(y)
    lost, y = given[~finite], y[finite]
    tested, place = np.unique(given[finite], return_inverse=True)
    x = np.log(tested)[place]
    messages = _about_diverged(lost, tested)

    def answer(status: str, parabola: _Parabola | None = None, mask: Mask | None = None, **found: Any) -> RateOptimum:
        best = float(tested[lowest]) if len(tested) else None
        values: dict[str, Any] = {
            "rate": best,
            "interval": None,
            "loss": float(means[lowest]) if len(tested) else None,
            "curvature": None if parabola is None else 2 * parabola.a,
            "used": () if mask is None else tuple(tested[np.unique(place[mask])].tolist()),
            **found,
        }
        return RateOptimum(
            **values,
            status=status,
            grid_best=best,
            noise=sd,
            level=level,
            diverged=len(lost),
            messages=tuple(messages),
        )

    counts = np.bincount(place, minlength=len(tested))
    means = np.bincount(place, weights=y, minlength=len(tested)) / counts
    lowest = int(np.argmin(means)) if len(tested) else 0
    sd, freedom = (noise, None) if noise is not None else _noise_of_repeats(y - means[place], len(tested))
    if len(tested) < _FEWEST:
        messages.append(f"{len(tested)} rates with a finite loss, a parabola needs {_FEWEST}: test more")
        return answer("too_few")
    if lowest in (0, len(tested) - 1):
        return answer(_edge(lowest == 0, bool(lost.size and lost.max() > tested[-1]), messages))
    mask = _around(lowest, x, y, place, len(tested), sd)
    parabola = _fit(x[mask], y[mask])
    ends = None
    if sd is None:
        messages.append("no interval: state the noise between seeds, or repeat a rate with another seed")
        is_flat = parabola.a <= 0
    else:
        ends = parabola.ends(student_quantile((1 + level) / 2, freedom) * sd)
        is_flat = ends is None
    if is_flat:
        messages.append("the losses show no curvature beyond their noise: any of these rates is as good, or add seeds")
        return answer("flat", parabola, mask)
    if not tested[0] <= exp(parabola.vertex) <= tested[-1]:
        return answer(_edge(exp(parabola.vertex) < tested[0], False, messages), parabola, mask)
    return answer(
        "inside",
        parabola,
        mask,
        rate=exp(parabola.vertex),
        interval=None if ends is None else (exp(ends[0]), exp(ends[1])),
        loss=parabola.c - parabola.b**2 / (4 * parabola.a),
    )


def _checked(
    rates: Sequence[float] | Array, losses: Sequence[float] | Array, noise: float | None, level: float
) -> tuple[Array, Array]:
    """The rates and the losses as arrays, (R,) each."""
    given, y = np.asarray(rates, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if given.ndim != 1 or given.shape != y.shape:
        raise UserError(f"best_rate: give one loss for each rate, got {given.size} rates and {y.size} losses")
    if not (np.isfinite(given) & (given > 0)).all():
        raise UserError(f"best_rate: a learning rate is positive and finite, got {given.min():g}")
    if noise is not None:
        check_number(noise, "best_rate: noise", above=0)
    check_number(level, "best_rate: level", above=0, below=1)
    return given, y


def _noise_of_repeats(residual: Array, rates: int) -> tuple[float | None, int | None]:
    """The pooled standard deviation of repeats about their means, and its degrees of freedom; None without repeats."""
    freedom = len(residual) - rates
    pooled = sqrt(float(residual @ residual) / freedom) if freedom > 0 else 0.0
    # Repeats that agree to the last bit are copies of one run and say nothing about seeds.
    return (pooled, freedom) if pooled > 0 else (None, None)


def _around(lowest: int, x: Array, y: Array, place: npt.NDArray[Any], rates: int, noise: float | None) -> Mask:
    """The runs to fit: at the best rate, its neighbours, and as many more as lie on one parabola within the noise."""
    mask = np.abs(place - lowest) <= 1
    for reach in range(2, rates):
        wider = np.abs(place - lowest) <= reach
        if noise is None or wider.sum() == mask.sum():
            break
        parabola = _fit(x[wider], y[wider])
        z = x[wider] - parabola.center
        residual = y[wider] - (parabola.a * z**2 + parabola.b * z + parabola.c)
        if residual @ residual > _MISFIT * noise**2 * (wider.sum() - 3):
            break
        mask = wider
    return np.asarray(mask)


def _fit(x: Array, y: Array) -> _Parabola:
    center = float(x.mean())
    z = x - center
    design = np.stack([z**2, z, np.ones_like(z)], axis=1)
    a, b, c = np.linalg.lstsq(design, y, rcond=None)[0].tolist()
    return _Parabola(a, b, c, center, np.linalg.inv(design.T @ design))


def _edge(is_low: bool, diverges_above: bool, messages: list[str]) -> str:
    if is_low:
        messages.append("the best lies at or below the lowest rate tested: test lower rates")
        return "edge_low"
    if diverges_above:
        messages.append("the best is the highest rate that did not diverge: test rates between it and the next")
    else:
        messages.append("the best lies at or above the highest rate tested: test higher rates")
    return "edge_high"


def _about_diverged(lost: Array, tested: Array) -> list[str]:
    if not lost.size:
        return []
    messages = [f"runs without a finite loss, left out: {lost.size}, the lowest at rate {lost.min():.4g}"]
    if tested.size and lost.min() <= tested.max():
        messages.append(
            f"yet runs at rates up to {tested.max():.4g} ended well: look at the lost ones before believing"
        )
    return messages


# Student's t


def student_quantile(share: float, freedom: int | None) -> float:
    """The value that a share (between .5 and 1) of draws lies below; None degrees of freedom is the normal limit.

    Bisection on the finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4, to the last bits of a float.
    """
    if not 0.5 <= share < 1:
        raise ValueError(f"share must be at least .5 and below 1, got {share}")
    if freedom is None:
        return NormalDist().inv_cdf(share)
    low, high = 0.0, 1.0
    while _between(high, freedom) < 2 * share - 1 and high < inf:
        high *= 2
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if _between(middle, freedom) < 2 * share - 1 else (low, middle)
    return middle


def _between(value: float, freedom: int) -> float:
    """The share of draws between -value and value."""
    angle = atan(value / sqrt(freedom))
    odd = freedom % 2
    term = cos(angle) if odd else 1.0
    total = 0.0
    for power in range(1 + odd, freedom, 2):
        total += term
        term *= cos(angle) ** 2 * power / (power + 1)
    return 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total
