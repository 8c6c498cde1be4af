"""Cross-entropy of the head without ever holding all logits."""

from typing import Any

import torch
from torch import Tensor

from moewright.experiment.support import LOGIT_ROWS
from moewright.lab.fast.products import times, times_transposed, transposed_times

IGNORED = -100
"""Target of a token that is not predicted (torch's and transformers' convention)."""


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, scale: float) -> Tensor:
        cast = weight.to(hidden.dtype)
        wide = torch.promote_types(hidden.dtype, torch.float32)
        wants = any(ctx.needs_input_grad)
        dhidden = torch.empty_like(hidden) if wants else None
        # Transposed, so that no chunk needs a transposed copy of its logits' gradient.
        dweight = torch.zeros(weight.shape[::-1], dtype=wide, device=hidden.device) if wants else None
        dbias = torch.zeros(bias.shape, dtype=wide, device=hidden.device) if wants and bias is not None else None
        total = torch.zeros((), dtype=wide, device=hidden.device)
        for start in range(0, len(hidden), LOGIT_ROWS):
            rows, wanted = hidden[start : start + LOGIT_ROWS], targets[start : start + LOGIT_ROWS]
            logits = times_transposed(rows, cast).to(wide)
            if bias is not None:
                logits += bias
            log_probs = torch.log_softmax(logits, -1)
            counted = (wanted != IGNORED).unsqueeze(-1)
            index = wanted.masked_fill(wanted == IGNORED, 0).unsqueeze(-1)
            total -= (log_probs.gather(-1, index) * counted).sum()
            if dhidden is None or dweight is None:
                continue
            dlogits = log_probs.exp_()
            dlogits.scatter_add_(-1, index, torch.full_like(index, -1, dtype=wide))
            dlogits.mul_(counted).mul_(scale)
            if dbias is not None:
                dbias += dlogits.sum(0)
            narrow = dlogits.to(hidden.dtype)
            dhidden[start : start + LOGIT_ROWS] = times(narrow, cast)
            dweight += transposed_times(rows, narrow)
        if dhidden is not None and dweight is not None:
            ctx.save_for_backward(dhidden, dweight.t().contiguous().to(weight.dtype), dbias)
        return total * scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        dhidden, dweight, dbias = ctx.saved_tensors
        return dhidden * grad.to(dhidden.dtype), dweight * grad, None if dbias is None else dbias * grad, None, None


def head_loss(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, scale: float, bias_V: Tensor | None = None
) -> Tensor:
    """`operations.head_loss`. Gradients are computed with the logits, in the forward pass."""
    loss: Tensor = _HeadLoss.apply(hidden_ND, weight_VD, bias_V, targets_N, scale)
    return loss
