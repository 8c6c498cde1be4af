"""Capacity: which of the chosen (token, expert) pairs an expert still takes."""

import math

import torch
from torch import Tensor

from moewright.experiment.routing import Capacity


def expert_capacity(capacity: Capacity, tokens: int, top_k: int, num_experts: int) -> int | None:
    """Choices that one expert takes; None: all of them."""
    if capacity.factor >= num_experts:  # room for every token, and no token chooses an expert twice
        return None
    even = capacity.factor * tokens * top_k / num_experts
    whole = math.ceil(even) if capacity.rounding == "ceil" else math.floor(even)
    return -(-whole // capacity.multiple) * capacity.multiple


def within_capacity(experts: Tensor, gates: Tensor, valid: Tensor | None, limit: int, drop: str) -> Tensor:
    """Which choices are kept: bool (N, K) for experts and gates (N, K); `valid` (N, 1) is False for padding.

    drop "position" keeps the first in the order of tokens (and of a token's choices), "score" those of highest gate.
    """
    flat = experts.reshape(-1)
    if valid is not None:
        flat = torch.where(valid.expand_as(experts).reshape(-1), flat, flat.max() + 1)  # in nobody's queue
    if drop == "score":
        by_score = torch.argsort(gates.detach().reshape(-1), descending=True, stable=True)
        order = by_score[torch.argsort(flat[by_score], stable=True)]
    else:
        order = torch.argsort(flat, stable=True)
    sorted_experts = flat[order]
    starts = torch.searchsorted(sorted_experts, sorted_experts)  # where each one's queue begins
    places = torch.arange(len(flat), device=flat.device) - starts
    kept = torch.empty_like(flat, dtype=torch.bool)
    kept[order] = places < limit
    kept = kept.view_as(experts)
    return kept if valid is None else kept & valid
