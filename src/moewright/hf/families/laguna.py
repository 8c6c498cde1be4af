"""Laguna (poolside, 2026): heads by layer, a gate on their outputs, one shared expert."""

from moewright.architecture.feed_forwards import Router, SharedExpert
from moewright.architecture.mixers import Attention, Mixer, Window
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, build, choose_feed_forwards, experts, stack


def _mixers(c: Config, n: int) -> list[Mixer]:
    types = c.per_layer("layer_types", n, "full_attention", "sliding_attention") or ["full_attention"] * n
    same = c.size("num_attention_heads")
    heads = c.integers("num_attention_heads_per_layer") or [same] * n
    if len(heads) != n:
        raise c.error("num_attention_heads_per_layer", f"has {len(heads)} entries for {n} layers")
    bias, kv_heads, head_dim = c.flag("attention_bias"), c.size("num_key_value_heads"), c.head_dim()
    gating = c.raw("gating")
    if gating is not True and gating not in ("per-head", "per-element"):
        raise c.error("gating", "expected true, per-head or per-element", gating)
    written = c.raw("gating_types")
    if written is not None and (
        not isinstance(written, list) or any(kind not in ("per_head", "per-head") for kind in written)
    ):
        raise c.error("gating_types", "only per_head in every layer is understood", written)
    ropes = {
        "full_attention": c.rope(500_000.0, fraction=0.5, layer_type="full_attention"),
        "sliding_attention": c.rope(layer_type="sliding_attention"),
    }
    made: dict[tuple[str, int], Mixer] = {}
    for kind, number in zip(types, heads, strict=True):
        if (kind, number) in made:
            continue
        if not number or number % kv_heads:
            raise c.error("num_attention_heads_per_layer", f"num_key_value_heads ({kv_heads}) must divide", number)
        made[kind, number] = Attention(
            num_heads=number,
            num_kv_heads=kv_heads,
            head_dim=head_dim,
            qkv_bias=bias,
            output_bias=bias,
            qk_norm="per_head",
            output_gate="per_channel" if gating == "per-element" else "per_head",
            window=Window(size=c.size("sliding_window")) if kind == "sliding_attention" else None,
            rope=ropes[kind],
        )
    return [made[key] for key in zip(types, heads, strict=True)]


def _read(c: Config) -> Architecture:
    n = c.num_layers()
    types = c.per_layer("mlp_layer_types", n, "dense", "sparse") or ["dense"] + ["sparse"] * (n - 1)
    c.fixed("moe_apply_router_weight_on_input", False, None)
    c.fixed("norm_topk_prob", True, None)
    moe = experts(
        c,
        count="num_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=Router(
            score="sigmoid",
            normalize=True,
            scale=c.number("moe_routed_scaling_factor"),
            selection_bias="parameter",
        ),
        shared=SharedExpert(expert_size=c.size("shared_expert_intermediate_size")),
    )
    return build(c, stack(c, _mixers(c, n), choose_feed_forwards(c, [kind == "sparse" for kind in types], moe)))


FAMILIES = {
    "laguna": Family(
        model_type="laguna",
        class_name="LagunaForCausalLM",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "head_dim": 128,
            "layer_types": None,
            "mlp_layer_types": None,
            "num_attention_heads_per_layer": None,
            "gating": True,
            "gating_types": None,
            "moe_routed_scaling_factor": 1.0,
        },
        aliases={"num_local_experts": "num_experts"},
        # decoder_sparse_step and mlp_only_layers are older words; the module reads mlp_layer_types only.
        neutral=(
            "moe_router_logit_softcapping",
            "decoder_sparse_step",
            "mlp_only_layers",
            "use_bidirectional_attention",
            "intermediate_size",
        ),
    ),
}
