"""The log-log law over total size, sparsity and experts (Liew et al., arXiv 2601.08215): a form, to be fitted."""

from dataclasses import replace

import numpy as np

from moewright.architecture import counts, variables
from moewright.laws import derive
from moewright.laws.form import Coefficient, Coefficients, Columns, Form, Link
from moewright.laws.law import LossForm
from moewright.laws.variable import TRAIN_TOKENS, Values, Variable

ABOVE_ASYMPTOTE = Link(
    loss=lambda total, c: c["L0"] + np.exp(total),
    sum=lambda loss, c: np.log(loss - c["L0"]),
    slope=lambda loss, c: loss - c["L0"],
)


def _liew_basis(_: Coefficients, v: Columns) -> tuple[Values, ...]:
    log_N = np.log(v["total_params"])
    return (np.ones_like(log_N), -log_N, np.log(v["sparsity"]), np.log(v["num_experts"]))


LAW = LossForm(
    name="liew2026",
    title="Log-log law over total parameters, sparsity and expert count",
    source="Liew et al. 2026, arXiv 2601.08215; the form is inferred from the paper's claims",
    confidence="form only, inferred",
    params_convention="total, without embeddings",
    form=Form(
        name="liew2026",
        formula="log(L - L0) = c - a log N_total + b log s + g log E",
        variables=("total_params", "sparsity", "num_experts"),
        nonlinear=(Coefficient("L0", 0.0),),
        linear=(Coefficient("c"), Coefficient("a", 0.0), Coefficient("b"), Coefficient("g")),
        basis=_liew_basis,
        link=ABOVE_ASYMPTOTE,
        asymptote="L0",
    ),
    inputs=(
        Variable(
            "total_params",
            "N_total, every parameter but the embeddings",
            30e6,
            3e9,
            "parameters",
            counts.total_params_non_embedding,
        ),
        Variable("sparsity", "s = E / K", 2, 128, "", variables.sparsity_liew, at_least=1),
        Variable("num_experts", "E, routed experts", 32, 256, "experts", variables.num_experts, at_least=1),
    ),
    held_fixed=(
        replace(TRAIN_TOKENS, low=9e9, high=9e9),
        Variable("top_k", "K", 2, 16, "experts", variables.top_k),
    ),
    applies=derive.needs_moe,
    notes=(
        "the paper's claims say 0 < g << b",
        "a fit needs several (E, K) at equal s, else b and g cannot be told apart",
    ),
)
