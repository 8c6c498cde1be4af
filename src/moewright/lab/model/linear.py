"""A linear layer whose weight stays in full precision while the product runs in the activations' dtype."""

from typing import Any

import torch
from torch import Tensor

from moewright.lab.model.products import times, times_transposed, transposed_times


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        cast = weight.to(dtype)
        ctx.save_for_backward(rows, cast)  # rows as they came: a wider copy would be kept beside them
        ctx.weight_dtype = weight.dtype
        return times_transposed(rows.to(dtype), cast).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        rows, weight = ctx.saved_tensors
        grads = grad.reshape(-1, grad.shape[-1])
        wants_x, wants_weight, _ = ctx.needs_input_grad
        dx = dweight = None
        if wants_x:
            dx = times(grads, weight).to(rows.dtype).view(*grad.shape[:-1], -1)
        if wants_weight:
            dweight = transposed_times(grads, rows.to(grads.dtype)).contiguous().to(ctx.weight_dtype)
        return dx, dweight, None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """x (..., in) times weight (out, in) transposed: (..., out), in `dtype` or x's; its gradient in weight's."""
    y: Tensor = _Linear.apply(x, weight, dtype or x.dtype)
    return y if bias is None else y + bias.to(y.dtype)


def linears(x: Tensor, weights: list[Tensor], bias: Tensor | None = None) -> Tensor:
    """Several layers on one input as one product: x (..., in) -> (..., sum of outs)."""
    return linear(x, torch.cat(weights), bias)
