"""Routed experts of one size: two ways to compute the same sum, and the order of rows that both work on.

    y[t] = sum over the choices (t, e, gate) that were kept of gate x down[e] act(gate_up[e] x[t])

`grouped` puts the rows of each expert together and multiplies them with torch's grouped product where that runs.
`loop` goes through the experts one by one with a backward pass of its own: what it touches stays in a processor's
cache, and it keeps nothing but the first product's output. Dropless: every row that was kept is computed.

N tokens, R kept choices, E experts, d width, f expert size (f1: 2f if gated, else f).
"""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import grouped_mm

from moewright.architecture.part import Activation
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
        out = torch.zeros_like(x)
        kept = []
        for expert, part in _parts(counts):
            hidden = times_transposed(x.index_select(0, token[part.rows]), first[expert])
            kept.append(hidden)
            y = times_transposed(_activated(hidden, act, is_gated), second[expert])[part.own]
            out.index_add_(0, token[part.rows][part.own], y * gates[part.rows][part.own].unsqueeze(-1))
        ctx.save_for_backward(x, gates, token, first, second, *kept)
        ctx.settings = counts, act, is_gated, gate_up.dtype
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gates, token, first, second, *kept = ctx.saved_tensors
        counts, act, is_gated, dtype = ctx.settings
        dx, dgates = torch.zeros_like(x), torch.zeros_like(gates)
        dfirst = torch.zeros(first.shape, dtype=dtype, device=x.device)
        dsecond = torch.zeros(second.shape, dtype=dtype, device=x.device)
        for (expert, part), hidden in zip(_parts(counts), kept, strict=True):
            tokens = token[part.rows]
            # Rows that only fill up the bucket have gate 0, so that they add nothing to the weights' gradients.
            row_gates = torch.zeros(len(tokens), 1, dtype=x.dtype, device=x.device)
            row_gates[part.own, 0] = gates[part.rows][part.own]
            dout = grad.index_select(0, tokens)
            activated = _activated(hidden, act, is_gated)
            dactivated = times(dout, second[expert])
            dgates[part.rows][part.own] = torch.linalg.vecdot(dactivated, activated)[part.own]
            dsecond[expert] = transposed_times(dout, activated.mul_(row_gates))
            dactivated.mul_(row_gates)
            dhidden = gated_gradient(dactivated, hidden, act) if is_gated else act.gradient(dactivated, hidden)
            dfirst[expert] = transposed_times(dhidden, x.index_select(0, tokens))
            dx.index_add_(0, tokens[part.own], times(dhidden, first[expert])[part.own])
        return dx, dgates, dfirst, dsecond, None, None, None, None


def _activated(hidden: Tensor, act: Differentiable, is_gated: bool) -> Tensor:
    if not is_gated:
        return act.value(hidden)
    gate, up = hidden.chunk(2, dim=-1)
    return act.value(gate).mul_(up)


class _Part(NamedTuple):
    """One expert's rows, and with them rows of its neighbours that fill up its bucket."""

    rows: slice
    """Of the sorted rows."""
    own: slice
    """Of `rows`: the expert's own."""


def _parts(counts: list[int]) -> list[tuple[int, _Part]]:
    """The experts that have rows, with those rows.

    A matrix library builds a kernel for every new number of rows, which costs more than a small product; so numbers
    are rounded up to one of eight for each power of two. The filling rows are real rows of neighbouring experts.
    """
    total = sum(counts)
    parts, start = [], 0
    for expert, count in enumerate(counts):
        if count:
            size = min(_bucket(count), total)
            first = min(start, total - size)
            parts.append((expert, _Part(slice(first, first + size), slice(start - first, start - first + count))))
        start += count
    return parts


def _bucket(count: int) -> int:
    step = 1 << max(count.bit_length() - 4, 0)
    return -(-count // step) * step
