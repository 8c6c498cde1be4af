"""Compute-optimal frontiers and allocations that come without a law of size and data."""

from typing import Any

import numpy as np

from moewright.architecture import variables
from moewright.laws import derive
from moewright.laws.form import Coefficient, Coefficients, Columns, Form, power
from moewright.laws.law import Judgement, Law, Optimum
from moewright.laws.variable import TRAIN_FLOPS, Values, Variable


def _frontier_basis(c: Coefficients, v: Columns) -> tuple[Values, ...]:
    C_term = power(v["train_flops"], -c["alpha"])
    return (np.ones_like(C_term), C_term)


FRONTIER = Form(
    name="frontier",
    formula="L = E + A C^-alpha",
    variables=("train_flops",),
    nonlinear=(Coefficient("alpha", 0.005, 2.0, (0.02, 0.5)),),
    linear=(Coefficient("E", 0.0), Coefficient("A", 0.0)),
    basis=_frontier_basis,
    asymptote="E",
)


def _marin_optimum(c: Coefficients, train_flops: Values) -> dict[str, Any]:
    return {"params": 0.0109 * train_flops**0.535, "loss": FRONTIER.loss(c, {"train_flops": train_flops})}


MARIN2026 = Law(
    name="marin2026",
    title="Compute-optimal frontier of one MoE shape",
    source="Marin project 2026, github.com/marin-community/marin, issues 4447 (runs) and 4697 (use at 1e23)",
    confidence="A, checked",
    params_convention="as the project prints its N*",
    form=FRONTIER,
    coefficients={"E": 1.6, "A": 95.18, "alpha": 0.0941},
    inputs=(
        Variable(
            "train_flops",
            "C, FLOPs of training; from a model, 6 N_a D",
            1e18,
            1e21,
            "FLOPs",
            derive.six_active_params,
            per_token=True,
        ),
        Variable("num_experts", "E, routed experts", 64, 64, derive=variables.num_experts, is_input=False),
        Variable("top_k", "K, routed experts that a token uses", 4, 4, derive=variables.top_k, is_input=False),
        # One shared expert, in the 1e23 run twice as wide as a routed one.
        Variable("shared_experts", "shared width over d_e", 1, 2, derive=variables.shared_experts, is_input=False),
    ),
    optimum_rule=Optimum(
        arguments=(TRAIN_FLOPS,),
        optional=(),
        solve=_marin_optimum,
        answers={"params": "N* = .0109 C^.535", "loss": "L on the frontier"},
    ),
    applies=derive.needs_moe,
    judges=Judgement(
        reason="its runs held one mixture fixed (64 experts, 4 used, 1 shared), so it cannot rank mixtures"
    ),
    notes=(
        "a frontier: the loss of the best size for the compute; a model of another size is worse",
        "the loss is Paloma's macro average; the project expected 2.25 of it at 1e23 FLOPs",
    ),
)


def _wan_optimum(_: Coefficients, train_flops: Values) -> dict[str, Any]:
    return {"train_tokens": 22.89 * train_flops**0.4563, "flops_per_token": 0.0437 * train_flops**0.5437}


WAN2026 = Law(
    name="wan2026",
    title="Allocation of compute for MoE models",
    source="Wan et al. 2026, arXiv 2603.21862",
    confidence="C",
    params_convention="none: compute C = M D, M the FLOPs per token",
    optimum_rule=Optimum(
        arguments=(Variable("train_flops", "C, FLOPs of training", 1e18, 3e20, "FLOPs"),),
        optional=(),
        solve=_wan_optimum,
        answers={"train_tokens": "D = 22.89 C^.4563", "flops_per_token": "M = .0437 C^.5437"},
    ),
    findings=("the best N/N_a is 18 to 25 and nearly flat with scale",),
)
