"""The bilinear law of routed models at a fixed number of tokens (Clark et al., arXiv 2202.01169)."""

from dataclasses import replace

import numpy as np

from moewright.laws import derive
from moewright.laws.form import Coefficient, Coefficients, Columns, Form, Link
from moewright.laws.formulas import saturated
from moewright.laws.law import ExpansionVariable, Judgement, LossLaw
from moewright.laws.variable import TRAIN_TOKENS, Values, Variable

LOG10 = Link(
    loss=lambda total, _: 10.0**total,
    sum=lambda loss, _: np.log10(loss),
    slope=lambda loss, _: np.log(10.0) * loss,
)


def _basis(c: Coefficients, v: Columns) -> tuple[Values, ...]:
    log_N = np.log10(v["active_params"])
    log_e = np.log10(saturated(v["num_experts"], c["E_start"], c["E_max"]))
    return (log_N, log_e, log_N * log_e, np.ones_like(log_N * log_e))


FORM = Form(
    name="clark2022",
    formula="log10 L = a log10 N + b log10 e + c log10 N log10 e + d, e = saturated(E; E_start, E_max)",
    variables=("active_params", "num_experts"),
    nonlinear=(
        Coefficient("E_start", 1.0, 50.0, (1.1, 10.0), log_start=True, log_search=True),
        Coefficient("E_max", 51.0, 1e5, (100.0, 2000.0), log_start=True, log_search=True),
    ),
    linear=(Coefficient("a"), Coefficient("b"), Coefficient("c"), Coefficient("d")),
    basis=_basis,
    link=LOG10,
)


def _row(a: float, b: float, c: float, d: float, E_start: float, E_max: float) -> dict[str, float]:
    return {"a": a, "b": b, "c": c, "d": d, "E_start": E_start, "E_max": E_max}


LAW = LossLaw(
    name="clark2022",
    title="Bilinear law over per-token parameters and expert count at 130B tokens",
    source="Clark et al. 2022, arXiv 2202.01169, equation 1 and the table of fitted coefficients",
    confidence="B, checked",
    params_convention="parameters that a token uses, with embeddings",
    form=FORM,
    options={
        "router": {
            "S-BASE": _row(-0.082, -0.108, 0.009, 1.104, 1.847, 314.478),
            "RL-R": _row(-0.083, -0.126, 0.012, 1.111, 1.880, 469.982),
            "HASH": _row(-0.087, -0.136, 0.012, 1.157, 4.175, 477.741),
        }
    },
    inputs=(
        Variable(
            "active_params",
            "N, parameters that a token uses (of the dense model without routing), embeddings included",
            15e6,
            1.3e9,
            "parameters",
            derive.active_params_with_embedding,
        ),
        replace(derive.EQUAL_SIZE_EXPERTS, low=1, high=512),
    ),
    held_fixed=(
        replace(TRAIN_TOKENS, low=130e9, high=130e9),
        Variable("top_k", "K", 1, 1, "experts", derive.top_k_or_one),
    ),
    applies=derive.needs_like_experts,
    # Every second layer routed: 8 d^2 of experts among 24 d^2. 130B tokens, and at most 1.3B active parameters.
    judges=Judgement(
        moved=frozenset({"size", "expansion"}),
        least_tokens_per_param=130e9 / 1.3e9,
        expansion=ExpansionVariable("num_experts", lambda expansion: expansion, experts_share=1 / 3),
    ),
    notes=("every second layer was routed (routing frequency 0.5)",),
)
