"""Tokens that are trained on more than once: what they are worth beside new ones."""

import math

import numpy as np

from moewright.complaints import check_number
from moewright.laws.variable import Array
from moewright.quantities import format_count

DECAY = 15.39
"""Repetitions after which one more is worth 1/e of new tokens: R_D* of Muennighoff et al. 2023 (arXiv 2305.16264)."""


def effective_tokens(train_tokens: float, unique_tokens: float | None) -> float:
    """New tokens that would do as much as `train_tokens` drawn from `unique_tokens` again and again; None: all new.

    D' = U + U R* (1 - exp(-R / R*)) with R = D / U - 1 repetitions: Muennighoff et al. 2023. At most 16.39 U,
    however long. Where nothing is seen twice, D itself. Raises UserError for counts that are not positive.

    >>> f"{effective_tokens(4e9, 1e9):.3e}"  # four passes are nearly as good as new
    '3.726e+09'
    """
    check_number(train_tokens, "train-tokens", above=0)
    if unique_tokens is None or check_number(unique_tokens, "unique-tokens", above=0) >= train_tokens:
        return train_tokens
    repetitions = train_tokens / unique_tokens - 1
    return unique_tokens * (1 - DECAY * math.expm1(-repetitions / DECAY))


def tokens_worth(effective: Array, unique_tokens: float | None) -> Array:
    """Tokens (S,) to train on, of which so many are different, that do as much as new ones: `effective_tokens` undone.

    Infinite where no number of passes does.

    >>> f"{tokens_worth(np.float64(effective_tokens(4e9, 1e9)), 1e9):.3e}"
    '4.000e+09'
    """
    if unique_tokens is None:
        return effective
    with np.errstate(all="ignore"):
        left = 1 - (effective / unique_tokens - 1) / DECAY
        repetitions = np.where(left > 0, -DECAY * np.log(left), np.inf)
        return np.where(effective <= unique_tokens, effective, unique_tokens * (1 + repetitions))


def repetition_notes(train_tokens: float, unique_tokens: float | None) -> list[str]:
    """What a reader of losses under repeated data should know, one sentence each; none where all tokens are new."""
    if unique_tokens is None:
        return []
    epochs = train_tokens / unique_tokens
    if epochs <= 1:
        given, wanted = format_count(unique_tokens), format_count(train_tokens)
        return [f"{given} unique tokens are enough for {wanted}: nothing is seen twice, and nothing changes"]
    worth = format_count(effective_tokens(train_tokens, unique_tokens))
    notes = [
        f"{epochs:.3g} passes over {format_count(unique_tokens)} tokens count as {worth} new ones in losses "
        "(Muennighoff et al. 2023, on dense models); learning rates and batches are those of all tokens"
    ]
    if epochs - 1 > DECAY:
        most = format_count(unique_tokens * (1 + DECAY))
        notes.append(f"more passes add little from here on: {most} is the most that they can count as")
    return notes
