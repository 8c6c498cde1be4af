"""Forms whose authors gave no coefficients: to be fitted to one's own runs."""

from dataclasses import replace

import numpy as np

from moewright.architecture import counts, variables
from moewright.laws import derive
from moewright.laws.form import Coefficient, Coefficients, Columns, Form, Link, power
from moewright.laws.law import Law
from moewright.laws.saturation import saturated
from moewright.laws.variable import TRAIN_TOKENS, Values, Variable

ABOVE_ASYMPTOTE = Link(
    loss=lambda total, c: c["L0"] + np.exp(total),
    sum=lambda loss, c: np.log(loss - c["L0"]),
    slope=lambda loss, c: loss - c["L0"],
)


def _liew_basis(_: Coefficients, v: Columns) -> tuple[Values, ...]:
    log_N = np.log(v["total_params"])
    return (np.ones_like(log_N), -log_N, np.log(v["sparsity"]), np.log(v["num_experts"]))


LIEW2026 = Law(
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
        replace(TRAIN_TOKENS, low=9e9, high=9e9, is_input=False),
        Variable("top_k", "K", 2, 16, "experts", variables.top_k, is_input=False),
    ),
    applies=derive.needs_moe,
    notes=(
        "the paper's claims say 0 < g << b",
        "a fit needs several (E, K) at equal s, else b and g cannot be told apart",
    ),
)


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


_ACTIVE = Variable(
    "active_params",
    "N, parameters that a token uses, without embeddings",
    unit="parameters",
    derive=counts.active_params_non_embedding,
)
_EXPERTS = Variable(
    "num_experts",
    "E, full-size experts of a top-1 model; for other models E/K",
    unit="experts",
    derive=derive.equal_size_experts,
    at_least=1,
)

YUN2024 = Law(
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
    inputs=(_ACTIVE, TRAIN_TOKENS, _EXPERTS),
    applies=derive.needs_like_experts,
)


def _wang_basis(c: Coefficients, v: Columns) -> tuple[Values, ...]:
    N_term = power(v["active_params"], -c["alpha"]) * power(v["num_experts"], -c["gamma"])
    return (N_term, power(v["train_tokens"], -c["beta"]), np.ones_like(N_term))


WANG2024 = Law(
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
    inputs=(_ACTIVE, TRAIN_TOKENS, _EXPERTS),
    applies=derive.needs_like_experts,
)
