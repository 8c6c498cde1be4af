"""Causal softmax attention on a processor: a blockwise loop over heads that stays in its cache.

The loop does what FlashAttention does (arXiv 2205.14135): scores are made block by block and never kept, the backward
pass makes them again. Torch's own kernel has no fast case there: `python -m tests.benchmarks.bench_parts`.

Heads go through it in groups, a block of few rows of each at a time: so most of the masked half is never computed, and
products and softmax are yet large enough for all threads. Runs that began one head at a time go on so
(`lab.fast.choice`): sums are made in another order then.

Shapes: B batch, H query heads, G key-value heads (H a multiple), T tokens, D channels of queries and keys, V of values.
In the loop S sequences, each of one head of one batch entry, R rows of queries in a block, K keys.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from moewright.lab.fast.choice import goes_by_groups
from moewright.lab.fast.products import times, times_transposed, transposed_times

BLOCK = 512
"""Rows of queries at a time of a single head: 512 x 512 fp32 scores are 1 MB, which a core's cache holds."""
GROUP_BLOCK = 64
"""Rows of queries of each head of a group: a block computes at most so many columns that the mask then removes."""
SCORE_BYTES = 2**20
"""Scores of a group's block, for each thread: what a core's own cache holds."""


class _Blocks(NamedTuple):
    """What the loop takes at a time."""

    sequences: int
    rows: int

    @classmethod
    def of(cls, q: Tensor, per_key: int) -> "_Blocks":
        """For queries (B, H, T, D) of which `per_key` heads share a key."""
        if not goes_by_groups():
            return cls(1, BLOCK)
        scores = GROUP_BLOCK * q.shape[2] * q.element_size()
        fitting = max(1, torch.get_num_threads() * SCORE_BYTES // scores)
        return cls(-(-fitting // per_key) * per_key, GROUP_BLOCK)


class _CausalLoop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        batch, heads, length, _ = q.shape
        per_key = heads // k.shape[1]
        blocks = _Blocks.of(q, per_key)
        q, k, v = ((q * scale).flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1))
        out = torch.empty(len(q), length, v.shape[-1], dtype=q.dtype, device=q.device)
        future = _future(min(length, blocks.rows), q)
        for begin in range(0, len(q), blocks.sequences):
            end = min(begin + blocks.sequences, len(q))
            keys, values = (_shared(x, begin, end, per_key) for x in (k, v))
            for start in range(0, length, blocks.rows):
                stop = min(start + blocks.rows, length)
                weights = _weights(q[begin:end, start:stop], keys[:, :stop], future, start)
                out[begin:end, start:stop] = _times(weights, values[:, :stop])
        ctx.save_for_backward(q, k, v)
        ctx.settings = heads, scale, blocks
        return out.view(batch, heads, length, -1).transpose(1, 2).contiguous()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v = ctx.saved_tensors
        heads, scale, blocks = ctx.settings
        length, per_key = q.shape[1], len(q) // len(k)
        grad = grad.transpose(1, 2).reshape(len(q), length, -1)
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        future = _future(min(length, blocks.rows), q)
        last = (length - 1) // blocks.rows * blocks.rows
        for begin in range(0, len(q), blocks.sequences):
            end = min(begin + blocks.sequences, len(q))
            keys, values = (_shared(x, begin, end, per_key) for x in (k, v))
            # Of a group's heads each has its own sums, added up below; single ones add to their key's, one by one.
            are_own = end - begin > 1 and per_key > 1
            dkeys, dvalues = (
                torch.empty_like(x) if are_own else dx[begin // per_key :][: len(x)]
                for x, dx in ((keys, dk), (values, dv))
            )
            # From the last block, which looks at all keys: its gradients are the first, and the others add to them.
            for start in range(last, -1, -blocks.rows):
                stop = min(start + blocks.rows, length)
                rows, douts = q[begin:end, start:stop], grad[begin:end, start:stop]
                weights = _weights(rows, keys[:, :stop], future, start)
                dweights = _times_transposed(douts, values[:, :stop])
                dscores = torch.ops.aten._softmax_backward_data(dweights, weights, -1, weights.dtype)
                torch.mul(_times(dscores, keys[:, :stop]), scale, out=dq[begin:end, start:stop])
                is_first = start == last and (are_own or begin % per_key == 0)
                _sum_up(dvalues[:, :stop], weights, douts, is_first)
                _sum_up(dkeys[:, :stop], dscores, rows, is_first)
            if are_own:
                for own, dx in ((dkeys, dk), (dvalues, dv)):
                    dx[begin // per_key : end // per_key] = own.unflatten(0, (-1, per_key)).sum(1)
        kv_heads = heads // per_key
        return dq.unflatten(0, (-1, heads)), dk.unflatten(0, (-1, kv_heads)), dv.unflatten(0, (-1, kv_heads)), None


def _shared(x_GTC: Tensor, begin: int, end: int, per_key: int) -> Tensor:
    """Keys or values of these sequences: (S, T, C)."""
    own = x_GTC[begin // per_key : (end - 1) // per_key + 1]
    return own if end - begin == len(own) else own.repeat_interleave(per_key, 0)


def _future(size: int, like: Tensor) -> Tensor:
    """What is added to the scores of a block with itself: minus infinity for tokens that are still to come."""
    return torch.full((size, size), -torch.inf, dtype=like.dtype, device=like.device).triu_(1)


def _weights(rows_SRC: Tensor, keys_SKC: Tensor, future: Tensor, start: int) -> Tensor:
    scores_SRK = _times_transposed(rows_SRC, keys_SKC)
    size = rows_SRC.shape[1]
    scores_SRK[..., start:] += future[:size, :size]
    return torch.softmax(scores_SRK, -1)


# Products of each sequence: of one by the backend that was chosen, of a group by torch's batched product.


def _times_transposed(a: Tensor, b: Tensor) -> Tensor:
    return times_transposed(a[0], b[0]).unsqueeze(0) if len(a) == 1 else torch.bmm(a, b.transpose(1, 2))


def _times(a: Tensor, b: Tensor) -> Tensor:
    return times(a[0], b[0]).unsqueeze(0) if len(a) == 1 else torch.bmm(a, b)


def _sum_up(sums: Tensor, a: Tensor, b: Tensor, is_first: bool) -> None:
    """Add a transposed x b to `sums`, or make them the sums."""
    if len(sums) > 1:
        torch.baddbmm(sums, a.transpose(1, 2), b, beta=0 if is_first else 1, out=sums)
    elif is_first:
        sums[0] = transposed_times(a[0], b[0])
    else:
        sums[0] += transposed_times(a[0], b[0])


def causal_attention(q_BHTC: Tensor, k_BGTC: Tensor, v_BGTC: Tensor, scale: float) -> Tensor:
    """`operations.causal_attention`."""
    out_BTHC: Tensor = _CausalLoop.apply(q_BHTC, k_BGTC, v_BGTC, scale)
    return out_BTHC
