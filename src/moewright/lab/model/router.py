"""Which experts a token goes to: scores, the choice, the weights of the chosen (gates), and what capacity drops.

Letters: `lab.model.transformer`. Scores are computed in fp32 or better.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from moewright.architecture.feed_forwards import MoE, Router, group_score_experts
from moewright.experiment.routing import Capacity
from moewright.lab.model.operations import linear, parameter

TINY = 1e-20
"""Keeps a sum of scores from being zero (DeepSeek-V3's module in transformers)."""


class Choices(NamedTuple):
    """What the routers of one layer decided."""

    experts: list[Tensor]
    """For each group (N, K): experts, numbered within the group."""
    gates: list[Tensor]
    """For each group (N, K): weights of the chosen."""
    shares: Tensor
    """(N, E): scores normalised to 1 for each router, over all experts; the P of the balance loss."""
    log_partition: Tensor
    """(N, routers): log of the sum of exponentials of each router's logits."""
    logits: Tensor
    """(N, E)."""
    scores: Tensor
    """(N, E): what chose, before the selection bias; no gradients."""


class RouterLayer(nn.Module):
    """All routers of a mixture: one, or one for each group of experts."""

    def __init__(self, moe: MoE, width: int):
        super().__init__()
        self.moe, self.spec = moe, moe.router
        self.counts = [group.count for group in moe.groups]
        self.weight = parameter(sum(self.counts), width)
        self.bias = parameter(sum(self.counts)) if moe.router.bias else None
        self.selection_bias: Tensor | None
        zeros = torch.zeros(sum(self.counts))
        if moe.router.selection_bias == "parameter":  # some modules register it so; it learns by no gradient
            self.selection_bias = nn.Parameter(zeros, requires_grad=False)
        else:
            self.register_buffer("selection_bias", zeros if moe.router.selection_bias == "buffer" else None)

    def router_slices(self) -> list[int]:
        """How many experts each router scores."""
        return self.counts if self.moe.router_per_group else [sum(self.counts)]

    def forward(self, x_ND: Tensor, forced_uniform: bool = False) -> Choices:
        """Choices for every token. `forced_uniform`: all experts in turn, whatever the scores."""
        logits_NE = linear(x_ND, self.weight, self.bias, torch.promote_types(x_ND.dtype, torch.float32))
        by_router = logits_NE.split(self.router_slices(), dim=-1)
        scores_NE = _joined([_scores(part, self.spec) for part in by_router])
        shares_NE = scores_NE
        if self.spec.score != "softmax":
            shares_NE = _joined([_normalized(part) for part in scores_NE.split(self.router_slices(), dim=-1)])
        experts = self._choose(scores_NE.detach(), forced_uniform)
        values_NE = logits_NE if self.spec.score_after_top_k else scores_NE
        by_group = values_NE.split(self.counts, dim=-1)
        gates = [part.gather(-1, index) for part, index in zip(by_group, experts, strict=True)]
        if self.spec.score_after_top_k:
            gates = self._over_routers(gates, lambda values: _scores(values, self.spec))
        if self.spec.normalize:
            gates = self._over_routers(gates, _normalized)
        if self.spec.scale != 1:
            gates = [values * self.spec.scale for values in gates]
        log_partition = torch.stack([part.logsumexp(-1) for part in by_router], dim=-1)
        return Choices(experts, gates, shares_NE, log_partition, logits_NE, scores_NE.detach())

    @torch.no_grad()
    def even_bias(self, scores_NE: Tensor) -> Tensor:
        """The selection bias (E,) with which each expert would have had its even load; as it is where N is 0.

        Quantile balancing (J. Su 2026, kexue.fm/archives/11619): a token takes an expert whose score and bias exceed
        the token's cutoff, its (K+1)-th largest sum of score and bias. With cutoffs as they were, q = N K / E tokens
        take the expert if its bias is the q-th smallest difference of cutoff and score, counted from 0; between two of
        them in proportion where q is not whole. Megatron-Core's `qb_dual_update` is the same on logits.
        """
        assert self.selection_bias is not None, "checked before training"
        bias_E = self.selection_bias.to(scores_NE.dtype)
        if not len(scores_NE):
            return bias_E
        even = []
        for group, scores, bias in zip(
            self.moe.groups, scores_NE.split(self.counts, dim=-1), bias_E.split(self.counts), strict=True
        ):
            cutoffs_N1 = (scores + bias).topk(group.top_k + 1, dim=-1).values[:, -1:]
            needed_EN = (cutoffs_N1 - scores).t().contiguous()
            load = len(scores) * group.top_k / group.count
            below, above = (
                needed_EN.kthvalue(min(1 + at, len(scores))).values for at in (math.floor(load), math.ceil(load))
            )
            even.append(below + (above - below) * (load - math.floor(load)))
        return _joined(even)

    def _choose(self, ranks_NE: Tensor, forced_uniform: bool) -> list[Tensor]:
        """The experts of highest rank of each group (N, K). The selection bias ranks; it weighs nothing."""
        if self.selection_bias is not None:
            ranks_NE = ranks_NE + self.selection_bias.to(ranks_NE.dtype)
        tokens, experts = len(ranks_NE), []
        for group, ranks in zip(self.moe.groups, ranks_NE.split(self.counts, dim=-1), strict=True):
            if forced_uniform:
                turn = torch.arange(tokens * group.top_k, device=ranks.device) % group.count
                experts.append(turn.view(tokens, group.top_k))
            else:
                allowed = ranks if self.spec.num_groups == 1 else _in_best_groups(ranks, self.spec)
                experts.append(allowed.topk(group.top_k, dim=-1).indices)
        return experts

    def _over_routers(self, chosen: list[Tensor], function: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """A function over each router's chosen values: a group's own, or all groups' together."""
        if self.moe.router_per_group:
            return [function(values) for values in chosen]
        together = function(_joined(chosen))
        return list(together.split([values.shape[-1] for values in chosen], dim=-1))


def _scores(logits: Tensor, spec: Router) -> Tensor:
    if spec.score == "softmax":
        return logits.softmax(-1)
    return logits.sigmoid() if spec.score == "sigmoid" else softplus(logits).sqrt()


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=-1)


def _normalized(values: Tensor) -> Tensor:
    return values / (values.sum(-1, keepdim=True) + TINY)


def _in_best_groups(ranks: Tensor, spec: Router) -> Tensor:
    """Ranks with the experts outside the best groups at minus infinity (DeepSeek-V2 section 2.2.2, V3 2.1.2)."""
    grouped = ranks.view(len(ranks), spec.num_groups, -1)
    scores = grouped.topk(min(group_score_experts(spec), grouped.shape[-1]), dim=-1).values.sum(-1)
    best = scores.topk(spec.top_groups, dim=-1).indices
    outside = torch.ones_like(scores, dtype=torch.bool).scatter_(-1, best, False)
    return grouped.masked_fill(outside.unsqueeze(-1), -torch.inf).view_as(ranks)


# Capacity: which of the chosen (token, expert) pairs an expert still takes


def expert_capacity(capacity: Capacity, tokens: int, top_k: int, num_experts: int) -> int | None:
    """Choices that one expert takes; None: all of them."""
    if capacity.factor >= num_experts:  # room for every token, and no token chooses an expert twice
        return None
    even = capacity.factor * tokens * top_k / num_experts
    whole = math.ceil(even) if capacity.rounding == "ceil" else math.floor(even)
    return -(-whole // capacity.multiple) * capacity.multiple


def within_capacity(experts_NK: Tensor, gates_NK: Tensor, valid_N1: Tensor | None, limit: int, drop: str) -> Tensor:
    """Which choices are kept: bool (N, K); `valid_N1` is False for padding.

    drop "position" keeps the first in the order of tokens (and of a token's choices), "score" those of highest gate.
    """
    flat = experts_NK.reshape(-1)
    if valid_N1 is not None:
        flat = torch.where(valid_N1.expand_as(experts_NK).reshape(-1), flat, flat.max() + 1)  # in nobody's queue
    if drop == "score":
        by_score = torch.argsort(gates_NK.detach().reshape(-1), descending=True, stable=True)
        order = by_score[torch.argsort(flat[by_score], stable=True)]
    else:
        order = torch.argsort(flat, stable=True)
    sorted_experts = flat[order]
    starts = torch.searchsorted(sorted_experts, sorted_experts)  # where each one's queue begins
    places = torch.arange(len(flat), device=flat.device) - starts
    kept = torch.empty_like(flat, dtype=torch.bool)
    kept[order] = places < limit
    kept_NK = kept.view_as(experts_NK)
    return kept_NK if valid_N1 is None else kept_NK & valid_N1
