"""The experts of a model in every paper's words."""

from moewright.architecture import counts, variables
from moewright.architecture.spec import Architecture
from moewright.records import Record

IntOrFloat = int | float
"""A mean over layers that differ: an integer where it is one."""


class GranularityRecord(Record):
    """Granularity in each paper's definition."""

    liew: float
    krajewski: float
    ling: float


class MoERecord(Record):
    """The experts in every paper's words."""

    layers: int
    uniform: bool
    num_experts: IntOrFloat
    top_k: IntOrFloat
    expert_size: IntOrFloat
    shared_experts: IntOrFloat
    shared_expert_size: int | None
    sparsity: IntOrFloat
    sparsity_abnar: float
    granularity: GranularityRecord
    expert_multiplier: float
    G: IntOrFloat
    """Active experts, shared ones counted (arXiv 2509.23678)."""
    S: float
    """Share of the active experts that are shared (arXiv 2509.23678)."""
    activation_ratio: float
    activation_ratio_experts: float


def moe_anatomy(a: Architecture, count_embedding: bool) -> MoERecord | None:
    """The experts in every paper's words; None for a dense model."""
    layers = a.moe_layers()
    if not layers:
        return None
    shared = [(times, moe.shared.count if moe.shared else 0) for times, moe in layers]
    widths = {moe.shared.expert_size if moe.shared else 0 for _, moe in layers}
    return MoERecord(
        layers=sum(times for times, _ in layers),
        uniform=len({moe.model_dump_json() for _, moe in layers}) == 1 and len(layers[0][1].groups) == 1,
        num_experts=int_where_whole(variables.num_experts(a)),
        top_k=int_where_whole(variables.top_k(a)),
        expert_size=int_where_whole(variables.expert_size(a)),
        shared_experts=int_where_whole(
            sum(times * count for times, count in shared) / sum(times for times, _ in shared)
        ),
        shared_expert_size=widths.pop() if len(widths) == 1 else None,
        sparsity=int_where_whole(variables.sparsity_liew(a)),
        sparsity_abnar=variables.sparsity_abnar(a),
        granularity=GranularityRecord(
            liew=variables.granularity_liew(a),
            krajewski=variables.granularity_krajewski(a),
            ling=variables.granularity_ling(a),
        ),
        expert_multiplier=variables.expert_multiplier_slicing(a),
        G=int_where_whole(variables.active_experts_zhao(a)),
        S=variables.shared_ratio_zhao(a),
        activation_ratio=sum(counts.active(a, count_embedding).values()) / counts.total_params(a),
        activation_ratio_experts=variables.activation_ratio_ling(a),
    )


def int_where_whole(value: float) -> float | int:
    """An integer where the value is one, so that counts print as counts."""
    return int(value) if float(value).is_integer() else value
