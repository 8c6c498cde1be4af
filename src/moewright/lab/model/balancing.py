"""Load balancing: the auxiliary losses from what the routers report, the update of the loss-free bias, and metrics.

Everything is in terms of relative loads r_i: an expert's choices over its group's even load, 1 when balanced whatever
the number of experts and top_k, and of mean shares P_i, which sum to 1 over the experts of a router. For one group
sum_i r_i P_i is E sum_i f_i P_i of Switch (arXiv 2101.03961, equation 4), with f_i the share of the choices; with
several groups under one router it is still 1 when each group is balanced in itself, and does not pull between them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from moewright.architecture.feed_forwards import MoE
from moewright.experiment.balance_loss import BalanceLoss
from moewright.experiment.metrics import RoutingMetrics
from moewright.experiment.routing import SelectionBias
from moewright.lab.model.moe import MoELayer, Routing


def relative_loads(moe: MoE, loads: Tensor) -> Tensor:
    """Choices (..., E) over their group's even load; 0 where there were no tokens. In float64."""
    parts = []
    for part in loads.to(torch.float64).split([group.count for group in moe.groups], dim=-1):
        parts.append(part * part.shape[-1] / part.sum(-1, keepdim=True).clamp(min=1))
    return torch.cat(parts, dim=-1)


def balance_loss(
    loss: BalanceLoss,
    routings: Sequence[Routing],
    moe_layers: Sequence[MoELayer],
    global_loads: Sequence[Tensor] | None = None,
) -> Tensor:
    """The weighted auxiliary loss of one forward pass, a scalar.

    `global_loads`: for each layer (E,), the choices of the whole optimizer step over all processes; scope global_batch
    needs them. Averaged over micro-batches by their tokens it is then the loss of the whole batch.
    """
    loads, shares = [], []
    for index, routing in enumerate(routings):
        moe = moe_layers[index].spec
        if loss.scope == "sequence":
            loads.append(relative_loads(moe, routing.loads))
            shares.append(routing.shares / routing.tokens.clamp(min=1).unsqueeze(-1))
        else:
            if loss.scope == "global_batch":
                assert global_loads is not None, "global_batch needs the loads of the whole step"
                counts = global_loads[index]
            else:
                counts = routing.loads.sum(0)
            loads.append(relative_loads(moe, counts).unsqueeze(0))
            shares.append((routing.shares.sum(0) / routing.tokens.sum().clamp(min=1)).unsqueeze(0))
    specs = [layer.spec for layer in moe_layers]
    loss.check(specs)
    if loss.layers == "pooled":
        loads, shares, specs = [torch.stack(loads).mean(0)], [torch.stack(shares).mean(0)], specs[:1]
    filled = routings[0].tokens > 0 if loss.scope == "sequence" else torch.ones_like(routings[0].tokens[:1])
    by_layer = [
        (loss.by_sample(moe, r, p) * filled).sum() / filled.sum().clamp(min=1)
        for moe, r, p in zip(specs, loads, shares, strict=True)
    ]
    total = torch.stack(by_layer)
    return loss.weight * (total.sum() if loss.layers == "sum" else total.mean())


def z_loss(routings: Sequence[Routing]) -> Tensor:
    """The router z-loss (ST-MoE, arXiv 2202.08906, equation 5): mean squared log-partition over tokens and layers."""
    return torch.stack([routing.z.sum() / routing.tokens.sum().clamp(min=1) for routing in routings]).mean()


@torch.no_grad()
def update_selection_bias(settings: SelectionBias, moe_layers: Sequence[MoELayer], loads: Sequence[Tensor]) -> None:
    """Move each layer's selection bias against its loads (E,) of one optimizer step (arXiv 2408.15664, algorithm 1)."""
    for layer, counts in zip(moe_layers, loads, strict=True):
        bias = layer.router.selection_bias
        assert bias is not None, "checked before training"
        excess = relative_loads(layer.spec, counts) - 1
        direction = -(excess.sign() if settings.update == "sign" else excess)
        routers = layer.router.router_slices()
        for values, moves in zip(bias.split(routers), direction.to(bias).split(routers), strict=True):
            step = settings.step / len(values) if settings.step_over_experts else settings.step
            values.add_(moves, alpha=step)
            if settings.zero_mean:
                values.sub_(values.mean())


@torch.no_grad()
def set_even_bias(memory: float, moe_layers: Sequence[MoELayer], even: Sequence[Tensor]) -> None:
    """Replace each layer's selection bias, but for a share `memory`, by the even one (E,), less its mean by router."""
    for layer, target in zip(moe_layers, even, strict=True):
        bias = layer.router.selection_bias
        assert bias is not None, "checked before training"
        routers = layer.router.router_slices()
        for values, wanted in zip(bias.split(routers), target.to(bias).split(routers), strict=True):
            values.mul_(memory).add_(wanted, alpha=1 - memory)
            values.sub_(values.mean())


# What the routers of a step did, as numbers by layer


class RoutingTotals:
    """Sums over the forward passes of a step, one row for each MoE layer; no gradients.

    Columns that processes add up: every expert's choices and shares; tokens, dropped choices, squared logits, z.
    """

    def __init__(self, moe_layers: Sequence[MoELayer], device: torch.device):
        self.layers = moe_layers
        self.loads = [torch.zeros(layer.spec.num_experts, dtype=torch.int64, device=device) for layer in moe_layers]
        self.shares = [loads.to(torch.float64) for loads in self.loads]
        self.rest = torch.zeros(len(moe_layers), 4, dtype=torch.float64, device=device)
        self.even_biases = [torch.zeros_like(shares) for shares in self.shares]
        self.passes = torch.zeros((), dtype=torch.float64, device=device)
        """Forward passes that `even_biases` are sums over."""

    def add(self, routings: Sequence[Routing]) -> None:
        """One more forward pass."""
        for index, routing in enumerate(routings):
            self.loads[index] += routing.loads.detach().sum(0)
            self.shares[index] += routing.shares.detach().sum(0)
            values = (routing.tokens.sum(), routing.dropped, routing.logit_square, routing.z.sum())
            self.rest[index] += torch.stack([value.detach().to(torch.float64) for value in values])
            if routing.even_bias is not None:
                self.even_biases[index] += routing.even_bias
        self.passes += 1

    def tensors(self) -> list[Tensor]:
        """What to add up over processes, in place."""
        return [*self.loads, *self.shares, self.rest, *self.even_biases, self.passes]

    def even_bias(self) -> list[Tensor]:
        """The mean over forward passes of what each layer's routers reported (E,)."""
        return [total / self.passes for total in self.even_biases]

    def metrics(self) -> RoutingMetrics:
        """The numbers by layer, over the whole step."""
        rows = [self._row(index) for index in range(len(self.layers))]
        names = RoutingMetrics.model_fields
        return RoutingMetrics.model_validate({name: [row[name] for row in rows] for name in names})

    def _row(self, index: int) -> dict[str, float]:
        layer, loads = self.layers[index], self.loads[index]
        tokens, dropped, squares, z = self.rest[index].tolist()
        tokens = max(tokens, 1.0)
        relative = relative_loads(layer.spec, loads)
        routers = len(layer.router.router_slices())
        return {
            "max_violation": round(float(relative.max()) - 1, 6),
            "load_entropy": round(_entropy(layer, loads), 6),
            "dead_experts": int((loads == 0).sum()),
            "drop_fraction": round(dropped / (tokens * layer.spec.top_k), 6),
            "router_logit_norm": round((squares / tokens) ** 0.5, 6),
            "balance": round(float((relative * self.shares[index]).sum()) / tokens / routers, 6),
            "z": round(z / tokens, 6),
        }


def _entropy(layer: MoELayer, loads: Tensor) -> float:
    """Mean over groups of the entropy of their loads, over the logarithm of their number of experts."""
    values = []
    for part in loads.split([group.count for group in layer.spec.groups]):
        shares = part / part.sum().clamp(min=1)
        entropy = float(torch.special.entr(shares).sum())
        values.append(entropy / float(torch.tensor(len(part)).log()) if len(part) > 1 else 1.0)
    return sum(values) / len(values)
