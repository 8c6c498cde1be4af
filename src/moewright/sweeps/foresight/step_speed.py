"""Seconds of a step from what it does: the work of a recipe's step, and a small model of speed."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moewright.architecture.counts import total_params, training_flops_per_token
from moewright.experiment.identity import decisive_settings
from moewright.experiment.recipe import Recipe
from moewright.laws.variable import Array
from moewright.sealed_records import digest

_NO_MATTER = ("seed", "train_tokens", "learning_rate", "schedule", "evaluation", "initialization")
"""Parts of a recipe that a step takes no longer for."""


@dataclass(frozen=True)
class StepShape:
    """One kind of step, which runs of a sweep share."""

    key: str
    """Equal for equal steps."""
    kind: str
    """What multiplies all times: precision, recomputation and optimizer. Each kind has a speed of its own."""
    work: Mapping[str, float]
    """What a step does.

    flops: as `moewright inspect` counts training. layers, experts: passes through a layer, and through one expert's
    products, forward and backward. params: what the optimizer goes through.
    """


def shape_of(recipe: Recipe) -> StepShape:
    """The shape of a recipe's steps."""
    architecture = recipe.architecture
    passes = recipe.batch_sequences // recipe.micro_batch_sequences
    layers = architecture.num_layers
    experts = sum(times * group.count for times, moe in architecture.moe_layers() for group in moe.groups)
    values = decisive_settings(recipe.to_dict(), without=_NO_MATTER)
    return StepShape(
        key=digest(values)[:16],
        kind=f"{recipe.precision} {recipe.optimizer.kind}{' recompute' if recipe.recompute else ''}",
        work={
            "flops": recipe.batch_tokens * training_flops_per_token(architecture, recipe.sequence_length),
            "layers": float(passes * layers),
            "experts": float(passes * experts),
            "params": float(total_params(architecture)),
        },
    )


def spread(shapes: Sequence[StepShape]) -> list[StepShape]:
    """The shapes in an order whose beginnings, however short, span them: first the one with most FLOPs, then always
    the one that is farthest from all before it, in the logarithms of its work."""
    if not shapes:
        return []
    points = np.log1p(np.array([list(shape.work.values()) for shape in shapes]))
    points /= np.maximum(np.ptp(points, axis=0), 1e-9)
    kinds = sorted({shape.kind for shape in shapes})
    kind = np.array([kinds.index(shape.kind) for shape in shapes])
    order = [max(range(len(shapes)), key=lambda i: shapes[i].work["flops"])]
    distance = np.full(len(shapes), np.inf)
    while len(order) < len(shapes):
        # Shapes of two kinds are farther from each other than any two of one: each kind is seen early.
        apart = np.linalg.norm(points - points[order[-1]], axis=1) + 10.0 * (kind != kind[order[-1]])
        distance = np.minimum(distance, apart)
        distance[order] = -1.0
        order.append(int(distance.argmax()))
    return [shapes[i] for i in order]


TERMS = ("flops", "layers", "experts", "params")


@dataclass(frozen=True)
class SpeedModel:
    """Seconds = sum of coefficient x work, no coefficient below 0."""

    coefficients: Mapping[str, float]
    """Seconds for one unit of work."""
    error: float | None
    """Root mean square of the relative errors of shapes that are left out in turn; None for fewer than three."""

    def seconds(self, shape: StepShape) -> float:
        """Of one step."""
        return sum(value * shape.work[name] for name, value in self.coefficients.items())


def fit_speed(shapes: Sequence[StepShape], seconds: Sequence[float], terms: Sequence[str] = TERMS) -> SpeedModel:
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
