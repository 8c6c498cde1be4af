"""The additive law on the active parameters of one MoE shape (FLAME-MoE, arXiv 2505.20225)."""

from dataclasses import replace

from moewright.architecture import variables
from moewright.laws import derive
from moewright.laws.formulas import additive_form, additive_optimum
from moewright.laws.law import Judgement, LossLaw
from moewright.laws.variable import TRAIN_FLOPS, TRAIN_TOKENS, Variable

LAW = LossLaw(
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
    ),
    held_fixed=(
        replace(TRAIN_FLOPS, low=1e18, high=3e19, derive=derive.six_active_params, per_token=True),
        Variable("num_experts", "E, routed experts", 64, 64, derive=variables.num_experts),
        Variable("top_k", "K, routed experts that a token uses", 8, 8, derive=variables.top_k),
        Variable("shared_experts", "shared experts", 2, 2, derive=variables.shared_experts),
    ),
    optimum_rule=additive_optimum("active_params"),
    applies=derive.needs_moe,
    judges=Judgement(
        reason="its runs held one mixture fixed (64 experts, 8 used, 2 shared), so it cannot rank mixtures"
    ),
    notes=("A and B sit on a start value of the authors' search: treat the law as weak",),
)
