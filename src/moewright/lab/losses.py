"""Losses of a batch: the gradients of an optimizer step, and validation losses.

All losses of a step are shares of the whole batch's: each micro-batch adds its part, so gradients of all of them, over
all processes, just add up. Validation losses are of every set apart,
dropless and, where a capacity is in play, with it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moewright.data.batches import Batches, document_ids
from moewright.experiment.metrics import RoutingMetrics
from moewright.experiment.planning import ValidationSets
from moewright.experiment.recipe import Recipe
from moewright.lab.model import Transformer
from moewright.lab.model.balancing import RoutingTotals, balance_loss, z_loss
from moewright.lab.model.moe import RoutingMode
from moewright.lab.sharding import World


@dataclass
class StepLosses:
    """Of the whole batch."""

    cross_entropy: float
    """Nats per token."""
    balance: list[float]
    """For each of the recipe's balance losses, weight included."""
    z: float
    """Weight included."""
    totals: RoutingTotals
    prediction: list[float]
    """For each prediction block, weight included."""

    @property
    def values(self) -> list[float]:
        """All of them."""
        return [self.cross_entropy, *self.balance, self.z, *self.prediction]


def local_micro_batches(recipe: Recipe, members: World) -> int:
    """Forward passes of this process in one step."""
    return recipe.batch_sequences // (members.size * recipe.micro_batch_sequences)


def accumulate_gradients(
    model: Transformer, recipe: Recipe, batches: Batches, step: int, members: World, end_of_document: int | None
) -> StepLosses:
    """Forward and backward over this process's part of the step's sequences; gradients are left in the parameters.

    The losses in the result are summed over processes, the gradients are not.
    """
    count, size = local_micro_batches(recipe, members), recipe.micro_batch_sequences
    first = step * recipe.batch_sequences + members.rank * count * size
    starts = range(first, first + count * size, size)
    bias = recipe.balancing.selection_bias
    quantiles = bias is not None and bias.update == "quantile"
    mode = RoutingMode(recipe.dispatch.capacity, recipe.dispatch.forced == "uniform", quantiles)
    moe_layers = model.moe_layers()
    balancing = recipe.balancing
    totals = RoutingTotals(moe_layers, members.device)
    wants_global = any(loss.scope == "global_batch" for loss in balancing.losses)
    global_loads: list[Tensor] | None = None
    if wants_global and count > 1:
        counting = mode._replace(quantiles=False)
        global_loads = _count_loads(model, recipe, batches, starts, members, counting, end_of_document)
    share = 1 / (count * members.size)
    blocks = recipe.architecture.mtp_layers
    prediction_weight = recipe.prediction_loss_weight if blocks else 0.0
    sums = torch.zeros(2 + len(balancing.losses), dtype=torch.float64, device=members.device)
    prediction = torch.zeros(blocks, dtype=torch.float64, device=members.device)
    for start in starts:
        inputs, targets, documents = load_batch(batches, start, size, members.device, recipe, end_of_document)
        scale = 1 / (recipe.batch_sequences * recipe.sequence_length)
        losses, routings = model(
            inputs,
            targets=targets,
            loss_scale=scale,
            document_ids=documents,
            mode=mode,
            prediction_weight=prediction_weight,
        )
        loss, *predicted = losses.unbind() if blocks else [losses]
        totals.add(routings)
        if wants_global and count == 1:
            global_loads = [members.sum_(routing.loads.sum(0)) for routing in routings]
        parts = [loss]
        if routings:
            parts += [share * balance_loss(each, routings, moe_layers, global_loads) for each in balancing.losses]
            parts.append(share * balancing.z_loss * z_loss(routings))
        sums[: len(parts)] += torch.stack([part.detach().to(sums.dtype) for part in parts])
        if predicted:
            prediction += torch.stack(predicted).detach()
        torch.stack([part.to(loss.dtype) for part in (*parts, *predicted)]).sum().backward()
    for tensor in (sums, prediction, *totals.tensors()):
        members.sum_(tensor)
    cross_entropy, *auxiliary = sums.tolist()
    return StepLosses(cross_entropy, auxiliary[:-1], auxiliary[-1], totals, prediction.tolist())


def load_batch(
    batches: Batches, start: int, count: int, device: torch.device, recipe: Recipe, end_of_document: int | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Inputs, targets and, where documents are masked, document numbers; each (count, sequence_length)."""
    inputs, targets = batches.take(start, count)
    documents = None
    if recipe.document_mask:
        assert end_of_document is not None, "checked before training"
        documents = torch.from_numpy(document_ids(inputs, end_of_document)).to(device)
    return torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device), documents


@torch.no_grad()
def _count_loads(
    model: Transformer,
    recipe: Recipe,
    batches: Batches,
    starts: Sequence[int],
    members: World,
    mode: RoutingMode,
    end_of_document: int | None,
) -> list[Tensor]:
    """Every expert's choices over the whole step, by a forward pass of its own: what the balance of a batch that is
    larger than one forward pass costs, a quarter of the step."""
    totals = RoutingTotals(model.moe_layers(), members.device)
    for start in starts:
        size = recipe.micro_batch_sequences
        inputs, targets, documents = load_batch(batches, start, size, members.device, recipe, end_of_document)
        weight = recipe.prediction_loss_weight if recipe.architecture.mtp_layers else 0.0
        _, routings = model(
            inputs, targets=targets, document_ids=documents, mode=mode, head=False, prediction_weight=weight
        )
        totals.add(routings)
    return [members.sum_(loads) for loads in totals.loads]


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
    totals = RoutingTotals(model.moe_layers(prediction=False), members.device)
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
            inputs, targets, documents = load_batch(batches, start, count, members.device, recipe, sets.end_of_document)
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
