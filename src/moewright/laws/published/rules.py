"""Rules for training settings, and findings that came without a law."""

from typing import Any

from moewright.architecture import counts
from moewright.laws.law import Law, Quantity
from moewright.laws.variable import TRAIN_TOKENS, Values, Variable


def _learning_rate(total_params: Values, train_tokens: Values) -> Any:
    return 1.79 * total_params**-0.713 * train_tokens**0.307


def _batch_tokens(train_tokens: Values) -> Any:
    return 0.58 * train_tokens**0.571


STEPLAW = Law(
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

LI2025 = Law(
    name="li2025",
    title="Best activation ratio at fixed size and compute",
    source="Li et al. 2025, arXiv 2506.12119",
    confidence="A",
    params_convention="without vocabulary parameters",
    findings=(
        "at fixed total parameters and training compute the best activation ratio is about 20 %, at 2B, 3B and 7B",
    ),
)

K2 = Law(
    name="k2",
    title="Sparsity against compute at equal loss",
    source="Kimi K2, arXiv 2507.20534",
    confidence="A",
    params_convention="sparsity E/K",
    findings=("at equal loss, sparsity 48 needs 1.69, 1.39 and 1.15 times fewer FLOPs than 8, 16 and 32",),
)
