"""The joint law of dense and MoE models (Ludziejewski et al., arXiv 2502.05172) and the authors' learning rate."""

from dataclasses import replace
from typing import Any

import numpy as np

from moewright.architecture import counts
from moewright.laws import derive
from moewright.laws.form import Coefficient, Coefficients, Columns, Form, power
from moewright.laws.formulas import saturated, saturated_slopes, split_six_nd
from moewright.laws.law import ExpansionVariable, Judgement, LossLaw, Optimum, Quantity, Rule
from moewright.laws.variable import TRAIN_FLOPS, TRAIN_TOKENS, Values, Variable

PHI = 0.01  # the offset of the expert count, fixed in the authors' code


def at_experts(c: Coefficients, num_experts: Values) -> dict[str, Any]:
    """A, alpha, B and beta of the additive law that the joint law is at one expert count: L = A N^-alpha + ... + c."""
    e = saturated(num_experts, c["E_start"], c["E_max"], PHI)
    return {
        "A": c["A"] * power(e, c["delta"]),
        "alpha": -(c["alpha"] + c["gamma"] * np.log(e)),
        "B": c["B"] * power(e, c["omega"]),
        "beta": -(c["beta"] + c["zeta"] * np.log(e)),
    }


def _basis(c: Coefficients, v: Columns) -> tuple[Values, ...]:
    log_e = np.log(saturated(v["num_experts"], c["E_start"], c["E_max"], PHI))
    N_term = np.exp(c["delta"] * log_e + (c["alpha"] + c["gamma"] * log_e) * np.log(v["active_params"]))
    D_term = np.exp(c["omega"] * log_e + (c["beta"] + c["zeta"] * log_e) * np.log(v["train_tokens"]))
    return (N_term, D_term, np.ones_like(N_term))


def _slopes(c: Coefficients, v: Columns) -> dict[str, tuple[Values, ...]]:
    log_e = np.log(saturated(v["num_experts"], c["E_start"], c["E_max"], PHI))
    by_start, by_end = saturated_slopes(v["num_experts"], c["E_start"], c["E_max"], PHI)
    log_N, log_D = np.log(v["active_params"]), np.log(v["train_tokens"])
    N_term, D_term, _ = _basis(c, v)
    N_by_log_e, D_by_log_e = N_term * (c["delta"] + c["gamma"] * log_N), D_term * (c["omega"] + c["zeta"] * log_D)
    return {
        "alpha": (log_N * N_term,),
        "gamma": (log_e * log_N * N_term,),
        "delta": (log_e * N_term,),
        "beta": (0.0, log_D * D_term),
        "zeta": (0.0, log_e * log_D * D_term),
        "omega": (0.0, log_e * D_term),
        "E_start": (by_start * N_by_log_e, by_start * D_by_log_e),
        "E_max": (by_end * N_by_log_e, by_end * D_by_log_e),
    }


FORM = Form(
    name="ludziejewski2025",
    formula="L = A e^delta Na^(alpha + gamma ln e) + B e^omega D^(beta + zeta ln e) + c, "
    "e = saturated(E; E_start, E_max)",
    variables=("active_params", "train_tokens", "num_experts"),
    nonlinear=(
        Coefficient("alpha", -2.0, -0.01, (-0.5, -0.1)),
        Coefficient("gamma", -0.5, 0.5, (-0.02, 0.02)),
        Coefficient("delta", -3.0, 3.0, (-0.5, 0.0)),
        Coefficient("beta", -2.0, -0.01, (-0.5, -0.1)),
        Coefficient("zeta", -0.5, 0.5, (-0.03, 0.01)),
        Coefficient("omega", -3.0, 3.0, (0.0, 0.8)),
        Coefficient("E_start", 1.0, 20.0, (1.0, 5.0), log_start=True, log_search=True),
        Coefficient("E_max", 33.0, 1e4, (50.0, 1000.0), log_start=True, log_search=True),
    ),
    linear=(Coefficient("A", 0.0), Coefficient("B", 0.0), Coefficient("c", 0.0)),
    basis=_basis,
    slopes=_slopes,
    asymptote="c",
)


def optimum(c: Coefficients, train_flops: Values, num_experts: Values) -> dict[str, Any]:
    """N_a and D of least loss under C = 6 N_a D at one expert count."""
    split = split_six_nd(train_flops, **at_experts(c, num_experts), size="active_params")
    return {**split, "loss": FORM.loss(c, {**split, "num_experts": num_experts})}


_EXPERTS = replace(derive.EQUAL_SIZE_EXPERTS, low=1, high=32)

LAW = LossLaw(
    name="ludziejewski2025",
    title="Joint law over active parameters, tokens and expert count",
    source="Ludziejewski et al. 2025, arXiv 2502.05172",
    confidence="A, checked",
    params_convention="active, with embedding and unembedding",
    form=FORM,
    # The authors' fit; E_start and E_max are exp(0.729077) and exp(5.671439).
    coefficients={
        "A": 35.907456,
        "delta": -0.228513,
        "alpha": -0.18893,
        "gamma": 0.009798,
        "B": 35.979302,
        "omega": 0.552916,
        "beta": -0.177532,
        "zeta": -0.02585,
        "c": 1.36374,
        "E_start": float(np.exp(0.729077)),
        "E_max": float(np.exp(5.671439)),
    },
    inputs=(
        Variable(
            "active_params",
            "N_act, parameters that a token uses, embedding and unembedding included",
            79e6,
            2.7e9,
            "parameters",
            derive.active_params_with_embedding,
        ),
        replace(TRAIN_TOKENS, low=0.5e9, high=80e9),
        _EXPERTS,
    ),
    held_fixed=(
        Variable("total_params", "every parameter", None, 5e9, "parameters", counts.total_params),
        Variable("top_k", "K", 1, 1, "experts", derive.top_k_or_one),
    ),
    optimum_rule=Optimum(
        arguments=(TRAIN_FLOPS, _EXPERTS),
        optional=(),
        solve=optimum,
        answers={"active_params": "N_a of least loss under C = 6 N_a D", "train_tokens": "D there", "loss": "L there"},
    ),
    applies=derive.needs_like_experts,
    # Experts as wide as a feed-forward of 4 d with two matrices, in every layer, beside 4 d^2 of attention: 8 of 12
    # parts. 0.5B tokens for 1.05B active parameters without embeddings are the fewest.
    judges=Judgement(
        moved=frozenset({"size", "tokens", "expansion"}),
        least_tokens_per_param=0.5e9 / 1.05e9,
        expansion=ExpansionVariable("num_experts", lambda expansion: expansion, experts_share=2 / 3),
    ),
    # On the authors' 260 training rows, the best of them, left out, are predicted within .007 nats so, within .016 by
    # huber_log alone and within .022 by squares.
    fit_settings={"objective": "huber_log", "tuning": "best"},
    notes=("the coefficients are weakly identified: very different ones fit the same runs equally well",),
)


def _learning_rate(active_params: Values, num_experts: Values) -> Any:
    return np.exp(8.39 - 0.81 * np.log(active_params) - 0.25 * np.log(num_experts))


LEARNING_RATE = Rule(
    name="ludziejewski2025_lr",
    title="Peak learning rate by active size and expert count",
    source="Ludziejewski et al. 2025, arXiv 2502.05172",
    confidence="C",
    params_convention="active, without embeddings",
    inputs=(
        Variable(
            "active_params",
            "N_act, parameters that a token uses, without embedding and unembedding",
            unit="parameters",
            derive=counts.active_params_non_embedding,
        ),
        _EXPERTS,
    ),
    quantities={"learning_rate": Quantity("", ("active_params", "num_experts"), _learning_rate)},
    applies=derive.needs_like_experts,
)
