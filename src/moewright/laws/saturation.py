"""The saturating expert count that Clark et al. introduced and later laws reuse (arXiv 2202.01169, section 4.2)."""

from typing import Any

from moewright.laws.variable import Values


def saturated(num_experts: Values, start: Values, end: Values, offset: float = 0.0) -> Any:
    """The count that acts: about `start` for one expert, growing with their number, never above `end`.

    `offset` (phi) is added to the count by arXiv 2502.05172; Clark et al. have none.
    """
    return 1 / (1 / (num_experts - 1 + offset + 1 / (1 / start - 1 / end)) + 1 / end)
