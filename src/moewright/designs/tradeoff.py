"""The trade-off between sparsity and expert count when both budgets are full (arXiv 2601.08215's algebra).

With attention of 4 d^2 and gated experts of 3 d d_e weights a layer, N_total = l d^2 (4 + 3 E/g) and N_active =
l d^2 (4 + 3 K/g), g = d/d_e. So N_total/N_active = r = (E + e0)/(K + e0) with e0 = 4 g/3, and at fixed g

    K = (E + e0)/r - e0,    s = E/K = r / (1 - b/E),    b = e0 (r - 1).

The smallest sparsity wants many experts, the fewest experts a large sparsity: two wishes of one principle in conflict.
With g free they are not: coarser experts make e0 and b small, and s falls to r whatever E is. Embeddings, router and
norms are left out of both counts.
"""

from dataclasses import dataclass

from moewright.designs.space import Space


def expert_offset(granularity: float) -> float:
    """e0: attention's weights in units of one expert's, for multi-head attention and gated experts."""
    return 4 * granularity / 3


def conflict_scale(ratio: float, granularity: float) -> float:
    """b = e0 (r - 1): experts below which the sparsity rises steeply; K reaches 1 at E = r + b."""
    return expert_offset(granularity) * (ratio - 1)


def sparsity_at(num_experts: float, ratio: float, granularity: float) -> float | None:
    """s = E/K that fills both budgets; None where that would take less than one active expert."""
    active = (num_experts + expert_offset(granularity)) / ratio - expert_offset(granularity)
    return num_experts / active if active >= 1 else None


def best_num_experts(ratio: float, granularity: float, sparsity_exponent: float, experts_exponent: float) -> float:
    """E of least loss at fixed g for a law with b log s + g log E: b_scale (1 + beta/gamma), by dL/dE = 0."""
    return conflict_scale(ratio, granularity) * (1 + sparsity_exponent / experts_exponent)


@dataclass(frozen=True)
class TradeOff:
    """The table for one pair of budgets."""

    ratio: float
    """r = N_total / N_active, without embeddings."""
    granularity: float
    """g = d / d_e that is held fixed."""
    rows: tuple[tuple[int, float | None, float | None], ...]
    """(E, s at this g, s at the coarsest experts that the space and K >= 1 allow)."""


def trade_off(ratio: float, granularity: float, space: Space) -> TradeOff:
    """The sparsity that fills both budgets, for each expert count of the space."""
    coarsest = 1 / space.most_expert_size_over_width
    rows = [
        (experts, sparsity_at(experts, ratio, granularity), sparsity_at(experts, ratio, coarsest))
        for experts in sorted(space.experts)
    ]
    return TradeOff(ratio, granularity, tuple(rows))
