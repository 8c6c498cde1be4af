"""Validation losses: every set apart, dropless and, where a capacity is in play, with it."""

import math
from dataclasses import dataclass

import torch

from moewright.experiment.metrics import RoutingMetrics
from moewright.experiment.planning import ValidationSets
from moewright.experiment.recipe import Recipe
from moewright.lab.model import Transformer
from moewright.lab.model.balancing import RoutingTotals
from moewright.lab.model.moe import RoutingMode
from moewright.lab.sharding import World
from moewright.lab.step import load


@dataclass(frozen=True)
class EvaluationReport:
    """Losses in nats per token by validation set, and over all of their tokens."""

    loss: float
    by_set: dict[str, float]
    bits_per_byte: dict[str, float]
    """Of the sets whose bytes are known; dropless."""
    capacity_loss: float | None
    """With the recipe's evaluation capacity; None where there is none."""
    capacity_by_set: dict[str, float]
    tokens_by_set: dict[str, int]
    routing: RoutingMetrics
    """By layer, dropless."""


def evaluate(model: Transformer, recipe: Recipe, sets: ValidationSets, members: World) -> EvaluationReport:
    """The losses of the model as it is. Nothing in it changes: selection biases rest."""
    dispatch = recipe.dispatch
    forced = dispatch.forced == "uniform"
    totals = RoutingTotals(model.moe_layers(), members.device)
    by_set = _losses(model, recipe, sets, members, RoutingMode(None, forced), totals)
    capacity = dispatch.evaluation_capacity or dispatch.capacity
    capped = _losses(model, recipe, sets, members, RoutingMode(capacity), None) if capacity is not None else {}
    tokens = {name: count * recipe.sequence_length for name, count in sets.counts.items()}
    return EvaluationReport(
        loss=_mean(by_set, tokens),
        by_set=by_set,
        bits_per_byte={
            name: by_set[name] / math.log(2) / per_token
            for name, per_token in sets.bytes_per_token.items()
            if name in by_set
        },
        capacity_loss=_mean(capped, tokens) if capped else None,
        capacity_by_set=capped,
        tokens_by_set=tokens,
        routing=totals.metrics(),
    )


def _mean(losses: dict[str, float], tokens: dict[str, int]) -> float:
    return sum(losses[name] * tokens[name] for name in losses) / sum(tokens.values())


@torch.no_grad()
def _losses(
    model: Transformer,
    recipe: Recipe,
    sets: ValidationSets,
    members: World,
    mode: RoutingMode,
    totals: RoutingTotals | None,
) -> dict[str, float]:
    size = recipe.micro_batch_sequences
    sums = torch.zeros(len(sets.batches), dtype=torch.float64, device=members.device)
    for index, (name, batches) in enumerate(sets.batches.items()):
        # Every process makes as many forward passes as the first, since a sharded model needs all of them each time;
        # the last ones may have nothing to add.
        starts = range(0, sets.counts[name], size)
        for turn in range(0, len(starts), members.size):
            mine = turn + members.rank
            start = starts[min(mine, len(starts) - 1)]
            count = min(size, sets.counts[name] - start)
            inputs, targets, documents = load(batches, start, count, members.device, recipe, sets.end_of_document)
            loss, routings = model(inputs, targets=targets, document_ids=documents, mode=mode)
            if mine < len(starts):
                sums[index] += loss
                if totals is not None:
                    totals.add(routings)
    for tensor in (sums, *(totals.tensors() if totals is not None else [])):
        members.sum_(tensor)
    losses = sums.tolist()
    return {
        name: losses[index] / (sets.counts[name] * recipe.sequence_length) for index, name in enumerate(sets.batches)
    }
