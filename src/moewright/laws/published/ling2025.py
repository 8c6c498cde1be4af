"""Efficiency leverage of MoE over dense models, and both allocations (Ling team, arXiv 2507.17702)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from moewright.architecture import variables
from moewright.laws import derive
from moewright.laws.form import Coefficients
from moewright.laws.formulas import saturated
from moewright.laws.law import ExpansionVariable, Judgement, Law, Optimum, Quantity, Rule
from moewright.laws.published.hoffmann2022 import EPOCH2024
from moewright.laws.variable import TRAIN_FLOPS, Values, Variable, check_values

# The fitted leverage. The paper does not name its logarithms; only base 2 for the granularity and base 10 for the
# compute reproduce its "more than 7 at 1e22 FLOPs" and its best granularity of about 12.
_ALPHA_0, _ALPHA_LOG_C = 1.23, -0.0761
_BETA, _GAMMA = -0.117, 0.0167
_A_START, _A_MAX = 0.0163, 5.28e16

# Compute-optimal power laws in C = M D, M the non-embedding FLOPs per token. MoE: activation ratio 7.8 %, G = 2.
_MOE = {"flops_per_token": (0.1915, 0.5095), "train_tokens": (5.2232, 0.4905)}
_DENSE = {"flops_per_token": (0.0655, 0.5422), "train_tokens": (15.2582, 0.4578)}


def efficiency_leverage(activation_ratio: Values, granularity: Values, train_flops: Values) -> Any:
    """Compute of a dense model over that of the MoE model at equal loss (the paper's leverage law)."""
    # The paper's saturation is that of expert counts, shifted by one.
    A_hat = 1 / saturated(1 + activation_ratio, _A_START, _A_MAX)
    log_G = np.log2(granularity)
    exponent = _ALPHA_0 + _ALPHA_LOG_C * np.log10(train_flops) + _BETA * log_G + _GAMMA * log_G**2
    return (1 / A_hat) ** exponent


def equivalent_dense_flops(variables: Mapping[str, Any]) -> Any:
    """FLOPs with which a compute-optimal dense model reaches the loss: C times the leverage."""
    return efficiency_leverage(**variables) * variables["train_flops"]


def _least_tokens_per_param(train_flops: float = 6e20) -> float:
    """Tokens for each active parameter (M / 6) of the compute-optimal model with most compute, which has fewest."""
    (per_token, per_power), (tokens, tokens_power) = _MOE["flops_per_token"], _MOE["train_tokens"]
    return float(6 * tokens * train_flops**tokens_power / (per_token * train_flops**per_power))


def optimum(_: Coefficients, train_flops: Values | None = None) -> dict[str, Any]:
    """The granularity of most leverage, and the allocations for a budget."""
    answer: dict[str, Any] = {"granularity": 2 ** (-_BETA / (2 * _GAMMA))}
    if train_flops is not None:
        for kind, laws in (("", _MOE), ("dense_", _DENSE)):
            answer |= {kind + name: factor * train_flops**exponent for name, (factor, exponent) in laws.items()}
    return answer


LAW = Rule(
    name="ling2025",
    title="Efficiency leverage over activation ratio, granularity and compute",
    source="Ling team 2025, arXiv 2507.17702",
    confidence="A (bases of the logarithms inferred)",
    params_convention="none: compute C = M D, M the non-embedding FLOPs per token",
    inputs=(
        Variable(
            "activation_ratio", "A = (K + shared) / (E + shared)", 0.008, 1.0, "", variables.activation_ratio_ling
        ),
        Variable("granularity", "G = 2 d / d_e", 2, 16, "", variables.granularity_ling),
        Variable(
            "train_flops",
            "C = M D; from a model, M = 6 x active non-embedding parameters",
            3e17,
            6e20,
            "FLOPs",
            derive.six_active_params_non_embedding,
            per_token=True,
        ),
    ),
    quantities={
        "efficiency_leverage": Quantity(
            "times", ("activation_ratio", "granularity", "train_flops"), efficiency_leverage
        )
    },
    optimum_rule=Optimum(
        arguments=(),
        optional=(TRAIN_FLOPS,),
        solve=optimum,
        answers={
            "granularity": "G* of most leverage, at every compute and activation ratio",
            "flops_per_token": "M for a MoE model of activation ratio 7.8 %, G = 2 (needs train_flops)",
            "train_tokens": "D for that model",
            "dense_flops_per_token": "M for a dense model",
            "dense_train_tokens": "D for a dense model",
        },
    ),
    applies=derive.needs_moe,
    # The dense law is the refit of the runs that most dense laws rest on.
    judges=Judgement(
        moved=frozenset({"size", "tokens", "expansion", "active_width", "granularity"}),
        least_tokens_per_param=_least_tokens_per_param(),
        # 8 of 12 parts as in a feed-forward of 4 d: assumed, the source gives no share.
        expansion=ExpansionVariable("activation_ratio", lambda expansion: 1 / expansion, experts_share=2 / 3),
        dense=EPOCH2024,
        dense_flops=equivalent_dense_flops,
    ),
    notes=(
        "validated by the authors to 28B parameters in total",
        "a loss follows through a dense law at C x leverage: `laws.loss_through`",
    ),
)


def loss_through(dense: Law, **given: Values) -> Any:
    """The loss that a compute-optimal dense model reaches with C x leverage FLOPs, on that dense law's scale.

    `dense` is a law whose optimum takes train_flops and answers a loss; `given` are the leverage's variables.
    """
    checked = check_values(LAW.inputs, given, LAW.name)
    return dense.optimum(train_flops=equivalent_dense_flops(checked))["loss"]
