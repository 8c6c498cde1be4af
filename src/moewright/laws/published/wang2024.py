"""The additive law with a power of the expert count (Wang et al., arXiv 2410.05661): a form, to be fitted."""

import numpy as np

from moewright.laws import derive
from moewright.laws.form import Coefficient, Coefficients, Columns, Form, power
from moewright.laws.law import LossForm
from moewright.laws.variable import TRAIN_TOKENS, Values


def _wang_basis(c: Coefficients, v: Columns) -> tuple[Values, ...]:
    N_term = power(v["active_params"], -c["alpha"]) * power(v["num_experts"], -c["gamma"])
    return (N_term, power(v["train_tokens"], -c["beta"]), np.ones_like(N_term))


LAW = LossForm(
    name="wang2024",
    title="The additive law with a power of the expert count",
    source="Wang et al. 2024, arXiv 2410.05661",
    confidence="form only",
    params_convention="non-embedding",
    form=Form(
        name="wang2024",
        formula="L = A N^-alpha E^-gamma + B D^-beta + s",
        variables=("active_params", "train_tokens", "num_experts"),
        nonlinear=(
            Coefficient("alpha", 0.01, 3.0, (0.05, 0.8)),
            Coefficient("gamma", -2.0, 2.0, (0.0, 0.3)),
            Coefficient("beta", 0.01, 3.0, (0.05, 0.8)),
        ),
        linear=(Coefficient("A", 0.0), Coefficient("B", 0.0), Coefficient("s", 0.0)),
        basis=_wang_basis,
        asymptote="s",
    ),
    inputs=(derive.ACTIVE_PARAMS_NON_EMBEDDING, TRAIN_TOKENS, derive.EQUAL_SIZE_EXPERTS),
    applies=derive.needs_like_experts,
)
