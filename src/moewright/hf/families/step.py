"""Step 3.5 and 3.7 (StepFun, 2026): heads by kind of layer, a gate on each head's output, one shared expert."""

from typing import Any

from moewright.architecture.feed_forwards import Router, SharedExpert
from moewright.architecture.mixers import Attention, Mixer, Rope, Window
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    block_kind,
    build,
    choose_feed_forwards,
    experts,
    layers_in_words,
    prediction,
    stack,
)


def _of_layers(c: Config, key: str, n: int, *allowed: str) -> list[str] | None:
    """A word for every layer; StepFun's files go on with the prediction blocks, which are transformers' `mtp_` key."""
    value = c.raw(key)
    blocks = c.count("num_nextn_predict_layers")
    if blocks and isinstance(value, list) and len(value) == n + blocks:
        c.replace(key, value[:n])
        c.replace(f"mtp_{key}", value[n:])
    return c.per_layer(key, n, *allowed)


def _sparse_layers(c: Config, n: int) -> list[bool]:
    """Of all layers, and of the first prediction block."""
    kinds = _of_layers(c, "mlp_layer_types", n, "dense", "sparse")
    if kinds is not None:
        blocks = c.count("num_nextn_predict_layers")
        kind = block_kind(c, "mtp_mlp_layer_types", blocks, "dense", "dense", "sparse")
        return [kind == "sparse" for kind in (*kinds, kind)]
    chosen = layers_in_words(c, "moe_layers_enum")  # of the publisher's own file
    if chosen is None:
        first = c.count("first_k_dense_replace")
        return [first <= index < n for index in range(n + 1)]
    return [index in chosen for index in range(n + 1)]


def _sliding_heads(c: Config) -> int:
    if c.has("num_sliding_attention_heads"):
        return c.size("num_sliding_attention_heads")
    other = c.mapping("attention_other_setting")
    stated = other.get("num_attention_heads") if other else None
    if stated is None:
        return c.size("num_attention_heads")
    return c.size_at("attention_other_setting.num_attention_heads", stated)


def _ropes(c: Config, types: list[str]) -> dict[str, Rope]:
    """One rotary embedding for each kind of layer; the publisher's file states base and share once a layer."""
    bases, shares = c.raw("rope_theta"), c.raw("partial_rotary_factors")
    if not isinstance(bases, list) and not isinstance(shares, list):
        return {kind: c.rope(layer_type=kind) for kind in set(types)}

    def at(key: str, values: Any, index: int, otherwise: float) -> float:
        value = values[index] if isinstance(values, list) and index < len(values) else values
        return c.number_at(f"{key}[{index}]", otherwise if value is None else value)

    scaling = c.mapping("rope_scaling")
    ropes = {}
    for kind in set(types):
        first = types.index(kind)
        ropes[kind] = Rope(
            theta=at("rope_theta", bases, first, 10_000.0),
            fraction=at("partial_rotary_factors", shares, first, 1.0),
            scaling=scaling if kind == "full_attention" else None,
        )
    return ropes


def _mixers(c: Config, n: int) -> list[Mixer]:
    """Of all layers, and of the first prediction block."""
    types = _of_layers(c, "layer_types", n, "full_attention", "sliding_attention") or ["full_attention"] * n
    blocks = c.count("num_nextn_predict_layers")
    types = [*types, block_kind(c, "mtp_layer_types", blocks, types[-1], "full_attention", "sliding_attention")]
    bias, ropes = c.flag("attention_bias"), _ropes(c, types)
    gating = c.raw("gating")
    if gating not in (True, None, "per-head", "per-element"):
        raise c.error("gating", "expected true, per-head or per-element", gating)
    kv_heads = c.size("num_key_value_heads")
    made: dict[str, Mixer] = {}
    for kind in set(types):
        slides = kind == "sliding_attention"
        heads = _sliding_heads(c) if slides else c.size("num_attention_heads")
        if heads % kv_heads:
            raise c.error("num_key_value_heads", f"does not divide the {heads} heads of {kind}", kv_heads)
        made[kind] = Attention(
            num_heads=heads,
            num_kv_heads=kv_heads,
            head_dim=c.head_dim(),
            qkv_bias=bias,
            output_bias=bias,
            qk_norm="per_head",
            output_gate="per_channel" if gating == "per-element" else "per_head",
            window=Window(size=c.size("sliding_window")) if slides and c.has("sliding_window") else None,
            rope=ropes[kind],
        )
    return [made[kind] for kind in types]


def _read(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("mlp_bias")
    c.fixed("n_shared_experts", 1)
    c.fixed("scoring_func", "sigmoid")
    c.fixed("use_moe_router_bias", True)
    c.fixed("use_head_wise_attn_gate", True)
    moe = experts(
        c,
        count="n_routed_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=Router(
            score="sigmoid", normalize=True, scale=c.number("moe_router_scaling_factor"), selection_bias="buffer"
        ),
        shared=SharedExpert(expert_size=c.size("share_expert_dim"), bias=bias),
    )
    sparse = _sparse_layers(c, n)
    if not c.count("num_nextn_predict_layers"):
        sparse[n] = sparse[n - 1]  # so that there is a last one to drop, and no key is asked for its sake
    *layers, block = stack(c, _mixers(c, n), choose_feed_forwards(c, sparse, moe, bias=bias))
    return build(c, layers, **prediction(c, "num_nextn_predict_layers", block))


_STEP = Family(
    model_type="step3p5",
    class_name="Step3p7ForConditionalGeneration",
    read=_read,
    defaults={
        **COMMON_DEFAULTS,
        "head_dim": 128,
        "rms_norm_eps": 1e-5,
        "layer_types": None,
        "mlp_layer_types": None,
        "moe_layers_enum": None,
        "first_k_dense_replace": 3,
        "mlp_bias": False,
        "moe_router_scaling_factor": 1.0,
        "num_nextn_predict_layers": 0,
        "mtp_layer_types": None,
        "mtp_mlp_layer_types": None,
        "num_sliding_attention_heads": None,
        "attention_other_setting": None,
        "partial_rotary_factors": None,
        "gating": True,
    },
    aliases={
        "num_local_experts": "n_routed_experts",
        "num_experts": "n_routed_experts",
        "moe_num_experts": "n_routed_experts",
        "num_attention_groups": "num_key_value_heads",
        "moe_top_k": "num_experts_per_tok",
        "share_expert_dims": "share_expert_dim",
    },
    neutral=(
        "intermediate_size",
        "query_pre_attn_scalar",
        "swiglu_limits",
        "swiglu_limits_shared",
        "per_layer_config",
        "sliding_window",
    ),
)

FAMILIES = {"step3p5": _STEP}
