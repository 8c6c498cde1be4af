"""Activations of feed-forwards with their derivatives, for autograd functions that recompute instead of keeping."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from moewright.architecture.feed_forwards import Activation


class Differentiable(NamedTuple):
    """An elementwise function."""

    value: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor]
    """(gradient of the output, input) -> gradient of the input."""


_aten = torch.ops.aten

ACTIVATIONS: dict[Activation, Differentiable] = {
    "silu": Differentiable(_aten.silu, _aten.silu_backward),
    "gelu": Differentiable(_aten.gelu, _aten.gelu_backward),
    "gelu_tanh": Differentiable(
        lambda x: _aten.gelu(x, approximate="tanh"), lambda grad, x: _aten.gelu_backward(grad, x, approximate="tanh")
    ),
    "relu": Differentiable(torch.relu, lambda grad, x: _aten.threshold_backward(grad, x, 0)),
    # Squared ReLU (So et al. 2021, arXiv 2109.08668).
    "relu2": Differentiable(lambda x: torch.relu(x).square_(), lambda grad, x: grad * torch.relu(x).mul_(2)),
}


class _Gated(torch.autograd.Function):
    """act(gate) x up, keeping the two halves only."""

    @staticmethod
    def forward(ctx: Any, halves: Tensor, act: Differentiable) -> Tensor:
        ctx.save_for_backward(halves)
        ctx.act = act
        gate, up = halves.chunk(2, dim=-1)
        return act.value(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (halves,) = ctx.saved_tensors
        return gated_gradient(grad, halves, ctx.act), None


def gated(halves: Tensor, act: Differentiable) -> Tensor:
    """SwiGLU and its like (arXiv 2002.05202): halves (..., 2 f) as gate and up -> act(gate) x up (..., f)."""
    y: Tensor = _Gated.apply(halves, act)
    return y


def gated_gradient(grad: Tensor, halves: Tensor, act: Differentiable, gate_value: Tensor | None = None) -> Tensor:
    """The gradient of `gated` in its halves, from the gradient (..., f) of its output; `gate_value` is act(gate)."""
    gate, up = halves.chunk(2, dim=-1)
    size = gate.shape[-1]
    result = torch.empty_like(halves)
    result[..., :size] = act.gradient(grad * up, gate)
    torch.mul(grad, act.value(gate) if gate_value is None else gate_value, out=result[..., size:])
    return result


class _Plain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, act: Differentiable) -> Tensor:
        ctx.save_for_backward(x)
        ctx.act = act
        return act.value(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return ctx.act.gradient(grad, x), None


def activate(hidden: Tensor, name: Activation, is_gated: bool) -> Tensor:
    """The nonlinearity of a feed-forward on the output of its first product."""
    if is_gated:
        return gated(hidden, ACTIVATIONS[name])
    y: Tensor = _Plain.apply(hidden, ACTIVATIONS[name])
    return y
