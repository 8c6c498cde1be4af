"""What decides how long an optimizer step takes, as far as recipes and architectures say. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moewright.architecture.counts import total_params, training_flops_per_token
from moewright.experiment.identity import decisive_settings, digest
from moewright.experiment.recipe import Recipe

_NO_MATTER = ("seed", "train_tokens", "learning_rate", "schedule", "evaluation", "initialization")
"""Parts of a recipe that a step takes no longer for."""


@dataclass(frozen=True)
class Shape:
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


def shape_of(recipe: Recipe) -> Shape:
    """The shape of a recipe's steps."""
    architecture = recipe.architecture
    passes = recipe.batch_sequences // recipe.micro_batch_sequences
    layers = architecture.num_layers
    experts = sum(times * group.count for times, moe in architecture.moe_layers() for group in moe.groups)
    values = decisive_settings(recipe.to_dict(), without=_NO_MATTER)
    return Shape(
        key=digest(values)[:16],
        kind=f"{recipe.precision} {recipe.optimizer.kind}{' recompute' if recipe.recompute else ''}",
        work={
            "flops": recipe.batch_tokens * training_flops_per_token(architecture, recipe.sequence_length),
            "layers": float(passes * layers),
            "experts": float(passes * experts),
            "params": float(total_params(architecture)),
        },
    )


def spread(shapes: Sequence[Shape]) -> list[Shape]:
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
