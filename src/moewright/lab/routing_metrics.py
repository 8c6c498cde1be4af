"""What the routers of a step did, as numbers by layer."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from moewright.lab.model.balancing import relative_loads
from moewright.lab.model.moe import MoELayer, Routing


class RoutingTotals:
    """Sums over the forward passes of a step, one row for each MoE layer; no gradients.

    Columns that processes add up: every expert's choices and shares; tokens, dropped choices, squared logits, z.
    """

    def __init__(self, moe_layers: Sequence[MoELayer], device: torch.device):
        self.layers = moe_layers
        self.loads = [torch.zeros(layer.spec.num_experts, dtype=torch.int64, device=device) for layer in moe_layers]
        self.shares = [loads.to(torch.float64) for loads in self.loads]
        self.rest = torch.zeros(len(moe_layers), 4, dtype=torch.float64, device=device)

    def add(self, routings: Sequence[Routing]) -> None:
        """One more forward pass."""
        for index, routing in enumerate(routings):
            self.loads[index] += routing.loads.detach().sum(0)
            self.shares[index] += routing.shares.detach().sum(0)
            values = (routing.tokens.sum(), routing.dropped, routing.logit_square, routing.z.sum())
            self.rest[index] += torch.stack([value.detach().to(torch.float64) for value in values])

    def tensors(self) -> list[Tensor]:
        """What to add up over processes, in place."""
        return [*self.loads, *self.shares, self.rest]

    def metrics(self) -> dict[str, list[Any]]:
        """By layer: max_violation (largest load over even load - 1; arXiv 2408.15664, equation 4), load_entropy (of the
        loads' shares over its largest value, 1 when even), dead_experts (without any choice), drop_fraction (of the
        choices), router_logit_norm (root mean over tokens of the squared norm), balance (sum of relative load x mean
        share over the whole step, averaged over routers: 1 when even) and z (mean squared log-partition), both raw."""
        rows: dict[str, list[Any]] = {
            "max_violation": [],
            "load_entropy": [],
            "dead_experts": [],
            "drop_fraction": [],
            "router_logit_norm": [],
            "balance": [],
            "z": [],
        }
        for index, (layer, loads) in enumerate(zip(self.layers, self.loads, strict=True)):
            tokens, dropped, squares, z = self.rest[index].tolist()
            tokens = max(tokens, 1.0)
            relative = relative_loads(layer.spec, loads)
            routers = len(layer.router.router_slices())
            rows["max_violation"].append(round(float(relative.max()) - 1, 6))
            rows["balance"].append(round(float((relative * self.shares[index]).sum()) / tokens / routers, 6))
            rows["z"].append(round(z / tokens, 6))
            rows["load_entropy"].append(round(_entropy(layer, loads), 6))
            rows["dead_experts"].append(int((loads == 0).sum()))
            rows["drop_fraction"].append(round(dropped / (tokens * layer.spec.top_k), 6))
            rows["router_logit_norm"].append(round((squares / tokens) ** 0.5, 6))
        return rows


def _entropy(layer: MoELayer, loads: Tensor) -> float:
    """Mean over groups of the entropy of their loads, over the logarithm of their number of experts."""
    values = []
    for part in loads.split([group.count for group in layer.spec.groups]):
        shares = part / part.sum().clamp(min=1)
        entropy = float(torch.special.entr(shares).sum())
        values.append(entropy / float(torch.tensor(len(part)).log()) if len(part) > 1 else 1.0)
    return sum(values) / len(values)
