"""MiMo-V2 (Xiaomi, 2026): windows in five of six layers with twice the key-value heads, values narrower than keys."""

from typing import Any

from moewright.architecture.feed_forwards import Router
from moewright.architecture.mixers import Attention, Rope, Window
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    build,
    choose_feed_forwards,
    expert_groups,
    experts,
    shared_of_routed_size,
    stack,
)


def _pattern(c: Config, key: str, n: int) -> list[bool] | None:
    """Xiaomi's files write 0 or 1 for every layer."""
    stated = c.integers(key)
    if not stated:
        return None
    if len(stated) != n or set(stated) - {0, 1}:
        raise c.error(key, f"expected 0 or 1 for each of the {n} layers", stated)
    return [value == 1 for value in stated]


def _slides(c: Config, n: int) -> list[bool]:
    types = c.per_layer("layer_types", n, "full_attention", "sliding_attention")
    if types is not None:
        return [kind == "sliding_attention" for kind in types]
    return _pattern(c, "hybrid_layer_pattern", n) or [index > 0 and (index + 1) % 6 != 0 for index in range(n)]


def _sparse(c: Config, n: int) -> list[bool]:
    kinds = c.per_layer("mlp_layer_types", n, "dense", "sparse")
    if kinds is not None:
        return [kind == "sparse" for kind in kinds]
    return _pattern(c, "moe_layer_freq", n) or [index > 0 for index in range(n)]


def _ropes(c: Config) -> tuple[Rope, Rope]:
    """Of full layers and of sliding ones: transformers' entries by kind of layer, or the publisher's two bases."""
    if c.has("rope_parameters"):
        return (
            c.rope(5e6, fraction=0.334, layer_type="full_attention"),
            c.rope(fraction=0.334, layer_type="sliding_attention"),
        )
    full = c.rope(5e6, fraction=0.334)
    return full, Rope(theta=c.number("swa_rope_theta"), fraction=full.fraction)


def _sizes(c: Config, slides: bool) -> dict[str, Any]:
    """Heads and their widths in a kind of layer; what the publisher's file states of sliding ones must be as built."""
    heads, kv_heads = c.size("num_attention_heads"), c.size("num_key_value_heads") * (2 if slides else 1)
    sizes = {"num_heads": heads, "num_kv_heads": kv_heads, "head_dim": c.size("head_dim")}
    sizes["value_head_dim"] = c.size("v_head_dim")
    stated = {"num_heads": "num_attention_heads", "num_kv_heads": "num_key_value_heads"}
    stated |= {"head_dim": "head_dim", "value_head_dim": "v_head_dim"}
    for name, key in stated.items():
        if slides and c.has(f"swa_{key}"):
            sizes[name] = c.size(f"swa_{key}")
    return sizes


def _window(c: Config) -> Window:
    """transformers counts the token itself; the publisher's sliding_window_size does not."""
    if c.has("sliding_window_size"):
        return Window(size=c.size("sliding_window_size") + 1)
    return Window(size=c.size("sliding_window"))


def _read(c: Config) -> Architecture:
    n, slides = c.num_layers(), _slides(c, c.num_layers())
    bias = c.flag("attention_bias")
    c.fixed("add_swa_attention_sink_bias", True)
    c.fixed("add_full_attention_sink_bias", False)
    c.fixed("scoring_func", "sigmoid")
    c.fixed("topk_method", "noaux_tc")
    far, near = _ropes(c)
    full = Attention(qkv_bias=bias, rope=far, **_sizes(c, slides=False))
    sliding = full
    if any(slides):
        sliding = Attention(qkv_bias=bias, rope=near, sinks=True, window=_window(c), **_sizes(c, slides=True))
    groups, best = expert_groups(c)
    router = Router(
        score="sigmoid",
        normalize=c.flag("norm_topk_prob"),
        scale=c.number("routed_scaling_factor") if c.has("routed_scaling_factor") else 1.0,
        selection_bias="buffer",
        num_groups=groups,
        top_groups=best,
    )
    moe = experts(
        c,
        count="n_routed_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=router,
        shared=shared_of_routed_size(c, "n_shared_experts", "moe_intermediate_size"),
    )
    layers = stack(c, [sliding if s else full for s in slides], choose_feed_forwards(c, _sparse(c, n), moe))
    return build(c, layers)


FAMILIES = {
    "mimo_v2_flash": Family(
        model_type="mimo_v2_flash",
        class_name="MiMoV2FlashForCausalLM",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "rms_norm_eps": 1e-5,
            "head_dim": 192,
            "v_head_dim": 128,
            "layer_types": None,
            "mlp_layer_types": None,
            "hybrid_layer_pattern": None,
            "moe_layer_freq": None,
            "sliding_window": 129,
            "swa_rope_theta": 10_000.0,
            "n_shared_experts": None,
            "norm_topk_prob": True,
            "n_group": 1,
            "topk_group": 1,
            "routed_scaling_factor": None,
        },
        aliases={"num_local_experts": "n_routed_experts", "layernorm_epsilon": "rms_norm_eps"},
        neutral=("attention_value_scale", "attention_chunk_size", "intermediate_size", "sliding_window_size"),
    ),
}
