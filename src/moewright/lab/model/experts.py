"""Routed experts of one size: two ways to compute the same sum, and the order of rows that both work on.

    y[t] = sum over the choices (t, e, gate) that were kept of gate x down[e] act(gate_up[e] x[t])

`grouped` puts the rows of each expert together and multiplies them with torch's grouped product where that runs.
`loop` goes through the experts one by one with a backward pass of its own: what it touches stays in a processor's
cache, and it keeps nothing but the first product's output. Dropless: every row that was kept is computed.

N tokens, R kept choices, E experts, d width, f expert size (f1: 2f if gated, else f).
"""

from itertools import accumulate
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import grouped_mm

from moewright.architecture.feed_forwards import Activation
from moewright.lab.model.activations import ACTIVATIONS, Differentiable, activate, gated_gradient
from moewright.lab.model.products import times, times_transposed, transposed_times

Implementation = Literal["grouped", "loop"]


class Rows(NamedTuple):
    """The kept choices in the order of their experts."""

    token: Tensor
    """(R,) which token."""
    choice: Tensor
    """(R,) position of the choice in the flattened (N, K) tables."""
    counts: Tensor
    """(E,) rows of each expert."""


def sort_rows(experts: Tensor, kept: Tensor | None, num_experts: int) -> Rows:
    """Rows from a table of chosen experts (N, K); `kept` (N, K) is False where a choice was dropped or padding."""
    flat = experts.reshape(-1)
    if kept is not None:
        flat = torch.where(kept.reshape(-1), flat, num_experts)  # behind all experts
    order = torch.argsort(flat, stable=True)
    counts = torch.bincount(flat, minlength=num_experts + 1)[:num_experts]
    if kept is not None:
        order = order[: int(counts.sum())]
    return Rows(order // experts.shape[1], order, counts)


def run_experts(
    x: Tensor,
    rows: Rows,
    gates: Tensor,
    gate_up: Tensor,
    down: Tensor,
    activation: Activation,
    is_gated: bool,
    implementation: Implementation | None = None,
) -> Tensor:
    """x (N, d), gates (N, K), gate_up (E, f1, d), down (E, d, f) -> (N, d).

    `implementation` None takes `grouped` on accelerators and `loop` on processors.
    """
    kind = implementation or ("loop" if x.device.type == "cpu" else "grouped")
    row_gates = gates.reshape(-1)[rows.choice].to(x.dtype)
    if kind == "grouped":
        return _grouped(x, rows, row_gates, gate_up, down, activation, is_gated)
    act = ACTIVATIONS[activation]
    counts = rows.counts.tolist()
    y: Tensor = _Loop.apply(x, row_gates, gate_up, down, rows.token, counts, act, is_gated)
    return y


def _grouped(
    x: Tensor, rows: Rows, row_gates: Tensor, gate_up: Tensor, down: Tensor, activation: Activation, is_gated: bool
) -> Tensor:
    ends = rows.counts.cumsum(0)
    hidden = grouped_product(x[rows.token], gate_up.to(x.dtype), ends)
    y = grouped_product(activate(hidden, activation, is_gated), down.to(x.dtype), ends)
    return torch.zeros_like(x).index_add(0, rows.token, y * row_gates.unsqueeze(-1))


def grouped_product(rows: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """rows (R, k) sorted by expert, weights (E, n, k), `ends` (E,) of each expert's rows -> (R, n).

    By torch's grouped product where it takes the dtype and the strides (multiples of 16 bytes), else one by one.
    """
    aligned = all(size * rows.element_size() % 16 == 0 for size in weights.shape[1:])
    if aligned and rows.dtype in (torch.float32, torch.bfloat16, torch.float16) and len(rows):
        return grouped_mm(rows, weights.transpose(-2, -1), offs=ends.to(torch.int32))
    parts = rows.tensor_split(ends[:-1].cpu())
    return torch.cat([part @ weight.t() for part, weight in zip(parts, weights, strict=True)])


class _Slots(NamedTuple):
    """The rows with room between the experts, so that each has one of few numbers of rows.

    A matrix library builds a kernel for every new number of rows, which costs more than a small product and half a
    megabyte in oneDNN. So numbers are rounded up to one of four for each power of two, some 9 % on average; the rows
    that fill up have weight 0.
    """

    sizes: list[int]
    """Rows of each expert, filling included; 0 for an expert without rows."""
    slot: Tensor
    """(R,) where each row went."""
    token: Tensor
    """(S,) token of each slot; any for those that fill up."""

    @classmethod
    def of(cls, token: Tensor, counts: list[int]) -> "_Slots":
        sizes = [_bucket(count) for count in counts]
        moved = [0, *accumulate(size - count for size, count in zip(sizes, counts, strict=True))][:-1]
        shifts = torch.tensor(moved, device=token.device).repeat_interleave(torch.tensor(counts, device=token.device))
        slot = torch.arange(len(token), device=token.device) + shifts
        return cls(
            sizes, slot, torch.zeros(sum(sizes), dtype=token.dtype, device=token.device).index_copy(0, slot, token)
        )

    def spread(self, values: Tensor) -> list[Tensor]:
        """(R,) -> for each expert (rows, 1), with 0 in the rows that fill up."""
        spread = values.new_zeros(len(self.token)).index_copy_(0, self.slot, values)
        return list(spread.unsqueeze(-1).split(self.sizes))


def _bucket(count: int) -> int:
    step = 1 << max(count.bit_length() - 3, 0)
    return -(-count // step) * step


class _Loop(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gates: Tensor,
        gate_up: Tensor,
        down: Tensor,
        token: Tensor,
        counts: list[int],
        act: Differentiable,
        is_gated: bool,
    ) -> Tensor:
        first, second = gate_up.to(x.dtype), down.to(x.dtype)
        slots = _Slots.of(token, counts)
        weights = slots.spread(gates)
        kept = []
        out = torch.zeros_like(x)
        for expert, tokens in enumerate(slots.token.split(slots.sizes)):
            if not counts[expert]:
                continue
            hidden = times_transposed(x.index_select(0, tokens), first[expert])
            kept.append(hidden)
            activated = _activated(hidden, act, is_gated)[0].mul_(weights[expert])
            out.index_add_(0, tokens, times_transposed(activated, second[expert]))
        ctx.save_for_backward(x, gates, token, first, second, *kept)
        ctx.settings = counts, act, is_gated, gate_up.dtype
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gates, token, first, second, *kept = ctx.saved_tensors
        counts, act, is_gated, dtype = ctx.settings
        slots = _Slots.of(token, counts)
        weights = slots.spread(gates)
        new = torch.empty if all(counts) else torch.zeros
        dfirst, dsecond = (new(w.shape, dtype=dtype, device=x.device) for w in (first, second))
        dx, dgates = torch.zeros_like(x), list[Tensor]()
        for expert, tokens in enumerate(slots.token.split(slots.sizes)):
            if not counts[expert]:
                continue
            hidden, dout = kept[len(dgates)], grad.index_select(0, tokens)
            activated, gate_value = _activated(hidden, act, is_gated)
            dactivated = times(dout, second[expert])
            dgates.append(torch.linalg.vecdot(dactivated, activated))
            dsecond[expert] = transposed_times(dout, activated.mul_(weights[expert]))
            dactivated.mul_(weights[expert])
            if gate_value is None:
                dhidden = act.gradient(dactivated, hidden)
            else:
                dhidden = gated_gradient(dactivated, hidden, act, gate_value)
            dfirst[expert] = transposed_times(dhidden, x.index_select(0, tokens))
            dx.index_add_(0, tokens, times(dhidden, first[expert]))
        drow_gates = torch.cat(dgates).index_select(0, slots.slot) if dgates else torch.zeros_like(gates)
        return dx, drow_gates, dfirst, dsecond, None, None, None, None


def _activated(hidden: Tensor, act: Differentiable, is_gated: bool) -> tuple[Tensor, Tensor | None]:
    """The input of the second product, and act(gate) where there is one."""
    if not is_gated:
        return act.value(hidden), None
    gate, up = hidden.chunk(2, dim=-1)
    gate_value = act.value(gate)
    return gate_value * up, gate_value
