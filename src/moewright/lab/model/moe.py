"""Feed-forwards: dense, and a mixture of experts with what it reports of its routing.

Letters: `lab.model.transformer`. The weights of gate and up are one matrix, gate first.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from moewright.architecture.feed_forwards import Activation, Dense, MoE, routed_width
from moewright.architecture.spec import Norm
from moewright.experiment.routing import Capacity
from moewright.lab.model.operations import activate, expert_ffn, linear, parameter, rms_norm
from moewright.lab.model.router import Choices, RouterLayer, expert_capacity, within_capacity


class RoutingMode(NamedTuple):
    """How the tokens of a forward pass are sent to experts."""

    capacity: Capacity | None = None
    """None: dropless."""
    forced_uniform: bool = False
    """All experts in turn, whatever the scores."""
    quantiles: bool = False
    """The routers report the selection bias that would have been even."""


DROPLESS = RoutingMode()


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
    even_bias: Tensor | None = None
    """(E,): the selection bias with which each expert would have had its even load, where the mode asks for it."""


class FeedForwardLayer(nn.Module):
    """A dense feed-forward of F channels in a model of width D."""

    def __init__(self, size: int, gated: bool, activation: Activation, bias: bool, width: int):
        super().__init__()
        self.gated, self.activation = gated, activation
        rows = 2 * size if gated else size
        self.up_proj, self.down_proj = parameter(rows, width), parameter(width, size)
        self.up_bias = parameter(rows) if bias else None
        self.down_bias = parameter(width) if bias else None

    @classmethod
    def of(cls, spec: Dense, width: int) -> "FeedForwardLayer":
        """The layer of a dense spec."""
        return cls(spec.size, spec.gated, spec.activation, spec.bias, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D)."""
        hidden = activate(linear(x, self.up_proj, self.up_bias), self.activation, self.gated)
        return linear(hidden, self.down_proj, self.down_bias)


class LatentProjections(nn.Module):
    """The way of all routed experts to L channels and back (LatentMoE, arXiv 2601.18089)."""

    def __init__(self, spec: MoE, latent: int, width: int, eps: float):
        super().__init__()
        self.eps = eps
        self.down, self.up = parameter(latent, width), parameter(width, latent)
        self.down_bias = parameter(latent) if spec.latent_bias else None
        self.up_bias = parameter(width) if spec.latent_bias else None
        self.norm = parameter(latent) if spec.latent_norm else None

    def into(self, x_ND: Tensor) -> Tensor:
        """(N, D) -> (N, L)."""
        return linear(x_ND, self.down, self.down_bias)

    def out(self, y_NL: Tensor) -> Tensor:
        """The weighted sum of experts (N, L) -> (N, D)."""
        if self.norm is not None:
            y_NL = rms_norm(y_NL, self.norm, self.eps)
        return linear(y_NL, self.up, self.up_bias)


class ExpertsLayer(nn.Module):
    """The weights of one group of routed experts."""

    def __init__(self, count: int, size: int, gated: bool, width: int):
        super().__init__()
        self.gated = gated
        self.up_proj = parameter(count, 2 * size if gated else size, width)
        self.down_proj = parameter(count, width, size)


class MoELayer(nn.Module):
    """A mixture of experts of a spec in a model of width D.

    y[n] = sum over the choices (n, e, gate) that were kept of gate x down[e] act(up[e] x[n]), and beside it what every
    token passes: shared experts, a parallel dense feed-forward, a bias. Dropless: every choice is kept. Latent experts
    have a projection of x to L channels before, and of the sum back to D after, each shared by all of them.
    """

    def __init__(self, spec: MoE, width: int, norm_eps: float = Norm.default().eps):
        super().__init__()
        self.spec = spec
        self.router = RouterLayer(spec, width)
        self.latent: LatentProjections | None = None
        if spec.latent_size is not None:
            self.latent = LatentProjections(spec, spec.latent_size, width, norm_eps)
        self.groups = nn.ModuleList(
            ExpertsLayer(group.count, group.expert_size, spec.gated, routed_width(spec, width)) for group in spec.groups
        )
        self.shared: FeedForwardLayer | None = None
        self.shared_gate: nn.Parameter | None = None
        if spec.shared is not None:
            size = spec.shared.count * spec.shared.expert_size
            self.shared = FeedForwardLayer(size, spec.gated, spec.activation, spec.shared.bias, width)
            self.shared_gate = parameter(1, width) if spec.shared.combine == "gated" else None
        self.output_bias = parameter(width) if spec.output_bias else None
        self.parallel_dense = FeedForwardLayer.of(spec.parallel_dense, width) if spec.parallel_dense else None

    def forward(self, x_BTD: Tensor, valid_BT: Tensor | None, mode: RoutingMode) -> tuple[Tensor, Routing]:
        """-> (B, T, D), and what the routers did. `valid_BT` is False for padding."""
        x_ND = x_BTD.view(-1, x_BTD.shape[-1])
        valid_N1 = None if valid_BT is None else valid_BT.reshape(-1, 1)
        choices = self.router(x_ND, mode.forced_uniform)
        even_bias = None
        if mode.quantiles:
            even_bias = self.router.even_bias(choices.scores if valid_N1 is None else choices.scores[valid_N1[:, 0]])
        kept = [self._kept(group, choices, valid_N1, mode.capacity) for group in range(len(self.spec.groups))]
        if self.latent is None:
            routed_ND = self._routed(x_ND, choices, kept)
        else:
            routed_ND = self.latent.out(self._routed(self.latent.into(x_ND), choices, kept))
        y_ND = self._with_shared(routed_ND, x_ND)
        if self.parallel_dense is not None:
            y_ND = y_ND + self.parallel_dense(x_ND)
        if self.output_bias is not None:
            y_ND = y_ND + self.output_bias.to(y_ND.dtype)
        routing = self._report(choices, kept, valid_BT, x_BTD.shape[0])
        return y_ND.view_as(x_BTD), routing._replace(even_bias=even_bias)

    def _kept(self, index: int, choices: Choices, valid_N1: Tensor | None, capacity: Capacity | None) -> Tensor | None:
        """(N, K) of one group, False where a choice is dropped or padding; None: all are kept."""
        group, experts_NK = self.spec.groups[index], choices.experts[index]
        if capacity is not None:
            tokens = len(experts_NK) if valid_N1 is None else int(valid_N1.sum())
            limit = expert_capacity(capacity, tokens, group.top_k, group.count)
            if limit is not None:
                return within_capacity(experts_NK, choices.gates[index], valid_N1, limit, capacity.drop)
        return None if valid_N1 is None else valid_N1.expand_as(experts_NK)

    def _routed(self, x_ND: Tensor, choices: Choices, kept: list[Tensor | None]) -> Tensor:
        """The sum over groups of their experts' weighted outputs, as wide as the inputs: (N, D) or (N, L)."""
        total: Tensor | None = None
        for index, (group, layer) in enumerate(zip(self.spec.groups, self.groups, strict=True)):
            assert isinstance(layer, ExpertsLayer)
            experts, gates, kept_here, inputs = choices.experts[index], choices.gates[index], kept[index], x_ND
            if self.spec.router.weigh == "input":  # every choice has an input of its own, and weight 1
                inputs = (x_ND.unsqueeze(1) * gates.unsqueeze(-1).to(x_ND.dtype)).flatten(0, 1)
                experts, gates = experts.reshape(-1, 1), torch.ones_like(gates).reshape(-1, 1)
                kept_here = None if kept_here is None else kept_here.reshape(-1, 1)
            rows = sort_rows(experts, kept_here, group.count)
            gates_R = gates.reshape(-1)[rows.choice].to(x_ND.dtype)
            weights = layer.up_proj, layer.down_proj
            y = expert_ffn(inputs, rows.token, gates_R, rows.counts, *weights, self.spec.activation, self.spec.gated)
            if self.spec.router.weigh == "input":
                y = y.view(len(x_ND), group.top_k, -1).sum(1)
            if self.spec.combine_groups == "average":
                y = y * (group.top_k / self.spec.top_k)
            total = y if total is None else total + y
        assert total is not None, "a mixture has at least one group"
        return total

    def _with_shared(self, routed_ND: Tensor, x_ND: Tensor) -> Tensor:
        if self.shared is None or self.spec.shared is None:
            return routed_ND
        shared_ND = self.shared(x_ND)
        if self.spec.shared.combine == "average":  # OLMo-core: one of K + 1 equal voices
            top_k = self.spec.top_k
            return shared_ND / (top_k + 1) + routed_ND * (top_k / (top_k + 1))
        if self.shared_gate is not None:
            shared_ND = shared_ND * torch.sigmoid(linear(x_ND, self.shared_gate))
        return routed_ND + shared_ND

    def _report(self, choices: Choices, kept: list[Tensor | None], valid_BT: Tensor | None, batch: int) -> Routing:
        shares_BTE = choices.shares.view(batch, -1, choices.shares.shape[-1])
        z_BT = choices.log_partition.square().mean(-1).view(batch, -1)
        squares_BT = choices.logits.detach().square().sum(-1).view(batch, -1)
        device = shares_BTE.device
        if valid_BT is not None:
            shares_BTE, z_BT, squares_BT = shares_BTE * valid_BT.unsqueeze(-1), z_BT * valid_BT, squares_BT * valid_BT
        loads, dropped = [], torch.zeros((), dtype=torch.int64, device=device)
        for group, experts, kept_here in zip(self.spec.groups, choices.experts, kept, strict=True):
            by_sequence = experts.view(batch, -1)
            chosen = torch.ones_like(by_sequence)
            if valid_BT is not None:
                chosen = chosen * valid_BT.repeat_interleave(group.top_k, dim=1)
            counts_BE = torch.zeros(batch, group.count, dtype=torch.int64, device=device)
            loads.append(counts_BE.scatter_add_(1, by_sequence, chosen))
            if kept_here is not None:
                dropped = dropped + chosen.sum() - kept_here.sum()
        whole = torch.full((batch,), shares_BTE.shape[1], device=device)
        tokens_B = whole if valid_BT is None else valid_BT.sum(1)
        return Routing(torch.cat(loads, dim=1), shares_BTE.sum(1), z_BT.sum(1), tokens_B, dropped, squares_BT.sum())


class ExpertRows(NamedTuple):
    """The kept choices in the order of their experts."""

    token: Tensor
    """(R,) which token."""
    choice: Tensor
    """(R,) position of the choice in the flattened (N, K) tables."""
    counts: Tensor
    """(E,) rows of each expert."""


def sort_rows(experts_NK: Tensor, kept_NK: Tensor | None, num_experts: int) -> ExpertRows:
    """Rows from a table of chosen experts; `kept_NK` is False where a choice was dropped or padding."""
    flat = experts_NK.reshape(-1)
    if kept_NK is not None:
        flat = torch.where(kept_NK.reshape(-1), flat, num_experts)  # behind all experts
    order = torch.argsort(flat, stable=True)
    counts_E = torch.bincount(flat, minlength=num_experts + 1)[:num_experts]
    if kept_NK is not None:
        order = order[: int(counts_E.sum())]
    return ExpertRows(order // experts_NK.shape[1], order, counts_E)
