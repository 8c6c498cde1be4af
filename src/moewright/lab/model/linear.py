"""A linear layer whose weight stays in full precision while the product runs in the activations' dtype."""

from typing import Any

import torch
from torch import Tensor

from moewright.lab.model.products import times, times_transposed, transposed_times


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        cast = weight.to(x.dtype)
        ctx.save_for_backward(rows, cast)
        ctx.weight_dtype = weight.dtype
        return times_transposed(rows, cast).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        grads = grad.reshape(-1, grad.shape[-1])
        wants_x, wants_weight = ctx.needs_input_grad
        dx = times(grads, weight).view(*grad.shape[:-1], -1) if wants_x else None
        return dx, transposed_times(grads, rows).contiguous().to(ctx.weight_dtype) if wants_weight else None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., in) times weight (out, in) transposed: (..., out), in x's dtype; weight gradients in the weight's."""
    y: Tensor = _Linear.apply(x, weight)
    return y if bias is None else y + bias.to(y.dtype)


def linears(x: Tensor, weights: list[Tensor]) -> Tensor:
    """Several layers on one input as one product: x (..., in) -> (..., sum of outs)."""
    return linear(x, weights[0] if len(weights) == 1 else torch.cat(weights))
