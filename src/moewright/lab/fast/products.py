"""Matrix products by the backend that was chosen for them, and the linear layer made of them.

oneDNN's operator is the one that torch's compiler calls; `lab.fast.choice` says when. Everywhere else these functions
are torch's products, which go to MKL on x86. Matrices only; m, n, k are their sizes, and the result has the inputs'
dtype, or lies in `out`.
"""

from typing import Any

import torch
from torch import Tensor

from moewright.lab.fast.choice import by_onednn


def _onednn(a: Tensor, b: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise.default(a, b, None, "none", [], "")
    return product


def times_transposed(a: Tensor, b: Tensor, *, out: Tensor | None = None) -> Tensor:
    """a (m, k) x b (n, k) transposed: (m, n). A layer's forward product."""
    if by_onednn("forward", a, a.numel() * len(b)):
        return _into(out, _onednn(a, b))
    return _mm(a, b.t(), out)


def times(a: Tensor, b: Tensor, *, out: Tensor | None = None) -> Tensor:
    """a (m, k) x b (k, n): (m, n). The gradient of a layer's input."""
    if by_onednn("input_gradient", a, a.numel() * b.shape[1]):
        return _into(out, _onednn(a, b.t()))
    return _mm(a, b, out)


def transposed_times(a: Tensor, b: Tensor, *, out: Tensor | None = None) -> Tensor:
    """a (k, m) transposed x b (k, n): (m, n), perhaps a transposed view. The gradient of a layer's weight."""
    if not by_onednn("weight_gradient", a, a.numel() * b.shape[1]):
        return _mm(a.t(), b, out)
    # oneDNN's operator copies a transposed first matrix, and torch transposes on one thread: so the smaller goes first.
    product = _onednn(a.t(), b.t()) if a.shape[1] <= b.shape[1] else _onednn(b.t(), a.t()).t()
    return _into(out, product)


def _mm(a: Tensor, b: Tensor, out: Tensor | None) -> Tensor:
    if out is None or out.dtype == a.dtype:
        return torch.mm(a, b, out=out)
    return _into(out, torch.mm(a, b))


def _into(out: Tensor | None, product: Tensor) -> Tensor:
    return product if out is None else out.copy_(product)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        cast = weight.to(dtype)
        ctx.save_for_backward(rows, cast)  # rows as they came: a wider copy would be kept beside them
        ctx.weight_dtype = weight.dtype
        return times_transposed(rows.to(dtype), cast).view(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        rows, weight = ctx.saved_tensors
        grads = grad.reshape(-1, grad.shape[-1])
        wants_x, wants_weight, _ = ctx.needs_input_grad
        dx = dweight = None
        if wants_x:
            dx = times(grads, weight).to(rows.dtype).view(*grad.shape[:-1], weight.shape[1])
        if wants_weight:
            dweight = transposed_times(grads, rows.to(grads.dtype)).contiguous().to(ctx.weight_dtype)
        return dx, dweight, None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """`operations.linear`: the bias apart, one product forward and two backward."""
    y: Tensor = _Linear.apply(x, weight, dtype or x.dtype)
    return y if bias is None else y + bias.to(y.dtype)
