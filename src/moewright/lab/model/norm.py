"""Normalisation: RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467) and layer norm (arXiv 1607.06450)."""

from typing import Any

import torch
from torch import Tensor, nn

from moewright.architecture.spec import Norm


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
    """x over the root of its mean square, both over the last dimension, times `weight` of its size."""
    y: Tensor = _RMSNorm.apply(x, weight, eps)
    return y


class NormLayer(nn.Module):
    """The norm of a spec over d channels."""

    def __init__(self, norm: Norm, d: int):
        super().__init__()
        self.kind, self.eps = norm.kind, norm.eps
        self.weight = nn.Parameter(torch.empty(d))
        self.bias = nn.Parameter(torch.empty(d)) if norm.bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d) -> (..., d), in x's dtype."""
        if self.kind == "layer":
            bias = None if self.bias is None else self.bias.to(x.dtype)
            return torch.nn.functional.layer_norm(x, self.weight.shape, self.weight.to(x.dtype), bias, self.eps)
        y = rms_norm(x, self.weight, self.eps)
        return y if self.bias is None else y + self.bias.to(x.dtype)
