"""A model that is trained once and then served: the size and the tokens of least FLOPs in all, at the same loss.

Sardana et al. 2024 (arXiv 2401.00448) minimise 6 N D + 2 N S over the parameters N and the training tokens D under
L(N, D) = l, with S tokens served: the more are served, the smaller a model and the longer its training. Their N is a
dense model's. Of a mixture only the active parameters compute, and all its sizes are scaled alike here, total and
active, embeddings included: what a law knows else of a shape, such as sparsity and granularity, stays as it is.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from moewright.laws.bisection import halved
from moewright.laws.law import InapplicableLaw, Law
from moewright.laws.repeated_data import tokens_worth
from moewright.laws.variable import Array, Mask
from moewright.records import Record

_FARTHEST_SIZE = 100.0
"""How many times smaller or larger a model is looked for."""
_FARTHEST_TOKENS = 1e6
_STEPS, _ZOOMS = 121, 5
"""Sizes that are tried at once, evenly in the logarithm, and how often between the neighbours of the best: to 1e-9."""
_HALVINGS = 60
"""Of the interval of tokens: to a relative 1e-16."""


@dataclass(frozen=True)
class Lifetime:
    """A model's life: active parameters, tokens trained, different ones among them (None: all), tokens served."""

    active_params: float
    train_tokens: float
    unique_tokens: float | None
    served_tokens: float

    @property
    def flops(self) -> float:
        """6 N_a D of training and 2 N_a S of serving."""
        return float(lifetime_flops(self.active_params, self.train_tokens, self.served_tokens))


class LeastBill(Record):
    """The model of the same shape and loss whose training and serving take least, by one law."""

    size: float
    """Times the given model's, total and active alike."""
    active_params: float
    train_tokens: float
    flops: float
    """Of training and serving."""
    saved: float
    """Share of the given model's bill; 0 where that is the least."""
    outside: Mapping[str, float]
    """Variables outside the law's runs there, and how many times too far."""
    active_params_unserved: float
    """The same with training alone in the bill, to see what serving changes."""
    train_tokens_unserved: float


def lifetime_flops(active_params: Any, train_tokens: Any, served_tokens: Any) -> Any:
    """6 N_a D + 2 N_a S: Sardana et al. 2024 (arXiv 2401.00448), numbers or arrays."""
    return active_params * (6 * train_tokens + 2 * served_tokens)


def least_bill(law: Law, variables: Mapping[str, float], life: Lifetime) -> LeastBill:
    """What a law of loss that gives `variables` for the model says; InapplicableLaw where it cannot."""
    sizes = [variable.name for variable in law.inputs if variable.unit == "parameters"]
    if "train_tokens" not in variables or not sizes:
        raise InapplicableLaw("no variable for training tokens, or none for the size")
    wanted = float(law.bare_loss(variables))

    def at(size: Any, tokens: Any) -> dict[str, Any]:
        return {**variables, **{name: variables[name] * size for name in sizes}, "train_tokens": tokens}

    def tokens_for(size: Array) -> Array:
        """New tokens that bring models of these sizes (S,) to the loss; infinite where none do."""

        def is_too_few(times: Array) -> Mask:
            """Of the logarithm of how many times the tokens."""
            return ~np.asarray(law.bare_loss(at(size, variables["train_tokens"] * np.exp(times))) <= wanted)

        farthest = np.full(size.shape, math.log(_FARTHEST_TOKENS))
        with np.errstate(all="ignore"):
            reached = ~is_too_few(farthest)
            _, times = halved(is_too_few, -farthest, farthest, _HALVINGS)
        return np.where(reached, variables["train_tokens"] * np.exp(times), np.inf)

    def least(served: float) -> tuple[float, float]:
        """The size of least FLOPs and its tokens, by ever finer grids."""
        low, high = 1 / _FARTHEST_SIZE, _FARTHEST_SIZE
        for zoom in range(_ZOOMS):
            sizes = np.geomspace(low, high, _STEPS)
            trained = tokens_worth(tokens_for(sizes), life.unique_tokens)
            best = int(np.argmin(lifetime_flops(sizes, trained, served)))
            if zoom == 0 and best in (0, _STEPS - 1):
                raise InapplicableLaw(f"the least lies more than {_FARTHEST_SIZE:g} times away in size")
            low, high = sizes[max(best - 1, 0)], sizes[min(best + 1, _STEPS - 1)]
        return float(sizes[best]), float(trained[best])

    size, trained = least(life.served_tokens)
    alone, trained_alone = least(0.0)
    flops = lifetime_flops(life.active_params * size, trained, life.served_tokens)
    there = law.domain(**{name: float(value) for name, value in at(size, float(tokens_for(np.asarray(size)))).items()})
    return LeastBill(
        size=size,
        active_params=life.active_params * size,
        train_tokens=trained,
        flops=flops,
        saved=max(0.0, 1 - flops / life.flops),
        outside={each.variable: float(each.factor) for each in there.values() if each.status in ("below", "above")},
        active_params_unserved=life.active_params * alone,
        train_tokens_unserved=trained_alone,
    )
