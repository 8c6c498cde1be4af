"""Seconds of a step from what it does: a small model of speed, fitted to the shapes that were measured. No torch.

Its terms were chosen by the leave-one-out error on 72 finished runs of 10 shapes of examples/small_mixtures (one core
each, 57 to 451 ms a step): FLOPs alone miss by 33 %, with layers and experts by 15 %, with the optimizer's parameters
too by 11 %. The choice and the error come from the same runs, and other sets come as close (layers, experts, channels
and parameters: 9.9 %). A constant is not among them: what a step costs at least grows with its layers.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moewright.sweeps.foresight.shapes import Shape

Array = npt.NDArray[np.float64]

TERMS = ("flops", "layers", "experts", "params")


@dataclass(frozen=True)
class SpeedModel:
    """Seconds = sum of coefficient x work, no coefficient below 0."""

    coefficients: Mapping[str, float]
    """Seconds for one unit of work."""
    error: float | None
    """Root mean square of the relative errors of shapes that are left out in turn; None for fewer than three."""

    def seconds(self, shape: Shape) -> float:
        """Of one step."""
        return sum(value * shape.work[name] for name, value in self.coefficients.items())


def fit_speed(shapes: Sequence[Shape], seconds: Sequence[float], terms: Sequence[str] = TERMS) -> SpeedModel:
    """The model with the least squares of relative errors, for at least one measured shape."""
    work = np.array([[shape.work[term] for term in terms] for shape in shapes])
    measured = np.asarray(seconds, dtype=np.float64)
    errors = (
        [_fit(np.delete(work, i, 0), np.delete(measured, i)) @ work[i] / measured[i] - 1 for i in range(len(shapes))]
        if len(shapes) > 2
        else []
    )
    error = float(np.sqrt(np.mean(np.square(errors)))) if errors else None
    return SpeedModel(dict(zip(terms, map(float, _fit(work, measured)), strict=True)), error)


def _fit(work: Array, seconds: Array) -> Array:
    """Coefficients at or above 0 with least squares of relative errors.

    The best of all subsets of the terms whose plain least squares are above 0, which is the exact solution for so few
    terms (Lawson and Hanson 1974, chapter 23). Fewer terms than shapes, so that no subset fits by having as many.
    """
    relative = work / seconds[:, None]
    best: tuple[float, Array] | None = None
    for chosen in _subsets(work.shape[1], max(1, len(seconds) - 1)):
        part = relative[:, chosen]
        scale = np.maximum(np.abs(part).max(axis=0), np.finfo(float).tiny)
        solution = np.linalg.lstsq(part / scale, np.ones(len(seconds)), rcond=None)[0] / scale
        if not (solution > 0).all():
            continue
        residual = float(np.square(part @ solution - 1).sum())
        if best is None or residual < best[0] - 1e-12:
            coefficients = np.zeros(work.shape[1])
            coefficients[chosen] = solution
            best = residual, coefficients
    assert best is not None, "FLOPs alone always fit with a coefficient above 0"
    return best[1]


def _subsets(terms: int, most: int) -> Iterator[list[int]]:
    """Indices of 1 to `most` terms, small subsets first."""
    for size in range(1, min(terms, most) + 1):
        yield from map(list, itertools.combinations(range(terms), size))
