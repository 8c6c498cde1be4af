"""Models that a page puts beside the designs of its what-if: those that were given, and the published ones nearest."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moewright.architecture import Architecture, counts
from moewright.architecture.feed_forwards import MoE
from moewright.designs.baseline import sizes_of
from moewright.designs.budgets import Budgets
from moewright.designs.judges import JudgingLaw, loss_of
from moewright.designs.rules import published_mixtures
from moewright.designs.vicinity import Vicinity, trained_with
from moewright.hf.loading import Loaded, load_architecture
from moewright.laws import InapplicableLaw
from moewright.report.page.layer_picture import DrawnLayers
from moewright.report.page.what_if_data import model_figures, without_serving

MOST_NEAR = 12
"""Published models that a page carries beside those that were given: config and spec of one are some 5 kB."""


@dataclass(frozen=True)
class ComparedModel:
    """A model that may stand beside designs."""

    name: str
    architecture: Architecture
    taken: Mapping[str, str]
    """Texts to take home, by what each is called: `spec`, `config.json`, `command`."""


def nearest_models(total_params: float, active_params: float, without: Sequence[str]) -> list[Loaded]:
    """The published mixtures nearest in both sizes, nearest first."""

    def distance(architecture: Architecture) -> float:
        sizes = (counts.total_params(architecture), total_params), (counts.active_params(architecture), active_params)
        return sum(abs(math.log(one / other)) for one, other in sizes)

    near = sorted(published_mixtures(), key=lambda entry: distance(entry.architecture))
    return [load_architecture(entry.name) for entry in near if entry.name not in without][:MOST_NEAR]


def compared_models(
    vicinity: Vicinity, models: Sequence[ComparedModel], devices: Sequence[tuple[int, int]]
) -> list[dict[str, Any]]:
    """Plain values of each: figures as `model_figures` has them, sizes as `SIZE_WORDS` names them, the layers' picture,
    and each law's loss by training, null where the law says nothing of it."""
    return [_compared(vicinity, model, devices) for model in models]


def _compared(vicinity: Vicinity, model: ComparedModel, devices: Sequence[tuple[int, int]]) -> dict[str, Any]:
    a, budgets = model.architecture, without_serving(vicinity.problem.budgets)
    amounts = [trained_with(budgets, training.amount) for training in vicinity.trainings]
    sizes: dict[str, float] = {"hidden_size": a.hidden_size, "num_layers": a.num_layers}
    if a.moe_layers():
        is_mixture = [isinstance(layer.feed_forward, MoE) for layer in a.iter_layers()]
        sizes = {**sizes_of(a), "dense_first": is_mixture.index(True)}
    return {
        "name": model.name,
        **model_figures(vicinity, a, devices),
        "sizes": sizes,
        "losses": {judge.name: [_loss(judge, a, trained) for trained in amounts] for judge in vicinity.problem.judges},
        "picture": DrawnLayers.of(a).to_dict(),
        "taken": dict(model.taken),
    }


def _loss(judge: JudgingLaw, architecture: Architecture, budgets: Budgets) -> float | None:
    try:
        loss = loss_of(judge, architecture, budgets)
    except InapplicableLaw:
        return None
    return loss if math.isfinite(loss) else None
