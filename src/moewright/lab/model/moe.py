"""The mixture-of-experts layer, and what it reports of its routing.

B sequences, T tokens each, N = B x T, E routed experts of all groups, d width.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from moewright.architecture.feed_forwards import Dense, MoE
from moewright.experiment.routing import Capacity
from moewright.lab.model.activations import activate
from moewright.lab.model.attention import weight
from moewright.lab.model.capacity import expert_capacity, within_capacity
from moewright.lab.model.experts import Implementation, run_experts, sort_rows
from moewright.lab.model.linear import linear
from moewright.lab.model.router import Choices, RouterLayer


class Way(NamedTuple):
    """How the tokens of a forward pass are sent to experts."""

    capacity: Capacity | None = None
    """None: dropless."""
    forced_uniform: bool = False
    implementation: Implementation | None = None
    """None: by device."""


DROPLESS = Way()


class Routing(NamedTuple):
    """What one layer's routers did in a forward pass, padding left out. Sums, so that batches can be added up."""

    loads: Tensor
    """(B, E): choices of each expert, before any are dropped."""
    shares: Tensor
    """(B, E): sums over tokens of the scores normalised over each router's experts; carries gradients."""
    z: Tensor
    """(B,): sums over tokens of the squared log-partition, averaged over routers; carries gradients."""
    tokens: Tensor
    """(B,)."""
    dropped: Tensor
    """Scalar: choices that capacity dropped."""
    logit_square: Tensor
    """Scalar: sum over tokens and experts of the squared logits."""


class FeedForwardLayer(nn.Module):
    """A dense feed-forward of a spec in a model of width d."""

    def __init__(self, size: int, gated: bool, activation: str, bias: bool, d: int):
        super().__init__()
        self.gated, self.activation = gated, activation
        self.up_proj = weight(2 * size if gated else size, d)  # gate and up as one matrix, gate first
        self.down_proj = weight(d, size)
        self.up_bias = weight(2 * size if gated else size) if bias else None
        self.down_bias = weight(d) if bias else None

    @classmethod
    def of(cls, spec: Dense, d: int) -> "FeedForwardLayer":
        """The layer of a dense spec."""
        return cls(spec.size, spec.gated, spec.activation, spec.bias, d)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d) -> (..., d)."""
        hidden = activate(linear(x, self.up_proj, self.up_bias), self.activation, self.gated)  # type: ignore[arg-type]
        return linear(hidden, self.down_proj, self.down_bias)


class ExpertsLayer(nn.Module):
    """The weights of one group of routed experts."""

    def __init__(self, count: int, size: int, gated: bool, d: int):
        super().__init__()
        self.gated = gated
        self.up_proj = weight(count, 2 * size if gated else size, d)  # gate and up as one matrix, gate first
        self.down_proj = weight(count, d, size)


class MoELayer(nn.Module):
    """A mixture of experts of a spec in a model of width d."""

    def __init__(self, spec: MoE, d: int):
        super().__init__()
        self.spec = spec
        self.router = RouterLayer(spec, d)
        self.groups = nn.ModuleList(
            ExpertsLayer(group.count, group.expert_size, spec.gated, d) for group in spec.groups
        )
        self.shared: FeedForwardLayer | None = None
        self.shared_gate: nn.Parameter | None = None
        if spec.shared is not None:
            size = spec.shared.count * spec.shared.expert_size
            self.shared = FeedForwardLayer(size, spec.gated, spec.activation, spec.shared.bias, d)
            self.shared_gate = weight(1, d) if spec.shared.combine == "gated" else None
        self.output_bias = weight(d) if spec.output_bias else None
        self.parallel_dense = FeedForwardLayer.of(spec.parallel_dense, d) if spec.parallel_dense else None

    def forward(self, x: Tensor, valid: Tensor | None, way: Way) -> tuple[Tensor, Routing]:
        """x (B, T, d), `valid` (B, T) False for padding -> (B, T, d) and what the routers did."""
        rows = x.view(-1, x.shape[-1])
        mask = None if valid is None else valid.reshape(-1, 1)
        choices = self.router(rows, way.forced_uniform)
        kept = [self._kept(group, choices, mask, way.capacity) for group in range(len(self.spec.groups))]
        y = self._routed(rows, choices, kept, way.implementation)
        y = self._with_shared(y, rows)
        if self.parallel_dense is not None:
            y = y + self.parallel_dense(rows)
        if self.output_bias is not None:
            y = y + self.output_bias.to(y.dtype)
        return y.view_as(x), self._report(choices, kept, valid, x.shape[0])

    def _kept(self, index: int, choices: Choices, mask: Tensor | None, capacity: Capacity | None) -> Tensor | None:
        """(N, K) of one group, False where a choice is dropped or padding; None: all are kept."""
        group, experts = self.spec.groups[index], choices.experts[index]
        if capacity is not None:
            tokens = len(experts) if mask is None else int(mask.sum())
            limit = expert_capacity(capacity, tokens, group.top_k, group.count)
            if limit is not None:
                return within_capacity(experts, choices.gates[index], mask, limit, capacity.drop)
        return None if mask is None else mask.expand_as(experts)

    def _routed(
        self, x: Tensor, choices: Choices, kept: list[Tensor | None], implementation: Implementation | None
    ) -> Tensor:
        """The sum over groups of their experts' weighted outputs (N, d)."""
        y: Tensor | None = None
        for index, (group, layer) in enumerate(zip(self.spec.groups, self.groups, strict=True)):
            assert isinstance(layer, ExpertsLayer)
            experts, gates, kept_here = choices.experts[index], choices.gates[index], kept[index]
            inputs = x
            if self.spec.router.weigh == "input":  # every choice has an input of its own, and weight 1
                inputs = (x.unsqueeze(1) * gates.unsqueeze(-1).to(x.dtype)).flatten(0, 1)
                experts, gates = experts.reshape(-1, 1), torch.ones_like(gates).reshape(-1, 1)
                kept_here = None if kept_here is None else kept_here.reshape(-1, 1)
            rows = sort_rows(experts, kept_here, group.count)
            out = run_experts(
                inputs,
                rows,
                gates,
                layer.up_proj,
                layer.down_proj,
                self.spec.activation,
                self.spec.gated,
                implementation,
            )
            if self.spec.router.weigh == "input":
                out = out.view(len(x), group.top_k, -1).sum(1)
            if self.spec.combine_groups == "average":
                out = out * (group.top_k / self.spec.top_k)
            y = out if y is None else y + out
        assert y is not None, "a mixture has at least one group"
        return y

    def _with_shared(self, routed: Tensor, x: Tensor) -> Tensor:
        if self.shared is None or self.spec.shared is None:
            return routed
        shared = self.shared(x)
        if self.spec.shared.combine == "average":  # OLMo-core: one of K + 1 equal voices
            top_k = self.spec.top_k
            return shared / (top_k + 1) + routed * (top_k / (top_k + 1))
        if self.shared_gate is not None:
            shared = shared * torch.sigmoid(linear(x, self.shared_gate))
        return routed + shared

    def _report(self, choices: Choices, kept: list[Tensor | None], valid: Tensor | None, batch: int) -> Routing:
        shares = choices.shares.view(batch, -1, choices.shares.shape[-1])
        z = choices.log_partition.square().mean(-1).view(batch, -1)
        squares = choices.logits.detach().square().sum(-1).view(batch, -1)
        if valid is not None:
            shares, z, squares = shares * valid.unsqueeze(-1), z * valid, squares * valid
        loads, dropped = [], torch.zeros((), dtype=torch.int64, device=shares.device)
        for group, experts, kept_here in zip(self.spec.groups, choices.experts, kept, strict=True):
            by_sequence = experts.view(batch, -1)
            chosen = torch.ones_like(by_sequence)
            if valid is not None:
                chosen = chosen * valid.repeat_interleave(group.top_k, dim=1)
            counts = torch.zeros(batch, group.count, dtype=torch.int64, device=shares.device)
            loads.append(counts.scatter_add_(1, by_sequence, chosen))
            if kept_here is not None:
                dropped = dropped + chosen.sum() - kept_here.sum()
        length = torch.full((batch,), shares.shape[1], device=shares.device) if valid is None else valid.sum(1)
        return Routing(torch.cat(loads, dim=1), shares.sum(1), z.sum(1), length, dropped, squares.sum())
