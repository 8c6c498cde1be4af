"""Which model to build: budgets in, ranked buildable models out."""

from typing import TYPE_CHECKING

from moewright.design.budgets import DEFAULT_CONTEXT
DEFAULT_VOCAB_SIZE=1

if TYPE_CHECKING:
    from moewright.design.result import Designs

__all__ = ["design"]


def design(
    *,
    memory: str | float | None = None,
    total_params: str | float | None = None,
    active_params: str | float | None = None,
    train_tokens: str | float | None = None,
    context: int = DEFAULT_CONTEXT,
    batch: int = 1,
    weights_dtype: str = "bf16",
    vocab_size: int = DEFAULT_VOCAB_SIZE,
    law: str = "zhao2025",
    top: int = 10,
) -> "Designs":
    """Rank the models that fit the budgets by a scaling law.

    Exactly one of `memory` (bytes, "80GB": weights and the cache of `batch` sequences of `context` tokens) and
    `total_params` ("30B") sets the size; `active_params` ("3B", with the input embedding; None: not bounded) the
    inference cost; `train_tokens` ("2T") the training. Raises UserError for budgets that are missing, contradict each
    other or fit no model.
    """
    from moewright.design.budgets import make_budgets
    from moewright.design.rank import rank

    budgets = make_budgets(
        memory=memory,
        total_params=total_params,
        active_params=active_params,
        train_tokens=train_tokens,
        context=context,
        batch=batch,
        weights_dtype=weights_dtype,
        vocab_size=vocab_size,
    )
    return rank(budgets, law, top)
