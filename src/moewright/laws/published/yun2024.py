"""Clark's bilinear law with data (Yun et al., arXiv 2404.02852): a form, to be fitted."""

import numpy as np

from moewright.laws import derive
from moewright.laws.form import Coefficient, Coefficients, Columns, Form, power
from moewright.laws.formulas import saturated
from moewright.laws.law import LossForm
from moewright.laws.variable import TRAIN_TOKENS, Values


def _yun_basis(c: Coefficients, v: Columns) -> tuple[Values, ...]:
    log_N = np.log(v["active_params"])
    log_e = np.log(saturated(v["num_experts"], c["E_start"], c["E_max"]))
    factor = np.exp(c["d"] * log_N * log_e)
    return (
        factor * np.exp(-c["alpha"] * log_N),
        factor * np.exp(-c["beta"] * log_e),
        factor * power(v["train_tokens"], -c["gamma"]),
        factor,
    )


LAW = LossForm(
    name="yun2024",
    title="Clark's bilinear law with data",
    source="Yun et al. 2024, arXiv 2404.02852",
    confidence="form only",
    params_convention="non-embedding",
    form=Form(
        name="yun2024",
        formula="log L = log(A N^-alpha + B e^-beta + C D^-gamma + F) + d log N log e, "
        "e = saturated(E; E_start, E_max)",
        variables=("active_params", "train_tokens", "num_experts"),
        nonlinear=(
            Coefficient("alpha", 0.01, 3.0, (0.05, 0.8)),
            Coefficient("beta", 0.01, 3.0, (0.05, 0.8)),
            Coefficient("gamma", 0.01, 3.0, (0.05, 0.8)),
            Coefficient("d", -0.1, 0.1, (-0.005, 0.005)),
            Coefficient("E_start", 1.0, 50.0, (1.1, 5.0), log_start=True, log_search=True),
            Coefficient("E_max", 51.0, 1e5, (100.0, 2000.0), log_start=True, log_search=True),
        ),
        linear=(Coefficient("A", 0.0), Coefficient("B", 0.0), Coefficient("C", 0.0), Coefficient("F", 0.0)),
        basis=_yun_basis,
    ),
    inputs=(derive.ACTIVE_PARAMS_NON_EMBEDDING, TRAIN_TOKENS, derive.EQUAL_SIZE_EXPERTS),
    applies=derive.needs_like_experts,
)
