"""The compute-optimal frontier of one MoE shape, without a law of size and data (Marin project)."""

from typing import Any

import numpy as np

from moewright.architecture import variables
from moewright.laws import derive
from moewright.laws.form import Coefficient, Coefficients, Columns, Form, power
from moewright.laws.law import Judgement, LossLaw, Optimum
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


LAW = LossLaw(
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
    ),
    held_fixed=(
        Variable("num_experts", "E, routed experts", 64, 64, derive=variables.num_experts),
        Variable("top_k", "K, routed experts that a token uses", 4, 4, derive=variables.top_k),
        # One shared expert, in the 1e23 run twice as wide as a routed one.
        Variable("shared_experts", "shared width over d_e", 1, 2, derive=variables.shared_experts),
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
