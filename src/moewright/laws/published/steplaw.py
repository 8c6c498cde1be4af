"""The peak learning rate and the batch by size and data (Step Law, arXiv 2503.04715)."""

from typing import Any

from moewright.architecture import counts
from moewright.laws.law import Quantity, Rule
from moewright.laws.variable import TRAIN_TOKENS, Values, Variable


def _learning_rate(total_params: Values, train_tokens: Values) -> Any:
    return 1.79 * total_params**-0.713 * train_tokens**0.307


def _batch_tokens(train_tokens: Values) -> Any:
    return 0.58 * train_tokens**0.571


LAW = Rule(
    name="steplaw",
    title="Peak learning rate and batch size by size and data",
    source="Step Law, arXiv 2503.04715",
    confidence="A, checked",
    params_convention="total, without embeddings, for MoE models too",
    inputs=(
        Variable(
            "total_params",
            "N, every parameter but the embeddings",
            unit="parameters",
            derive=counts.total_params_non_embedding,
        ),
        TRAIN_TOKENS,
    ),
    quantities={
        "learning_rate": Quantity("", ("total_params", "train_tokens"), _learning_rate),
        "batch_tokens": Quantity("tokens", ("train_tokens",), _batch_tokens),
    },
    notes=(
        "on MoE models the best learning rate is 1.2 times the rule's in the median with total parameters as N, 0.4 "
        "times with active ones",
    ),
)
