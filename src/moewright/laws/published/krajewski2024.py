"""The law of fine-grained experts at expansion 64 (Krajewski et al., arXiv 2402.07871)."""

from dataclasses import replace
from typing import Any

import numpy as np

from moewright.architecture import counts, variables
from moewright.laws import derive
from moewright.laws.form import Coefficient, Coefficients, Columns, Form, power
from moewright.laws.formulas import minimise_in_log
from moewright.laws.law import Judgement, LossLaw, Optimum
from moewright.laws.variable import TRAIN_FLOPS, TRAIN_TOKENS, Values, Variable

EXPANSION = 64  # total over active expert parameters, fixed in the fitted runs
GRANULARITIES = tuple(2.0**power_of_two for power_of_two in range(9))  # what the paper's optimum chooses among


def _basis(c: Coefficients, v: Columns) -> tuple[Values, ...]:
    N_term = power(v["total_params"], -c["alpha"])
    return (
        np.ones_like(N_term),
        power(v["granularity"], -c["gamma"]) * N_term,
        N_term,
        power(v["train_tokens"], -c["beta"]),
    )


FORM = Form(
    name="krajewski2024",
    formula="L = c + (g G^-gamma + a) N^-alpha + b D^-beta",
    variables=("total_params", "train_tokens", "granularity"),
    nonlinear=(
        Coefficient("alpha", 0.01, 2.0, (0.05, 0.5)),
        Coefficient("beta", 0.01, 2.0, (0.05, 0.5)),
        Coefficient("gamma", 0.01, 5.0, (0.1, 1.5)),
    ),
    linear=(Coefficient("c", 0.0), Coefficient("g", 0.0), Coefficient("a", 0.0), Coefficient("b", 0.0)),
    basis=_basis,
    asymptote="c",
)


def model_of_width(hidden_size: Values, granularity: Values) -> dict[str, Any]:
    """N and training FLOPs per token of the paper's models: d = 64 layers, E = 64, two matrices per expert.

    N = layers d^2 (4 + 8 E), FLOPs = layers (6 x 12 d^2 + 14 d E G), the second term the router's (appendix on FLOPs).
    """
    layers = hidden_size / 64
    return {
        "total_params": layers * hidden_size**2 * (4 + 8 * EXPANSION),
        "flops_per_token": layers * (72 * hidden_size**2 + 14 * hidden_size * EXPANSION * granularity),
    }


def optimum(c: Coefficients, train_flops: Values, granularity: Values | None = None) -> dict[str, Any]:
    """N, D and G of least loss for a budget, G among powers of two unless given; router FLOPs grow with G."""
    shape = np.broadcast_shapes(*(np.shape(value) for value in (*c.values(), train_flops)))
    best: dict[str, Any] = {}
    for G in GRANULARITIES if granularity is None else (granularity,):
        found = _at_granularity(c, np.broadcast_to(np.asarray(train_flops), shape), G)
        if best:
            found = {name: np.where(found["loss"] < best["loss"], found[name], best[name]) for name in found}
        best = found
    return best


def _at_granularity(c: Coefficients, train_flops: Any, granularity: Values) -> dict[str, Any]:
    def at(hidden_size: Any) -> dict[str, Any]:
        model = model_of_width(hidden_size, granularity)
        point = {
            "total_params": model["total_params"],
            "train_tokens": train_flops / model["flops_per_token"],
            "granularity": np.broadcast_to(granularity, np.shape(hidden_size)),
        }
        return {**point, "loss": FORM.loss(c, point)}

    shape = np.broadcast_shapes(np.shape(train_flops), np.shape(granularity))
    return at(minimise_in_log(lambda hidden_size: at(hidden_size)["loss"], 16.0, 1e6, shape))


_GRANULARITY = Variable(
    "granularity",
    "G = d_ff / d_e with d_ff = 4 d",
    1,
    16,
    "",
    variables.granularity_krajewski,
)

LAW = LossLaw(
    name="krajewski2024",
    title="Law of fine-grained experts over total parameters, tokens and granularity",
    source="Krajewski et al. 2024, arXiv 2402.07871",
    confidence="A, checked",
    params_convention="total, without embeddings, at expansion 64",
    form=FORM,
    # As printed; the authors' configuration has c = 0.472.
    coefficients={"a": 18.1, "alpha": 0.115, "b": 30.8, "beta": 0.147, "g": 2.1, "gamma": 0.58, "c": 0.47},
    inputs=(
        Variable(
            "total_params",
            "N, every parameter but the embeddings, of a model with expansion 64",
            129e6,
            3.7e9,
            "parameters",
            counts.total_params_non_embedding,
        ),
        replace(TRAIN_TOKENS, low=16e9, high=130e9),
        _GRANULARITY,
    ),
    held_fixed=(Variable("expansion", "E/K", EXPANSION, EXPANSION, "", derive=variables.sparsity_liew),),
    optimum_rule=Optimum(
        arguments=(TRAIN_FLOPS,),
        optional=(_GRANULARITY,),
        solve=optimum,
        answers={
            "total_params": "N of least loss for models with d = 64 layers and 64-fold expansion",
            "train_tokens": "D there, router FLOPs counted",
            "granularity": "the best power of two, or the one given",
            "loss": "L there",
        },
    ),
    applies=derive.needs_moe,
    # The expansion was 64 in all runs. The largest model (3.7B) has 12 of its 4 + 8 x 64 parts active; 16B tokens or
    # more.
    judges=Judgement(
        moved=frozenset({"size", "tokens", "granularity"}),
        least_tokens_per_param=16e9 / (3.7e9 * 12 / (4 + 8 * EXPANSION)),
    ),
    notes=(
        "the paper's dense companion: a 16.3, alpha .126, b 26.7, beta .127",
        "its table of optima has losses .011 to .023 higher than these rounded coefficients give",
    ),
)
