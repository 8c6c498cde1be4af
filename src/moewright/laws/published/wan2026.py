"""The compute-optimal allocation of MoE models, without a law of size and data (Wan et al., arXiv 2603.21862)."""

from typing import Any

from moewright.laws.form import Coefficients
from moewright.laws.law import Allocation, Optimum
from moewright.laws.variable import Values, Variable


def _wan_optimum(_: Coefficients, train_flops: Values) -> dict[str, Any]:
    return {"train_tokens": 22.89 * train_flops**0.4563, "flops_per_token": 0.0437 * train_flops**0.5437}


LAW = Allocation(
    name="wan2026",
    title="Allocation of compute for MoE models",
    source="Wan et al. 2026, arXiv 2603.21862",
    confidence="C",
    params_convention="none: compute C = M D, M the FLOPs per token",
    optimum_rule=Optimum(
        arguments=(Variable("train_flops", "C, FLOPs of training", 1e18, 3e20, "FLOPs"),),
        optional=(),
        solve=_wan_optimum,
        answers={"train_tokens": "D = 22.89 C^.4563", "flops_per_token": "M = .0437 C^.5437"},
    ),
    findings=("the best N/N_a is 18 to 25 and nearly flat with scale",),
)
