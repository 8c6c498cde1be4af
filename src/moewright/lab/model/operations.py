"""The operations under the model, as plain torch defines them.

Each has a twin of the same name and arguments in `lab.fast`, with a backward pass written by hand. A call runs the one
that `lab.fast.choice` has a table of; `f.plain` and `f.fast` are the two. Letters are those of `lab.model.transformer`;
"..." is any number of axes.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moewright.architecture.feed_forwards import Activation
from moewright.lab.fast import blockwise_attention, chunked_loss, elementwise, expert_loop, products
from moewright.lab.fast.choice import by_grouped_mm, everywhere, has_twin, on_processors
from moewright.lab.fast.chunked_loss import IGNORED

ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),  # So et al. 2021, arXiv 2109.08668
}


def parameter(*shape: int) -> nn.Parameter:
    """A parameter of this shape, not yet initialised."""
    return nn.Parameter(torch.empty(*shape))


def _wide(dtype: torch.dtype) -> torch.dtype:
    """fp32, or better where the input is."""
    return torch.promote_types(dtype, torch.float32)


@has_twin(products.linear, runs=everywhere)
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """x (..., in) times weight (out, in) transposed -> (..., out), in `dtype` or x's.

    Weights stay in full precision, and so do their gradients, while the product runs in the activations' dtype.
    """
    dtype = dtype or x.dtype
    y = F.linear(x.to(dtype), weight.to(dtype))
    return y if bias is None else y + bias.to(dtype)


@has_twin(elementwise.rms_norm, runs=everywhere)
def rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """x (..., n) over the root of its mean square, times weight (n,): RMSNorm (arXiv 1910.07467), in fp32 or better."""
    wide = x.to(_wide(x.dtype))
    normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (normed if weight is None else normed * weight).to(x.dtype)


@has_twin(elementwise.rotate, runs=everywhere)
def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (..., T, C) with channel i turned against channel i + n/2 by angles (T, n/2); channels from n on stay."""
    half = cos.shape[-1]
    first, second, rest = x.split((half, half, x.shape[-1] - 2 * half), dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin, rest), dim=-1)


@has_twin(elementwise.activate, runs=everywhere)
def activate(hidden: Tensor, activation: Activation, gated: bool) -> Tensor:
    """act(x) of x (..., F); gated, act(gate) x up of gate and up (..., 2 F): SwiGLU and its like (arXiv 2002.05202)."""
    act = ACTIVATIONS[activation]
    if not gated:
        return act(hidden)
    gate, up = hidden.chunk(2, dim=-1)
    return act(gate) * up


@has_twin(blockwise_attention.causal_attention, runs=on_processors)
def causal_attention(q_BHTC: Tensor, k_BGTC: Tensor, v_BGTC: Tensor, scale: float) -> Tensor:
    """Softmax attention of every token over itself and all before it -> (B, T, H, C of v)."""
    grouped = q_BHTC.shape[1] != k_BGTC.shape[1]
    out_BHTC = F.scaled_dot_product_attention(q_BHTC, k_BGTC, v_BGTC, is_causal=True, scale=scale, enable_gqa=grouped)
    return out_BHTC.transpose(1, 2)


@has_twin(expert_loop.expert_ffn, runs=on_processors)
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
    """Every token's sum over its rows of gate x down act(up x), in the weights of the row's expert -> (N, D).

    Rows stand in the order of their experts: `counts_E` of each. Gated, F counts gate and up both in `up_EFD`.
    """
    ends_E = counts_E.cumsum(0)
    hidden_RF = _grouped_product(x_ND[token_R], up_EFD.to(x_ND.dtype), ends_E)
    y_RD = _grouped_product(activate(hidden_RF, activation, gated), down_EDF.to(x_ND.dtype), ends_E)
    return torch.zeros_like(x_ND).index_add(0, token_R, y_RD * gates_R.unsqueeze(-1))


def _grouped_product(rows: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """rows (R, k) sorted by expert, weights (E, n, k), `ends` (E,) of each expert's rows -> (R, n)."""
    if by_grouped_mm(rows, weights):
        return F.grouped_mm(rows, weights.transpose(-2, -1), offs=ends.to(torch.int32))
    parts = rows.tensor_split(ends[:-1].cpu())
    return torch.cat([part @ weight.t() for part, weight in zip(parts, weights, strict=True)])


@has_twin(chunked_loss.head_loss, runs=everywhere)
def head_loss(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, scale: float, bias_V: Tensor | None = None
) -> Tensor:
    """`scale` times the summed cross-entropy in nats of the head's logits, a scalar in fp32 or better.

    Targets are token ids, or IGNORED where nothing is predicted.
    """
    wide = _wide(hidden_ND.dtype)
    logits_NV = F.linear(hidden_ND, weight_VD.to(hidden_ND.dtype)).to(wide)
    if bias_V is not None:
        logits_NV = logits_NV + bias_V
    return scale * F.cross_entropy(logits_NV, targets_N, ignore_index=IGNORED, reduction="sum")


OPERATIONS = (linear, rms_norm, rotate, activate, causal_attention, expert_ffn, head_loss)
