"""The joint law over data, total and active size, active experts and shared share (Zhao et al., arXiv 2509.23678)."""

from dataclasses import replace
from typing import Any

import numpy as np

from moewright.architecture import counts, variables
from moewright.laws import derive
from moewright.laws.form import Coefficient, Coefficients, Columns, Form, power
from moewright.laws.law import Judgement, LossLaw, Optimum
from moewright.laws.variable import TRAIN_TOKENS, Values, Variable

# The efficiency-aware N_a/N is where one more unit of N_a/N lowers the loss by less than this. The paper prints its
# result (about 9 % at 30B, 5 % at 671B) but not its rule; 0.4 gives 8.9 % and 4.9 %.
EFFICIENT_SLOPE = 0.4


def _basis(c: Coefficients, v: Columns) -> tuple[Values, ...]:
    """Equation of the joint law with K = e G + f/G + m S^2 + n S multiplied out."""
    N_term, Na_term = power(v["total_params"], -c["alpha"]), power(v["active_params"], -c["alpha"])
    coupled = N_term + c["k"] * Na_term + c["h"] * v["active_params"] / v["total_params"]
    G, S = v["active_experts"], v["shared_ratio"]
    D_term = power(v["train_tokens"], -c["beta"])
    return (G * coupled, coupled / G, S**2 * coupled, S * coupled, N_term, D_term, Na_term, np.ones_like(coupled))


FORM = Form(
    name="zhao2025",
    formula="L = K (N^-alpha + k Na^-alpha + h Na/N) + a N^-alpha + b D^-beta + c Na^-alpha + eps, "
    "K = e G + f/G + m S^2 + n S",
    variables=("total_params", "active_params", "train_tokens", "active_experts", "shared_ratio"),
    nonlinear=(
        Coefficient("alpha", 0.01, 2.0, (0.1, 0.5)),
        Coefficient("beta", 0.01, 2.0, (0.2, 0.8)),
        Coefficient("k", 0.0, 10.0, (1e-4, 1e-1), log_start=True),
        Coefficient("h", 0.0, 10.0, (1e-3, 1.0), log_start=True),
    ),
    linear=(
        Coefficient("e"),
        Coefficient("f"),
        Coefficient("m"),
        Coefficient("n"),
        Coefficient("a"),
        Coefficient("b", 0.0),
        Coefficient("c", 0.0),
        Coefficient("eps", 0.0),
    ),
    basis=_basis,
    asymptote="eps",
)


def optimum(c: Coefficients, total_params: Values | None = None) -> dict[str, Any]:
    """G*, S* and, for a total size, N_a/N by the law alone and with efficiency counted; closed forms.

    dL/dG = 0, dL/dS = 0 and dL/d(Na/N) = 0 at fixed N, D; ratios are at G* and S* and never above 1.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        G = np.sqrt(c["f"] / c["e"])
        S = -c["n"] / (2 * c["m"])
        answer: dict[str, Any] = {"active_experts": G, "shared_ratio": S}
        if total_params is None:
            return answer
        K = c["e"] * G + c["f"] / G + c["m"] * S**2 + c["n"] * S
        pull = c["alpha"] * (c["c"] + c["k"] * K) * power(total_params, -c["alpha"])
        ratio = (pull / (K * c["h"])) ** (1 / (1 + c["alpha"]))
        efficient = (pull / (K * c["h"] + EFFICIENT_SLOPE)) ** (1 / (1 + c["alpha"]))
    answer["active_ratio"] = np.minimum(ratio, 1.0)
    answer["active_ratio_efficient"] = np.minimum(efficient, 1.0)
    return answer


_TOTAL = Variable(
    "total_params",
    "N, every parameter; the paper does not say whether embeddings count, moewright counts them",
    133e6,
    3.4e9,
    "parameters",
    counts.total_params,
)

LAW = LossLaw(
    name="zhao2025",
    title="Joint law over N, N_a, D, active experts G and shared share S",
    source="Zhao et al. 2025, arXiv 2509.23678",
    confidence="C, checked",
    params_convention="total and active, raw counts; embedding convention not stated",
    form=FORM,
    # The joint law's fitted coefficients, 446 runs.
    coefficients={
        "alpha": 0.2383,
        "beta": 0.4694,
        "k": 0.0013,
        "h": 0.0450,
        "e": 0.1577,
        "f": 7.2446,
        "m": 5.1395,
        "n": -3.2363,
        "a": 38.051,
        "b": 27129.05,
        "c": 31.096,
        "eps": 1.8182,
    },
    inputs=(
        _TOTAL,
        Variable(
            "active_params",
            "N_a, parameters that a token uses, embeddings counted as in N",
            30e6,
            2.2e9,
            "parameters",
            derive.active_params_with_embedding,
        ),
        replace(TRAIN_TOKENS, low=10e9, high=50e9),
        Variable(
            "active_experts",
            "G, experts that a token uses, routed and shared, in units of a routed expert's width",
            1,
            20,
            "experts",
            variables.active_experts_zhao,
        ),
        Variable(
            "shared_ratio",
            "S, shared share of the active experts",
            0,
            0.7,
            "",
            variables.shared_ratio_zhao,
            at_least=0,
            below=1,
        ),
    ),
    optimum_rule=Optimum(
        arguments=(),
        optional=(_TOTAL,),
        solve=optimum,
        answers={
            "active_experts": "G* = sqrt(f/e)",
            "shared_ratio": "S* = -n/(2m)",
            "active_ratio": "N_a/N of least loss at G*, S* (needs total_params)",
            "active_ratio_efficient": f"N_a/N where -dL/d(N_a/N) falls to {EFFICIENT_SLOPE} (needs total_params)",
        },
    ),
    applies=derive.needs_moe,
    # N_a and N moved by the experts' width and number, G and S by themselves; 10B tokens for 2.2B active at the least.
    judges=Judgement(
        moved=frozenset({"size", "tokens", "expansion", "active_width", "granularity", "shared_share"}),
        least_tokens_per_param=10e9 / 2.2e9,
    ),
    notes=(
        "validated by the authors up to 9B parameters, 100B tokens and 256 experts",
        "k cannot be identified from data: its whole effect is at most 1.6e-4",
        "inside the fitted range (N up to 3.4B) the best N_a/N is at least .61: smaller ones are extrapolations",
        "N_a was varied at fixed N by expert width and count together: memory is what is held fixed",
    ),
)
