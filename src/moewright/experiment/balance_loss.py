"""What auxiliary balancing losses have: a weight, what they balance over, a formula of loads and shares. No torch.

A balancing loss is one file in `balance_losses`: its settings in a recipe and its arithmetic, which is written with the
operators and methods of the tensors that it is given, so that a recipe is read and checked where torch is not.
`lab/model/balancing.py` counts what it is given, and sums it over layers, micro-batches and processes.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from moewright.architecture.feed_forwards import MoE
from moewright.errors import UserError
from moewright.records import Record


class BalanceLoss(Record):
    """An auxiliary load-balancing loss, weight x a formula of loads and shares over the tokens of its scope.

    All but the first have a field `kind`, by which recipes name them; see `balance_losses`.
    """

    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    scope: Literal["micro_batch", "sequence", "global_batch"] = "micro_batch"
    """Whose loads are balanced. micro_batch: those of one forward pass on one process. sequence: of each sequence.
    global_batch: of the whole optimizer step, over all processes and accumulated micro-batches (arXiv 2501.11873)."""
    layers: Literal["mean", "sum", "pooled"] = "mean"
    """Over layers with experts: mean or sum of their losses; pooled: r and P are averaged over the layers first
    (transformers), which needs layers that are alike."""

    @abstractmethod
    def by_sample(self, moe: MoE, loads: Any, shares: Any) -> Any:
        """The loss of one layer for each of S samples, before the weight: tensors (S, E), (S, E) -> (S,).

        `loads`: r_i, an expert's choices over its group's even load, in float64, without gradient. `shares`: P_i, its
        mean score, normalised over the router's experts, with gradient. A sample is a sequence or a whole batch.
        """

    def check(self, mixtures: Sequence[MoE]) -> None:
        """UserError unless the loss can balance these layers."""
        first = mixtures[0]
        unlike = any(moe.groups != first.groups or moe.router_per_group != first.router_per_group for moe in mixtures)
        if self.layers == "pooled" and unlike:
            raise UserError(
                "balancing.losses.layers: pooled needs layers with equal groups of experts; use mean or sum"
            )
