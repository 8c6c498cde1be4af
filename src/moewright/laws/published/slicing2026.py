"""The form fitted to the public runs of "Slicing and Dicing" (arXiv 2605.11689); docs/public_tables.md derives it.

Those runs have two sizes, one token budget for each, and learning rates far below the best one. What two sizes cannot
tell is held at published values: the dense law of Epoch AI 2024 (arXiv 2404.10102) for parameters and tokens, and the
step law (arXiv 2503.04715) for how the best learning rate moves with them. Fitted are one scale (another tokenizer and
data mixture), a parabola in the logarithm of how far a run's mean learning rate lies below the best, and the effects
of the mixture, each in proportion to the reducible loss.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from moewright.laws.form import Coefficient, Coefficients, Columns, Form, Link, power
from moewright.laws.formulas import saturated
from moewright.laws.law import LossForm, LossLaw
from moewright.laws.published.hoffmann2022 import EPOCH2024
from moewright.laws.published.steplaw import LAW as STEPLAW
from moewright.laws.variable import Values, Variable

UNIFORM_LOSS = float(np.log(100_352))  # of a guess over the padded vocabulary of the dolma2 tokenizer
SHARPNESS = 8  # of the bend into UNIFORM_LOSS; at a loss of 5 it takes 0.001 away
MEAN_OF_PEAK = 0.55  # a cosine from the peak to a tenth of it: the step law gives peaks, the form takes means
REFERENCE_WIDTH = 100.0  # channels; experts as narrow as this cost the fitted amount, wider ones less in proportion
WEAK_BALANCE = 1e-3  # weights of the balance loss below this are called weak; the sweeps have 0.01, 1e-4 and none


def below_uniform(total: Values) -> Any:
    """A loss that follows `total` while it is small and never passes that of a uniform guess."""
    return total * power(1 + power(total / UNIFORM_LOSS, SHARPNESS), -1 / SHARPNESS)


def _before_the_bend(loss: Values) -> Any:
    return loss * power(1 - power(loss / UNIFORM_LOSS, SHARPNESS), -1 / SHARPNESS)


CAPPED = Link(
    loss=lambda total, _: below_uniform(np.maximum(total, 1e-3)),
    sum=lambda loss, _: _before_the_bend(np.minimum(loss, 0.999 * UNIFORM_LOSS)),
    slope=lambda loss, _: power(1 - power(np.minimum(loss / UNIFORM_LOSS, 0.999), SHARPNESS), 1 + 1 / SHARPNESS),
)


def reducible(active_params: Values, train_tokens: Values, dense: LossLaw = EPOCH2024) -> Any:
    """A/N^alpha + B/D^beta of a dense law, in its nats."""
    c = dense.coefficients
    return c["A"] * power(active_params, -c["alpha"]) + c["B"] * power(train_tokens, -c["beta"])


def log_rate_deficit(active_params_non_embedding: Values, train_tokens: Values, learning_rate_mean: Values) -> Any:
    """How far the mean learning rate lies below the step law's best one, as a natural logarithm."""
    best_peak = STEPLAW.quantities["learning_rate"].value(
        total_params=active_params_non_embedding, train_tokens=train_tokens
    )
    return np.log(MEAN_OF_PEAK * best_peak / learning_rate_mean)


@dataclass(frozen=True)
class Pinned:
    """What the form takes from elsewhere; the defaults are those that predict the other size best."""

    dense: LossLaw = EPOCH2024
    rate_power: float = 0.5
    """The learning rate's cost goes with the reducible loss to this power."""

    def basis(self, c: Coefficients, v: Columns) -> tuple[Values, ...]:
        """Columns of the form, each of the shape of the variables."""
        Q = reducible(v["active_params"], v["train_tokens"], self.dense)
        R = power(Q, self.rate_power)
        x = log_rate_deficit(v["active_params_non_embedding"], v["train_tokens"], v["learning_rate_mean"])
        mixture = np.asarray(v["num_experts"] > 1, dtype=np.float64)
        sole = mixture * (v["top_k"] == 1)
        shared = np.asarray(v["shared_multiplier"] > 0, dtype=np.float64)
        # The total feed-forward width in units of a dense one (1 for a dense model), saturating at ratio_max.
        log_T = np.log(saturated(v["total_width"], 1.0, c["ratio_max"]))
        experts = (mixture - sole) * log_T
        shared_T = shared * log_T
        return (
            self.dense.coefficients["E"] + Q,
            R * x,
            R * x**2,
            Q * experts,
            Q * sole * (1 - shared),
            Q * sole * shared,
            Q * shared,
            Q * shared_T,
            Q * v["drops_tokens"],
            Q * mixture * (v["bias_step"] > 0),
            Q * mixture * (v["balance_weight"] == 0),
            Q * mixture * (v["balance_weight"] > 0) * (v["balance_weight"] < WEAK_BALANCE),
            Q * mixture * REFERENCE_WIDTH / v["expert_size"],
            Q * np.log(v["active_width"]),
            x * experts,
            x * sole * (1 - shared),
            x * shared,
        )


FORM = Form(
    name="slicing2026",
    formula="L = below ln V of: scale (E + Q) + sqrt(Q) x (slope + curve x) + Q [experts ln T + sole + sole_shared + "
    "shared + shared_experts ln T + dropping + bias + no_balance + weak_balance + narrow 100/d_e + active ln w] + "
    "x [rate_experts ln T + rate_sole + rate_shared], with Q = A/N^alpha + B/D^beta and E of epoch2024, x = "
    "ln(best mean learning rate by steplaw / mean learning rate), T = total / dense width, saturating at ratio_max, "
    "w = active / dense width; a bracketed effect only where it applies, experts only with two or more at work",
    variables=(
        "active_params",
        "active_params_non_embedding",
        "train_tokens",
        "learning_rate_mean",
        "num_experts",
        "top_k",
        "expert_size",
        "total_width",
        "active_width",
        "shared_multiplier",
        "drops_tokens",
        "bias_step",
        "balance_weight",
    ),
    nonlinear=(Coefficient("ratio_max", 20.0, 1e4, (40.0, 1000.0), log_start=True),),
    linear=tuple(
        Coefficient(name)
        for name in (
            "scale",
            "slope",
            "curve",
            "experts",
            "sole",
            "sole_shared",
            "shared",
            "shared_experts",
            "dropping",
            "bias",
            "no_balance",
            "weak_balance",
            "narrow",
            "active",
            "rate_experts",
            "rate_sole",
            "rate_shared",
        )
    ),
    basis=Pinned().basis,
    link=CAPPED,
)

LAW = LossForm(
    name="slicing2026",
    title="What the public runs of Slicing and Dicing follow, size and tokens pinned to a dense law",
    source="moewright's own form for the runs of Li et al. 2026, arXiv 2605.11689; docs/public_tables.md",
    confidence="form only; docs/slicing2026.json holds its fit",
    params_convention="active, with embedding and head; the learning rate's optimum without them",
    form=FORM,
    inputs=(
        Variable("active_params", "N_a with embedding and head", 8e7, 1.2e8, "parameters"),
        Variable("active_params_non_embedding", "N_a without them", 1.3e7, 2.9e7, "parameters"),
        Variable("train_tokens", "D, training tokens", 1e9, 2e9, "tokens"),
        Variable("learning_rate_mean", "mean over all steps of the learning rate", 9e-5, 1e-2),
        Variable("num_experts", "E, all groups; 1 for a dense model", 1, 160, "experts", at_least=1),
        Variable("top_k", "K, all groups; 1 is routing to a sole expert", 1, 64, "experts", at_least=1),
        Variable("expert_size", "d_e, mean over the experts used", 20, 1800, "channels"),
        Variable("total_width", "all experts' width, shared in, over a dense feed-forward's 4 d", 1, 65),
        Variable("active_width", "the width a token uses over 4 d", 0.75, 2),
        Variable("shared_multiplier", "shared width over 4 d; 0 for none", 0, 1, at_least=0),
        Variable("drops_tokens", "1 with expert capacity, 0 dropless", 0, 1, at_least=0),
        Variable("bias_step", "step of the loss-free bias; 0 for none", 0, 0.001, at_least=0),
        Variable("balance_weight", "weight of the balance loss; 0 for none", 0, 0.01, at_least=0),
    ),
    notes=(
        "the form is about runs at a learning rate, so a model and its tokens alone do not give its variables",
        "two sizes, each with one token budget, cannot tell parameters from tokens: those terms are pinned",
    ),
)
