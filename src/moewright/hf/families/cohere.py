"""Cohere's Command R, A and A+ (2026): attention and feed-forward or experts side by side under one norm."""

from moewright.architecture.feed_forwards import Router
from moewright.architecture.mixers import Window
from moewright.architecture.spec import Architecture, Norm
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    attention,
    build,
    choose_feed_forwards,
    dense,
    experts,
    shared_of_routed_size,
    stack,
    typed_layers,
    windowed,
    without,
)


def _read(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    dense_layers = c.count("first_k_dense_replace")
    types = c.per_layer("layer_types", n, "sliding_attention", "full_attention")
    if types is None:
        first, later = c.size("prefix_dense_sliding_window_pattern"), c.size("sliding_window_pattern")
        full_at = [(index + 1) % first == 0 for index in range(min(dense_layers, n))]
        full_at += [(index + 1) % later == 0 for index in range(n - len(full_at))]
        types = ["full_attention" if full else "sliding_attention" for full in full_at]
    size = c.optional_size("sliding_window")
    window, rope = Window(size=size) if size else None, c.rope()
    sliding = attention(c, qkv_bias=bias, output_bias=bias, rope=rope, window=window)
    full = attention(c, qkv_bias=bias, output_bias=bias, rope=None)  # no position embedding in full layers
    combine = c.choice("shared_expert_combination_strategy", "sum", "average")
    moe = experts(
        c,
        count="num_experts",
        top_k="num_experts_per_tok",
        size="intermediate_size",
        router=Router(
            score="softmax" if c.choice("expert_selection_fn", "softmax", "sigmoid") == "softmax" else "sigmoid",
            normalize=c.flag("norm_topk_prob"),
        ),
        shared=shared_of_routed_size(
            c, "num_shared_experts", "intermediate_size", "sum" if combine == "sum" else "average"
        ),
    )
    sparse = typed_layers(c, n)
    dense_size = "prefix_dense_intermediate_size" if c.has("prefix_dense_intermediate_size") else "intermediate_size"
    feed_forwards = choose_feed_forwards(c, sparse, moe, size=dense_size)
    if c.has("rms_norm_eps"):
        norm = Norm(eps=c.number("rms_norm_eps"))
    else:
        norm = Norm(kind="layer", eps=c.number("layer_norm_eps"))
    mixers = [sliding if kind == "sliding_attention" else full for kind in types]
    return build(c, stack(c, mixers, feed_forwards, norms="parallel"), norm=norm)


def _read_command_r(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    norm = Norm(kind="layer", eps=c.number("layer_norm_eps"))
    mixer = attention(
        c, qkv_bias=bias, output_bias=bias, qk_norm="full" if c.flag("use_qk_norm") else None, rope=c.rope()
    )
    return build(c, stack(c, [mixer] * n, [dense(c)] * n, norms="parallel"), norm=norm)


def _read_command_a(c: Config) -> Architecture:
    n, bias, every = c.num_layers(), c.flag("attention_bias"), c.size("sliding_window_pattern")
    types = c.per_layer("layer_types", n, "sliding_attention", "full_attention")
    types = types or ["full_attention" if (i + 1) % every == 0 else "sliding_attention" for i in range(n)]
    norm = Norm(kind="layer", eps=c.number("layer_norm_eps"))
    full = attention(c, qkv_bias=bias, output_bias=bias, rope=None)  # no position embedding in full layers
    mixers = windowed(c, types, full, c.rope())
    return build(c, stack(c, mixers, [dense(c)] * n, norms="parallel"), norm=norm)


_DENSE_DEFAULTS = {
    **COMMON_DEFAULTS,
    "num_key_value_heads": None,
    "tie_word_embeddings": True,
    "layer_norm_eps": 1e-5,
}
_DENSE_NEUTRAL = ("logit_scale", "cache_implementation", "use_embedding_sharing", "use_gated_activation")
FAMILIES = {
    "cohere": Family(
        model_type="cohere",
        class_name="CohereForCausalLM",
        read=_read_command_r,
        defaults={**_DENSE_DEFAULTS, "use_qk_norm": False},
        neutral=(*_DENSE_NEUTRAL, "model_max_length", "rms_norm_eps"),
    ),
    "cohere2": Family(
        model_type="cohere2",
        class_name="Cohere2ForCausalLM",
        read=_read_command_a,
        defaults={**_DENSE_DEFAULTS, "sliding_window": 4096, "sliding_window_pattern": 4, "layer_types": None},
        neutral=(
            *(*_DENSE_NEUTRAL, "rms_norm_eps", "order_of_interleaved_layers", "layer_switch"),
            *("position_embedding_type", "rotary_pct", "use_parallel_block", "use_parallel_embedding", "use_qk_norm"),
        ),
    ),
    "cohere2_moe": Family(
        model_type="cohere2_moe",
        class_name="Cohere2MoeForCausalLM",
        read=_read,
        defaults={
            **without(COMMON_DEFAULTS, "head_dim"),
            "num_key_value_heads": None,
            "tie_word_embeddings": True,
            "rms_norm_eps": None,
            "layer_norm_eps": 1e-5,
            "sliding_window": 4096,
            "sliding_window_pattern": 4,
            "prefix_dense_sliding_window_pattern": 1,
            "prefix_dense_intermediate_size": None,
            "first_k_dense_replace": 0,
            "layer_types": None,
            "mlp_layer_types": None,
            "num_shared_experts": 0,
            "shared_expert_combination_strategy": "average",
            "expert_selection_fn": "softmax",
            "norm_topk_prob": True,
        },
        aliases={"num_local_experts": "num_experts"},
        neutral=("logit_scale",),
    ),
}
