"""Beam, as transformers 5.24 builds it: windows with rotation beside full attention without, and gated heads."""

from moewright.architecture.feed_forwards import Router
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    attention,
    build,
    choose_feed_forwards,
    expert_groups,
    experts,
    stack,
    windowed,
)


def _read(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    types = c.per_layer("layer_types", n, "full_attention", "sliding_attention")
    if types is None:
        looks = [(index + 1) % 6 == 0 or index == n - 1 for index in range(n)]
        types = ["full_attention" if look else "sliding_attention" for look in looks]
    kinds = c.per_layer("mlp_layer_types", n, "dense", "sparse") or ["dense"] * min(3, n) + ["sparse"] * (n - 3)
    ropes = c.mapping("rope_parameters") or {}
    if ropes.get("full_attention") is not None:
        raise c.error("rope_parameters.full_attention", "only null is understood", ropes["full_attention"])
    full = attention(
        c,
        qkv_bias=bias,
        output_bias=bias,
        qk_norm="per_head",
        output_gate="per_channel",
        output_gate_bias="per_head",
        rope=None,
    )
    groups, best = expert_groups(c, count="num_experts")
    router = Router(
        score="sigmoid",
        normalize=c.flag("norm_topk_prob"),
        scale=c.number("routed_scaling_factor"),
        selection_bias="buffer",
        num_groups=groups,
        top_groups=best,
    )
    moe = experts(c, count="num_experts", top_k="num_experts_per_tok", size="moe_intermediate_size", router=router)
    feed_forwards = choose_feed_forwards(c, [kind == "sparse" for kind in kinds], moe)
    mixers = windowed(c, types, full, c.rope(layer_type="sliding_attention"))
    return build(c, stack(c, mixers, feed_forwards, norms="sandwich"))


FAMILIES = {
    "beam": Family(
        model_type="beam",
        class_name="BeamForCausalLM",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "head_dim": 128,
            "sliding_window": 512,
            "layer_types": None,
            "mlp_layer_types": None,
            "norm_topk_prob": True,
            "n_group": 8,
            "topk_group": 4,
            "routed_scaling_factor": 2.5,
        },
        aliases={"num_local_experts": "num_experts", "n_routed_experts": "num_experts"},
        neutral=("intermediate_size", "final_logit_softcapping"),
    ),
}
