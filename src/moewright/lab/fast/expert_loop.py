"""Routed experts on a processor: one after the other, with a backward pass that keeps the first products only.

What an expert touches stays in the processor's cache. Dropless: every row that was kept is computed.

N tokens, R kept choices, E experts, d width, f expert size (f1: 2f if gated, else f).
"""

from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from moewright.architecture.feed_forwards import Activation
from moewright.lab.fast.elementwise import ACTIVATIONS, Differentiable, gated_gradient
from moewright.lab.fast.products import times, times_transposed, transposed_times


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


def expert_ffn(
    x_ND: Tensor,
    token_R: Tensor,
    gates_R: Tensor,
    counts_E: Tensor,
    up_EFD: Tensor,
    down_EDF: Tensor,
    activation: Activation,
    gated: bool,
) -> Tensor:
    """`operations.expert_ffn`."""
    act = ACTIVATIONS[activation]
    y_ND: Tensor = _Loop.apply(x_ND, gates_R, up_EFD, down_EDF, token_R, counts_E.tolist(), act, gated)
    return y_ND
