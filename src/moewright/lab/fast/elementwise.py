"""Norm, rotation and activations: elementwise work with a backward pass that keeps as little as can be."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from moewright.architecture.feed_forwards import Activation


class _RMSNorm(torch.autograd.Function):
    """Keeps the input and one number a row; statistics in fp32 or better."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scale = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        normed = wide * scale
        return (normed if weight is None else normed.mul_(weight)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight, scale = ctx.saved_tensors
        scaled = grad * scale  # in the scale's dtype
        product = scaled * x
        dweight = None
        if weight is not None:
            dweight = product.reshape(-1, *weight.shape).sum(0).to(weight.dtype)
            product, scaled = product.mul_(weight), scaled.mul_(weight)
        inner = product.sum(-1, keepdim=True).mul_(scale).mul_(scale).div_(x.shape[-1])
        return scaled.addcmul_(x, inner, value=-1).to(x.dtype), dweight, None


def rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """`operations.rms_norm`."""
    y: Tensor = _RMSNorm.apply(x, weight, eps)
    return y


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotate(grad, cos, -sin), None, None


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = cos.shape[-1]
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    first, second = x[..., :half], x[..., half : 2 * half]
    torch.mul(first, cos, out=y[..., :half])
    y[..., :half].addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=y[..., half : 2 * half])
    y[..., half : 2 * half].addcmul_(first, sin)
    if 2 * half < x.shape[-1]:
        y[..., 2 * half :] = x[..., 2 * half :]
    return y


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`operations.rotate`; contiguous."""
    y: Tensor = _Rotate.apply(x, cos, sin)
    return y


class Differentiable(NamedTuple):
    """An elementwise function."""

    value: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor, Tensor], Tensor]
    """(gradient of the output, input, where to write) -> gradient of the input, written there."""


_aten = torch.ops.aten

ACTIVATIONS: dict[Activation, Differentiable] = {
    "silu": Differentiable(_aten.silu, lambda grad, x, out: _aten.silu_backward(grad, x, grad_input=out)),
    "gelu": Differentiable(_aten.gelu, lambda grad, x, out: _aten.gelu_backward(grad, x, grad_input=out)),
    "gelu_tanh": Differentiable(
        lambda x: _aten.gelu(x, approximate="tanh"),
        lambda grad, x, out: _aten.gelu_backward(grad, x, approximate="tanh", grad_input=out),
    ),
    "relu": Differentiable(torch.relu, lambda grad, x, out: _aten.threshold_backward(grad, x, 0, grad_input=out)),
    # Squared ReLU (So et al. 2021, arXiv 2109.08668).
    "relu2": Differentiable(
        lambda x: torch.relu(x).square_(), lambda grad, x, out: torch.mul(grad, torch.relu(x).mul_(2), out=out)
    ),
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


def gated_gradient(grad: Tensor, halves: Tensor, act: Differentiable, gate_value: Tensor | None = None) -> Tensor:
    """The gradient of act(gate) x up in its halves (..., 2 f) from that of the result (..., f).

    `gate_value` is act(gate), where it is there already.
    """
    gate, up = halves.chunk(2, dim=-1)
    size = gate.shape[-1]
    result = torch.empty_like(halves)
    act.gradient(grad * up, gate, result[..., :size])
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
        return ctx.act.gradient(grad, x, torch.empty_like(x)), None


def activate(hidden: Tensor, activation: Activation, gated: bool) -> Tensor:
    """`operations.activate`."""
    function: Any = _Gated if gated else _Plain
    y: Tensor = function.apply(hidden, ACTIVATIONS[activation])
    return y
