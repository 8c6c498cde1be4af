"""The mixture of experts token by token, from the definitions in `feed_forwards.py` and `routing.py`.

Plain loops over tokens, experts and choices, in float64 with torch's autograd; no function is shared with the package.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from moewright.architecture.feed_forwards import MoE, Router
from moewright.experiment.routing import Capacity

Weights = dict[str, Tensor]


@dataclass
class Answer:
    """What one layer gives for a batch of B sequences of T tokens with E experts."""

    y: Tensor
    """(B, T, d), zero at padding."""
    loads: list[list[int]]
    """[B][E]."""
    shares: Tensor
    """(B, E)."""
    z: Tensor
    """(B,)."""
    dropped: int
    choices: list[list[tuple[int, int]]]
    """For each token: (group, expert within the group), in no particular order."""


@dataclass
class _Choice:
    token: int
    group: int
    expert: int
    gate: Tensor
    kept: bool = True


def mixture(moe: MoE, weights: Weights, x: Tensor, valid: Tensor, capacity: Capacity | None) -> Answer:
    """The layer's output and balance quantities for x (B, T, d) where `valid` (B, T) is False at padding."""
    sequences, length, d = x.shape
    num_experts = sum(group.count for group in moe.groups)
    loads = [[0] * num_experts for _ in range(sequences)]
    shares = [[x.new_zeros(()) for _ in range(num_experts)] for _ in range(sequences)]
    z = [x.new_zeros(()) for _ in range(sequences)]
    tokens = [(b, t) for b in range(sequences) for t in range(length) if valid[b, t]]
    choices: list[_Choice] = []
    for number, (b, t) in enumerate(tokens):
        chosen, token_shares, token_z = _route(moe, weights, x[b, t])
        z[b] = z[b] + token_z
        for expert in range(num_experts):
            shares[b][expert] = shares[b][expert] + token_shares[expert]
        for group, expert, gate in chosen:
            choices.append(_Choice(number, group, expert, gate))
            loads[b][_first(moe, group) + expert] += 1
    if capacity is not None:
        _drop(moe, choices, capacity, len(tokens))

    y = [[x.new_zeros(d) for _ in range(length)] for _ in range(sequences)]
    for number, (b, t) in enumerate(tokens):
        kept = [choice for choice in choices if choice.token == number and choice.kept]
        y[b][t] = _output(moe, weights, x[b, t], kept)
    return Answer(
        torch.stack([torch.stack(row) for row in y]),
        loads,
        torch.stack([torch.stack(row) for row in shares]),
        torch.stack(z),
        sum(not choice.kept for choice in choices),
        [[(c.group, c.expert) for c in choices if c.token == number] for number in range(len(tokens))],
    )


def _first(moe: MoE, group: int) -> int:
    """The layer's number of a group's first expert."""
    return sum(moe.groups[i].count for i in range(group))


# Routing


def _route(moe: MoE, weights: Weights, x: Tensor) -> tuple[list[tuple[int, int, Tensor]], list[Tensor], Tensor]:
    """One token's (group, expert, gate) choices, its normalised scores of all experts, its mean squared partition."""
    groups_of_routers = [[g] for g in range(len(moe.groups))] if moe.router_per_group else [[*range(len(moe.groups))]]
    chosen: list[tuple[int, int, Tensor]] = []
    shares: list[Tensor] = []
    squares = x.new_zeros(())
    for groups in groups_of_routers:
        start = _first(moe, groups[0])
        experts = range(start, start + sum(moe.groups[g].count for g in groups))
        logits = {e: _logit(weights, x, e) for e in experts}
        scores = _scores(moe.router, logits)
        whole = sum(scores.values(), x.new_zeros(()))
        shares += [scores[e] / whole for e in experts]
        partition = sum((logit.exp() for logit in logits.values()), x.new_zeros(())).log()
        squares = squares + partition**2

        ranks = {e: scores[e].item() for e in experts}
        if "router.selection_bias" in weights:
            ranks = {e: ranks[e] + weights["router.selection_bias"][e].item() for e in experts}
        allowed = set(experts)
        if moe.router.num_groups > 1:
            allowed = _experts_of_best_groups(moe.router, ranks)
        picked: list[tuple[int, int]] = []
        for g in groups:
            first = _first(moe, g)
            candidates = [e for e in range(first, first + moe.groups[g].count) if e in allowed]
            candidates.sort(key=lambda e: -ranks[e])
            picked += [(g, e) for e in candidates[: moe.groups[g].top_k]]
        gates = {e: scores[e] for _, e in picked}
        if moe.router.score_after_top_k:
            gates = _scores(moe.router, {e: logits[e] for _, e in picked})
        if moe.router.normalize:
            total = sum(gates.values(), x.new_zeros(()))
            gates = {e: gate / total for e, gate in gates.items()}
        chosen += [(g, e - _first(moe, g), gates[e] * moe.router.scale) for g, e in picked]
    return chosen, shares, squares / len(groups_of_routers)


def _logit(weights: Weights, x: Tensor, expert: int) -> Tensor:
    logit = (weights["router.weight"][expert] * x).sum()
    return logit + weights["router.bias"][expert] if "router.bias" in weights else logit


def _scores(router: Router, logits: dict[int, Tensor]) -> dict[int, Tensor]:
    if router.score == "sigmoid":
        return {e: 1 / (1 + (-logit).exp()) for e, logit in logits.items()}
    if router.score == "sqrt_softplus":
        return {e: (1 + logit.exp()).log().sqrt() for e, logit in logits.items()}
    exponentials = {e: logit.exp() for e, logit in logits.items()}
    return {e: value / torch.stack([*exponentials.values()]).sum() for e, value in exponentials.items()}


def _experts_of_best_groups(router: Router, ranks: dict[int, float]) -> set[int]:
    """DeepSeek-V2 ranks a group by its best expert (softmax), DeepSeek-V3 by its best two (others)."""
    size = len(ranks) // router.num_groups
    members = [list(range(g * size, (g + 1) * size)) for g in range(router.num_groups)]

    def worth(group: list[int]) -> float:
        best_first = sorted((ranks[e] for e in group), reverse=True)
        return best_first[0] if router.score == "softmax" else sum(best_first[:2])

    best = sorted(members, key=worth, reverse=True)[: router.top_groups]
    return {e for group in best for e in group}


def _drop(moe: MoE, choices: list[_Choice], capacity: Capacity, tokens: int) -> None:
    if math.isinf(capacity.factor):
        return
    for g, group in enumerate(moe.groups):
        even = Fraction(str(capacity.factor)) * tokens * group.top_k / group.count
        places = math.ceil(even) if capacity.rounding == "ceil" else math.floor(even)
        while places % capacity.multiple:
            places += 1
        for expert in range(group.count):
            queue = [choice for choice in choices if (choice.group, choice.expert) == (g, expert)]
            if capacity.drop == "score":
                queue.sort(key=lambda choice: -choice.gate.item())  # stable: of equal gates the earlier token stays
            for choice in queue[places:]:
                choice.kept = False


# Experts


def _output(moe: MoE, weights: Weights, x: Tensor, kept: list[_Choice]) -> Tensor:
    total_top_k = sum(group.top_k for group in moe.groups)
    routed_input = x
    if moe.latent_size is not None:
        routed_input = weights["latent.down"] @ x + weights.get("latent.down_bias", torch.zeros(()))
    y = torch.zeros_like(routed_input)
    for g, group in enumerate(moe.groups):
        of_group = torch.zeros_like(routed_input)
        for choice in kept:
            if choice.group == g:
                up, down = (weights[f"groups.{g}.{name}_proj"][choice.expert] for name in ("up", "down"))
                if moe.router.weigh == "input":
                    scaled = choice.gate * routed_input
                    of_group = of_group + _feed_forward(moe.activation, moe.gated, up, down, scaled)
                else:
                    of_group = of_group + choice.gate * _feed_forward(moe.activation, moe.gated, up, down, routed_input)
        y = y + (of_group * group.top_k / total_top_k if moe.combine_groups == "average" else of_group)
    if moe.latent_size is not None:
        if moe.latent_norm:
            y = y / torch.sqrt((y * y).sum() / moe.latent_size + 1e-6) * weights["latent.norm"]
        y = weights["latent.up"] @ y + weights.get("latent.up_bias", torch.zeros(()))
    if moe.shared is not None:
        shared = _beside(moe.activation, moe.gated, "shared", weights, x)
        if moe.shared.combine == "gated":
            shared = shared / (1 + (-(weights["shared_gate"][0] * x).sum()).exp())
        if moe.shared.combine == "average":
            y = shared / (total_top_k + 1) + y * total_top_k / (total_top_k + 1)
        else:
            y = y + shared
    if moe.parallel_dense is not None:
        y = y + _beside(moe.parallel_dense.activation, moe.parallel_dense.gated, "parallel_dense", weights, x)
    return y + weights["output_bias"] if moe.output_bias else y


def _beside(activation: str, gated: bool, prefix: str, weights: Weights, x: Tensor) -> Tensor:
    up, down = weights[f"{prefix}.up_proj"], weights[f"{prefix}.down_proj"]
    return _feed_forward(
        activation, gated, up, down, x, weights.get(f"{prefix}.up_bias"), weights.get(f"{prefix}.down_bias")
    )


def _feed_forward(
    activation: str,
    gated: bool,
    up: Tensor,
    down: Tensor,
    x: Tensor,
    up_bias: Tensor | None = None,
    down_bias: Tensor | None = None,
) -> Tensor:
    inner = up @ x if up_bias is None else up @ x + up_bias
    size = down.shape[-1]
    hidden = _nonlinear(activation, inner[:size])  # of a gated one the first half is the gate
    if gated:
        hidden = hidden * inner[size:]
    return down @ hidden if down_bias is None else down @ hidden + down_bias


def _nonlinear(activation: str, v: Tensor) -> Tensor:
    if activation == "silu":
        return v / (1 + (-v).exp())
    if activation == "gelu":
        return v * (1 + torch.erf(v / math.sqrt(2))) / 2
    if activation == "gelu_tanh":  # Hendrycks and Gimpel 2016, arXiv 1606.08415
        return v * (1 + torch.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) / 2
    positive = torch.where(v > 0, v, torch.zeros_like(v))
    return positive if activation == "relu" else positive**2
