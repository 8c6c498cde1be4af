"""The balancing loss of Switch Transformers."""

from typing import Any, Literal

from moewright.architecture.feed_forwards import MoE
from moewright.experiment.balance_loss import BalanceLoss


class SwitchLoss(BalanceLoss):
    """The auxiliary load-balancing loss (Switch, arXiv 2101.03961, equations 4 to 6), weight x sum_i r_i P_i.

    r_i is expert i's load over its group's even load, P_i its mean score (normalised over the router's experts), both
    over the tokens of the scope. The sum is 1 when balanced, whatever E and K are.
    """

    balanced_value: Literal["one", "top_k"] = "one"
    """What the sum is when balanced: 1 (Megatron-LM, OLMo-core) or K (transformers), the top_k of all groups."""
    size_penalty: bool = False
    """Loads are weighted with each expert's size over the mean size (HMoE, arXiv 2408.10681)."""

    def by_sample(self, moe: MoE, loads: Any, shares: Any) -> Any:
        """sum_i r_i P_i, averaged over the layer's routers."""
        if self.size_penalty:
            widths = [float(group.expert_size) for group in moe.groups for _ in range(group.count)]
            sizes = shares.new_tensor(widths)  # in their precision: so are the values of training version 1
            loads = loads * (sizes / sizes.mean()).to(loads)
        routers = len(moe.groups) if moe.router_per_group else 1
        balanced = moe.top_k if self.balanced_value == "top_k" else 1
        return (loads.to(shares.dtype) * shares).sum(-1) / routers * balanced
