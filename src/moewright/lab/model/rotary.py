"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864), rotating channel i with channel i + n/2.

That is the layout of Llama and of most modules in transformers. Positions are those in the sequence; since only their
differences matter, they need no reset where a new document begins.
"""

from typing import Any

import torch
from torch import Tensor

from moewright.architecture.mixers import Rope


def angles(rope: Rope, channels: int, length: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines (length, n/2) for the n channels that rotate out of `channels`, computed in float64."""
    rotated = int(channels * rope.fraction) // 2 * 2
    exponents = torch.arange(0, rotated, 2, dtype=torch.float64, device=device) / rotated
    turns = torch.outer(torch.arange(length, dtype=torch.float64, device=device), rope.theta**-exponents)
    return turns.cos().to(dtype), turns.sin().to(dtype)


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
    """x (..., length, channels), its first n channels rotated by the angles (length, n/2); contiguous."""
    y: Tensor = _Rotate.apply(x, cos, sin)
    return y
