"""The additive law of size and data (Hoffmann et al., arXiv 2203.15556, equation 2) and its published fits.

One form serves dense models and one MoE shape trained at several sizes; only what N counts differs.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from moewright.architecture import counts, variables
from moewright.laws import derive
from moewright.laws.allocation import split_six_nd
from moewright.laws.form import Coefficient, Coefficients, Columns, Form, power
from moewright.laws.law import Judgement, Law, Optimum
from moewright.laws.variable import TRAIN_FLOPS, TRAIN_TOKENS, Values, Variable


def additive_form(size: str) -> Form:
    """L = E + A/N^alpha + B/D^beta with N under the call name `size`."""

    def basis(c: Coefficients, v: Columns) -> tuple[Values, ...]:
        N_term, D_term = power(v[size], -c["alpha"]), power(v["train_tokens"], -c["beta"])
        return (np.ones_like(N_term), N_term, D_term)

    return Form(
        name=f"additive in {size}",
        formula="L = E + A N^-alpha + B D^-beta",
        variables=(size, "train_tokens"),
        nonlinear=(Coefficient("alpha", 0.01, 3.0, (0.1, 1.0)), Coefficient("beta", 0.01, 3.0, (0.1, 1.0))),
        linear=(Coefficient("E", 0.0), Coefficient("A", 0.0), Coefficient("B", 0.0)),
        basis=basis,
        asymptote="E",
    )


def additive_optimum(size: str) -> Optimum:
    """The compute-optimal allocation of the additive form."""

    def solve(c: Coefficients, train_flops: Values) -> dict[str, Any]:
        split = split_six_nd(train_flops, c["A"], c["alpha"], c["B"], c["beta"], size)
        return {**split, "loss": form.loss(c, split)}

    form = additive_form(size)
    return Optimum(
        arguments=(TRAIN_FLOPS,),
        optional=(),
        solve=solve,
        answers={size: "N of least loss under C = 6 N D", "train_tokens": "D there", "loss": "the loss there"},
    )


_BLIND = Judgement(reason="it is a law of dense models, which cannot see sparsity", of_form=True)


def _dense_inputs(low: float, high: float) -> tuple[Variable, ...]:
    size = Variable(
        "total_params", "N, every parameter, embeddings included", low, high, "parameters", counts.total_params
    )
    return (size, TRAIN_TOKENS)


EPOCH2024 = Law(
    name="epoch2024",
    title="Refit of the Chinchilla law to its authors' own runs",
    source="Besiroglu et al. 2024, arXiv 2404.10102",
    confidence="B, checked",
    params_convention="dense, with embeddings",
    form=additive_form("total_params"),
    coefficients={"E": 1.8172, "A": 482.01, "alpha": 0.3478, "B": 2085.43, "beta": 0.3658},
    inputs=_dense_inputs(57e6, 16e9),
    optimum_rule=additive_optimum("total_params"),
    applies=derive.needs_dense,
    judges=_BLIND,
)

HOFFMANN2022 = Law(
    name="hoffmann2022",
    title="The Chinchilla law",
    source="Hoffmann et al. 2022, arXiv 2203.15556, approach 3",
    confidence="B",
    params_convention="dense, with embeddings",
    form=additive_form("total_params"),
    # More digits than the paper prints, from its LaTeX source by way of arXiv 2404.10102.
    coefficients={"E": 1.6934, "A": 406.4, "alpha": 0.3392, "B": 410.7, "beta": 0.2849},
    inputs=_dense_inputs(70e6, 16e9),
    optimum_rule=additive_optimum("total_params"),
    applies=derive.needs_dense,
    judges=_BLIND,
    notes=("its intervals are narrower than its runs support; epoch2024 refits the same runs",),
)

FLAME2025 = Law(
    name="flame2025",
    title="The additive law on the active parameters of one MoE shape",
    source="FLAME-MoE 2025, arXiv 2505.20225",
    confidence="A",
    params_convention="active",
    form=additive_form("active_params"),
    coefficients={"E": 2.241716, "A": 148.413257, "alpha": 0.279702, "B": 3269017.37, "beta": 0.7155},
    inputs=(
        Variable(
            "active_params",
            "N_a, parameters that a token uses, embeddings included",
            unit="parameters",
            derive=derive.active_params_with_embedding,
        ),
        TRAIN_TOKENS,
        replace(TRAIN_FLOPS, low=1e18, high=3e19, derive=derive.six_active_params, per_token=True, is_input=False),
        Variable("num_experts", "E, routed experts", 64, 64, derive=variables.num_experts, is_input=False),
        Variable("top_k", "K, routed experts that a token uses", 8, 8, derive=variables.top_k, is_input=False),
        Variable("shared_experts", "shared experts", 2, 2, derive=variables.shared_experts, is_input=False),
    ),
    optimum_rule=additive_optimum("active_params"),
    applies=derive.needs_moe,
    judges=Judgement(
        reason="its runs held one mixture fixed (64 experts, 8 used, 2 shared), so it cannot rank mixtures"
    ),
    notes=("A and B sit on a start value of the authors' search: treat the law as weak",),
)
