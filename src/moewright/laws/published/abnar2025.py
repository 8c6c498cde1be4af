"""The law over total size, tokens and sparsity (Abnar et al., arXiv 2501.12370)."""

from typing import Any

import numpy as np

from moewright.architecture import counts
from moewright.laws import derive
from moewright.laws.form import Coefficient, Coefficients, Columns, Form, power
from moewright.laws.formulas import minimise_in_log
from moewright.laws.law import ExpansionVariable, Judgement, LossLaw, Optimum
from moewright.laws.variable import TRAIN_FLOPS, TRAIN_TOKENS, Values, Variable

EXPERTS_SHARE = 2 / 3
"""Of the active parameters: the source does not give its models' shapes, a feed-forward of 4 d is assumed."""
_BOUNDS = 1e6, 1e15
"""Parameters between which the best size is looked for."""


def _basis(c: Coefficients, v: Columns) -> tuple[Values, ...]:
    active_share = 1 - v["sparsity"]
    N_term = power(v["total_params"], -c["alpha"])
    return (
        N_term,
        power(v["train_tokens"], -c["beta"]),
        power(active_share, -c["lambda"]),
        power(active_share, -c["delta"]) * power(v["total_params"], -c["gamma"]),
        np.ones_like(N_term),
    )


FORM = Form(
    name="abnar2025",
    formula="L = a N^-alpha + b D^-beta + c (1-S)^-lambda + d (1-S)^-delta N^-gamma + e",
    variables=("total_params", "train_tokens", "sparsity"),
    nonlinear=(
        Coefficient("alpha", 0.01, 3.0, (0.2, 1.0)),
        Coefficient("beta", 0.01, 3.0, (0.1, 0.8)),
        Coefficient("lambda", -3.0, 3.0, (-0.5, 0.0)),
        Coefficient("delta", -3.0, 3.0, (0.0, 0.5)),
        Coefficient("gamma", 0.01, 3.0, (0.05, 0.5)),
    ),
    linear=(Coefficient("a", 0.0), Coefficient("b", 0.0), Coefficient("c"), Coefficient("d"), Coefficient("e")),
    basis=_basis,
)

_SPARSITY = Variable(
    "sparsity", "S = (E - K) / E, the idle share of the experts", 0, 0.98, "", derive.idle_share, at_least=0, below=1
)


def optimum(c: Coefficients, train_flops: Values, sparsity: Values) -> dict[str, Any]:
    """N and D of least loss under C = 6 N_a D at one sparsity, where of the active parameters `EXPERTS_SHARE` are the
    experts': N / N_a = 1 - share + share / (1 - S)."""
    total_over_active = 1 - EXPERTS_SHARE + EXPERTS_SHARE / (1 - sparsity)

    def run(total: Any) -> dict[str, Any]:
        tokens = train_flops * total_over_active / (6 * total)
        return {"total_params": total, "train_tokens": tokens, "sparsity": sparsity}

    shape = np.broadcast_shapes(*(np.shape(each) for each in (train_flops, sparsity, *c.values())))
    best = minimise_in_log(lambda total: FORM.loss(c, run(total)), *_BOUNDS, shape)
    found = run(best)
    return {
        "total_params": best,
        "active_params": best / total_over_active,
        "train_tokens": found["train_tokens"],
        "loss": FORM.loss(c, found),
    }


LAW = LossLaw(
    name="abnar2025",
    title="Law over total parameters, tokens and sparsity",
    source="Abnar et al. 2025, arXiv 2501.12370",
    confidence="B",
    params_convention="total",
    form=FORM,
    coefficients={
        "a": 16612.50,
        "alpha": 0.5962,
        "b": 5455.67,
        "beta": 0.3954,
        "c": 0.4598,
        "lambda": -0.1666,
        "d": 17.26,
        "delta": 0.1603,
        "gamma": 0.1595,
        "e": 0.94,
    },
    inputs=(
        Variable("total_params", "N, every parameter", unit="parameters", derive=counts.total_params),
        TRAIN_TOKENS,
        _SPARSITY,
    ),
    held_fixed=(Variable("train_flops", "6 N_a D", None, 1e21, "FLOPs", derive.six_active_params, per_token=True),),
    optimum_rule=Optimum(
        arguments=(TRAIN_FLOPS, _SPARSITY),
        optional=(),
        solve=optimum,
        answers={
            "total_params": "N of least loss under C = 6 N_a D",
            "active_params": "N_a there, two thirds of them the experts', assumed",
            "train_tokens": "D there",
            "loss": "L there",
        },
    ),
    applies=derive.needs_like_experts,
    judges=Judgement(
        moved=frozenset({"size", "tokens", "expansion", "active_width"}),
        expansion=ExpansionVariable("sparsity", lambda expansion: 1 - 1 / expansion, experts_share=EXPERTS_SHARE),
    ),
    notes=("explains 68 % of the variance of held-out runs (the authors' R squared)",),
)
