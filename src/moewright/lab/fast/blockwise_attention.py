"""Causal softmax attention on a processor: a blockwise loop over heads that stays in its cache.

The loop does what FlashAttention does (arXiv 2205.14135): scores are made block by block and never kept, the backward
pass makes them again. Torch's own kernel has no fast case there: `python -m tests.benchmarks.bench_parts`.

Shapes: B batch, H query heads, G key-value heads (H a multiple), T tokens, D channels of queries and keys, V of values.
"""

from typing import Any

import torch
from torch import Tensor

from moewright.lab.fast.products import times, times_transposed, transposed_times

# Rows of queries at a time: 512 x 512 fp32 scores are 1 MB, which a core's cache holds; smaller blocks skip more of the
# masked half but make more calls.
BLOCK = 512


class _CausalLoop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        q = q * scale
        batch, heads, length, _ = q.shape
        per_key = heads // k.shape[1]
        out = torch.empty(batch, length, heads, v.shape[-1], dtype=q.dtype, device=q.device)
        future = _future(length, q)
        for b in range(batch):
            for h in range(heads):
                rows, keys, values, head_out = q[b, h], k[b, h // per_key], v[b, h // per_key], out[b, :, h]
                for start in range(0, length, BLOCK):
                    stop = min(start + BLOCK, length)
                    weights = _weights(rows[start:stop], keys[:stop], future, start)
                    head_out[start:stop] = times(weights, values[:stop])
        ctx.save_for_backward(q, k, v)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v = ctx.saved_tensors
        batch, heads, length, _ = q.shape
        per_key = heads // k.shape[1]
        grad = grad.transpose(1, 2).contiguous()
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        future = _future(length, q)
        last = (length - 1) // BLOCK * BLOCK
        for b in range(batch):
            for h in range(heads):
                g = h // per_key
                rows, keys, values, douts = q[b, h], k[b, g], v[b, g], grad[b, h]
                drows, dkeys, dvalues = dq[b, h], dk[b, g], dv[b, g]
                # From the last block, which looks at all keys: its gradients are the first, and the others add to them.
                for start in range(last, -1, -BLOCK):
                    stop = min(start + BLOCK, length)
                    weights = _weights(rows[start:stop], keys[:stop], future, start)
                    dweights = times_transposed(douts[start:stop], values[:stop])
                    dscores = torch.ops.aten._softmax_backward_data(dweights, weights, -1, weights.dtype)
                    torch.mul(times(dscores, keys[:stop]), ctx.scale, out=drows[start:stop])
                    add = _add if start < last or h % per_key else Tensor.copy_
                    add(dvalues[:stop], transposed_times(weights, douts[start:stop]))
                    add(dkeys[:stop], transposed_times(dscores, rows[start:stop]))
        return dq, dk, dv, None


def _add(sums: Tensor, values: Tensor) -> Tensor:
    return sums.add_(values)


def _future(length: int, like: Tensor) -> Tensor:
    """What is added to the scores of a block with itself: minus infinity for tokens that are still to come."""
    size = min(length, BLOCK)
    return torch.full((size, size), -torch.inf, dtype=like.dtype, device=like.device).triu_(1)


def _weights(rows: Tensor, keys: Tensor, future: Tensor, start: int) -> Tensor:
    scores = times_transposed(rows, keys)
    size = len(rows)
    scores[:, start:] += future[:size, :size]
    return torch.softmax(scores, -1)


def causal_attention(q_BHTC: Tensor, k_BGTC: Tensor, v_BGTC: Tensor, scale: float) -> Tensor:
    """`operations.causal_attention`."""
    out_BTHC: Tensor = _CausalLoop.apply(q_BHTC, k_BGTC, v_BGTC, scale)
    return out_BTHC
