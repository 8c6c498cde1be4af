"""Routed experts on a processor: a few at a time, with a backward pass that keeps the first products only.

What they touch stays in the processor's cache. Each expert's products are its own; what is done to every row is done to
those of a group of experts together, which keeps all threads busy where experts are small. Dropless: every row that was
kept is computed.

N tokens, R kept choices, S slots, E experts, d width, f expert size (f1: 2f if gated, else f).
"""

from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from moewright.architecture.feed_forwards import Activation
from moewright.lab.fast.choice import goes_by_groups, rounds_rows_up
from moewright.lab.fast.elementwise import ACTIVATIONS, Differentiable, gated_gradient
from moewright.lab.fast.products import times, times_transposed, transposed_times

GROUP_BYTES = 2**21
"""First products and inputs of the experts of a group, for each thread: about what a core's caches hold."""


class _Slots(NamedTuple):
    """The rows of the experts, and which experts are taken at a time.

    Where a matrix library builds a kernel for every new number of rows, which costs more than a small product and half
    a megabyte in oneDNN, there is room between the experts so that each has one of few numbers: rounded up to one of
    four for each power of two, some 9 % on average; the rows that fill up have weight 0.
    """

    begins: list[int]
    """Where the slots of each expert begin, and the end of the last."""
    slot: Tensor
    """(R,) where each row went."""
    token: Tensor
    """(S,) token of each slot; any for those that fill up."""
    groups: list[range]
    """The experts that are taken at a time; all of those with rows, and others between them."""

    @classmethod
    def of(cls, token: Tensor, counts: list[int], x: Tensor, hidden: int) -> "_Slots":
        """For rows of `x` (N, d) in the order of their experts, with first products of size `hidden`."""
        sizes = [_bucket(count) for count in counts] if rounds_rows_up(x) else counts
        begins = [0, *accumulate(sizes)]
        moved = [0, *accumulate(size - count for size, count in zip(sizes, counts, strict=True))][:-1]
        shifts = torch.tensor(moved, device=token.device).repeat_interleave(torch.tensor(counts, device=token.device))
        slot = torch.arange(len(token), device=token.device) + shifts
        tokens = torch.zeros(begins[-1], dtype=token.dtype, device=token.device).index_copy_(0, slot, token)
        most = torch.get_num_threads() * GROUP_BYTES // ((hidden + x.shape[-1]) * x.element_size())
        return cls(begins, slot, tokens, _grouped(begins, most if goes_by_groups() else 0))

    def spread(self, values: Tensor) -> Tensor:
        """(R,) -> (S, 1), with 0 in the slots that fill up."""
        return values.new_zeros(len(self.token)).index_copy_(0, self.slot, values).unsqueeze(-1)

    def rows(self, group: range) -> slice:
        """The slots of a group's experts."""
        return slice(self.begins[group.start], self.begins[group.stop])

    def of_each(self, group: range) -> list[tuple[int, slice]]:
        """The experts of a group that have rows, and where these lie among the group's."""
        first = self.begins[group.start]
        within = ((e, slice(self.begins[e] - first, self.begins[e + 1] - first)) for e in group)
        return [(expert, rows) for expert, rows in within if rows.start < rows.stop]


def _bucket(count: int) -> int:
    step = 1 << max(count.bit_length() - 3, 0)
    return -(-count // step) * step


def _grouped(begins: list[int], most: int) -> list[range]:
    """Experts in groups of at most so many slots, or of one expert; groups without slots are left out."""
    groups, start = [], 0
    for expert in range(len(begins) - 1):
        if expert > start and begins[expert + 1] - begins[start] > most:
            groups.append(range(start, expert))
            start = expert
    groups.append(range(start, len(begins) - 1))
    return [group for group in groups if begins[group.start] < begins[group.stop]]


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
        slots = _Slots.of(token, counts, x, gate_up.shape[1])
        weights = slots.spread(gates)
        kept = []
        out = torch.zeros_like(x)
        for group in slots.groups:
            here, experts = slots.rows(group), slots.of_each(group)
            tokens = slots.token[here]
            rows = x.index_select(0, tokens)
            hidden = x.new_empty(len(tokens), gate_up.shape[1])
            for expert, own in experts:
                times_transposed(rows[own], first[expert], out=hidden[own])
            kept.append(hidden)
            activated = _activated(hidden, act, is_gated)[0].mul_(weights[here])
            for expert, own in experts:
                times_transposed(activated[own], second[expert], out=rows[own])
            out.index_add_(0, tokens, rows)
        ctx.save_for_backward(x, gates, token, first, second, *kept)
        ctx.settings = counts, act, is_gated, gate_up.dtype
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gates, token, first, second, *kept = ctx.saved_tensors
        counts, act, is_gated, dtype = ctx.settings
        slots = _Slots.of(token, counts, x, first.shape[1])
        weights = slots.spread(gates)
        new = torch.empty if all(counts) else torch.zeros
        dfirst, dsecond = (new(w.shape, dtype=dtype, device=x.device) for w in (first, second))
        dx, dgates = torch.zeros_like(x), list[Tensor]()
        for group, hidden in zip(slots.groups, kept, strict=True):
            here, experts = slots.rows(group), slots.of_each(group)
            tokens = slots.token[here]
            dout = grad.index_select(0, tokens)
            activated, gate_value = _activated(hidden, act, is_gated)
            dactivated = torch.empty_like(activated)
            for expert, own in experts:
                times(dout[own], second[expert], out=dactivated[own])
            dgates.append(torch.linalg.vecdot(dactivated, activated))
            activated.mul_(weights[here])
            for expert, own in experts:
                transposed_times(dout[own], activated[own], out=dsecond[expert])
            dactivated.mul_(weights[here])
            if gate_value is None:
                dhidden = act.gradient(dactivated, hidden, torch.empty_like(hidden))
            else:
                dhidden = gated_gradient(dactivated, hidden, act, gate_value)
            rows = x.index_select(0, tokens)
            for expert, own in experts:
                transposed_times(dhidden[own], rows[own], out=dfirst[expert])
                times(dhidden[own], first[expert], out=dout[own])
            dx.index_add_(0, tokens, dout)
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
