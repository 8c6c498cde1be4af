"""Routers: scores, the choice of experts, and the weights of the chosen (gates).

N tokens, E experts of all groups, K choices of all groups, d width. Scores are computed in fp32 or better.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from moewright.architecture.feed_forwards import MoE, Router, group_score_experts
from moewright.lab.model.attention import weight
from moewright.lab.model.linear import linear

TINY = 1e-20
"""Keeps a sum of scores from being zero (DeepSeek-V3's module in transformers)."""


class Choices(NamedTuple):
    """What the routers of one layer decided."""

    experts: list[Tensor]
    """For each group (N, K_g): experts, numbered within the group."""
    gates: list[Tensor]
    """For each group (N, K_g): weights of the chosen."""
    shares: Tensor
    """(N, E): scores normalised to 1 for each router, over all experts; the P of the balance loss."""
    log_partition: Tensor
    """(N, R): log of the sum of exponentials of each of the R routers' logits."""
    logits: Tensor
    """(N, E)."""


class RouterLayer(nn.Module):
    """All routers of a mixture: one, or one for each group."""

    def __init__(self, moe: MoE, d: int):
        super().__init__()
        self.moe, self.spec = moe, moe.router
        self.counts = [group.count for group in moe.groups]
        self.weight = weight(sum(self.counts), d)
        self.bias = weight(sum(self.counts)) if moe.router.bias else None
        self.selection_bias: Tensor | None
        zeros = torch.zeros(sum(self.counts))
        if moe.router.selection_bias == "parameter":  # some modules register it so; it learns by no gradient
            self.selection_bias = nn.Parameter(zeros, requires_grad=False)
        else:
            self.register_buffer("selection_bias", zeros if moe.router.selection_bias == "buffer" else None)

    def router_slices(self) -> list[int]:
        """How many experts each router scores."""
        return self.counts if self.moe.router_per_group else [sum(self.counts)]

    def forward(self, x: Tensor, forced_uniform: bool = False) -> Choices:
        """x (N, d)."""
        logits = linear(x, self.weight, self.bias, torch.promote_types(x.dtype, torch.float32))
        parts = logits.split(self.router_slices(), dim=-1)
        scores = _joined([_scores(part, self.spec) for part in parts])
        shares = scores
        if self.spec.score != "softmax":
            by_router = scores.split(self.router_slices(), dim=-1)
            shares = _joined([_normalized(part) for part in by_router])
        ranks = scores.detach()
        if self.selection_bias is not None:
            ranks = ranks + self.selection_bias.to(ranks.dtype)
        experts = []
        for group, part in zip(self.moe.groups, ranks.split(self.counts, dim=-1), strict=True):
            if forced_uniform:
                turn = torch.arange(len(x) * group.top_k, device=x.device) % group.count
                experts.append(turn.view(len(x), group.top_k))
            else:
                allowed = part if self.spec.num_groups == 1 else _in_best_groups(part, self.spec)
                experts.append(allowed.topk(group.top_k, dim=-1).indices)
        chosen = [
            part.gather(-1, index)
            for part, index in zip(
                (logits if self.spec.score_after_top_k else scores).split(self.counts, dim=-1), experts, strict=True
            )
        ]
        if self.spec.score_after_top_k:
            chosen = self._over_routers(chosen, lambda values: _scores(values, self.spec))
        if self.spec.normalize:
            chosen = self._over_routers(chosen, _normalized)
        gates = [values * self.spec.scale for values in chosen] if self.spec.scale != 1 else chosen
        log_partition = torch.stack([part.logsumexp(-1) for part in parts], dim=-1)
        return Choices(experts, gates, shares, log_partition, logits)

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
