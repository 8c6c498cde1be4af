"""EXAONE 4 (arXiv 2507.11407) and K-EXAONE (LG AI Research, 2026)."""

from moewright.architecture.mixers import Window
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    attention,
    build,
    choose_feed_forwards,
    dense,
    expert_groups,
    experts,
    shared_of_routed_size,
    sigmoid_router,
    stack,
    typed_layers,
    windowed,
    without,
)


def _read(c: Config) -> Architecture:
    n = c.num_layers()
    size = c.optional_size("sliding_window")
    types = c.per_layer("layer_types", n, "sliding_attention", "full_attention")
    if types is None:
        types = _pattern(c, n, size)
    rope = c.rope()
    full = attention(c, qkv_bias=False, output_bias=False, qk_norm="per_head", rope=None if size else rope)
    sliding = attention(
        c,
        qkv_bias=False,
        output_bias=False,
        qk_norm="per_head",
        rope=rope,
        window=Window(size=size) if size else None,
    )
    moe = experts(
        c,
        count="num_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=sigmoid_router(c, expert_groups(c, count="num_experts")),
        shared=shared_of_routed_size(c, "num_shared_experts", "moe_intermediate_size"),
    )
    sparse = typed_layers(c, n)
    feed_forwards = choose_feed_forwards(c, sparse, moe)
    layers = stack(c, [sliding if kind == "sliding_attention" else full for kind in types], feed_forwards)
    return build(c, layers, mtp_layers=c.count("num_nextn_predict_layers"))


def _read_dense(c: Config) -> Architecture:
    n, size, rope = c.num_layers(), c.optional_size("sliding_window"), c.rope()
    types = c.per_layer("layer_types", n, "sliding_attention", "full_attention") or _pattern(c, n, size)
    # Full layers have no position embedding where there are others (section 2.1).
    full = attention(c, qkv_bias=False, output_bias=False, qk_norm="per_head", rope=None if size else rope)
    mixers = windowed(c, types, full, rope)
    return build(c, stack(c, mixers, [dense(c)] * n, norms="post"))


def _pattern(c: Config, n: int, window: int | None) -> list[str]:
    """A full layer after so many sliding ones, given as a number or as letters (LLLG)."""
    pattern = c.raw("sliding_window_pattern")
    if not window:
        return ["full_attention"] * n
    if isinstance(pattern, str) and pattern and set(pattern) <= {"L", "G"}:
        return ["sliding_attention" if pattern[i % len(pattern)] == "L" else "full_attention" for i in range(n)]
    every = c.size("sliding_window_pattern")
    return ["full_attention" if (index + 1) % every == 0 else "sliding_attention" for index in range(n)]


FAMILIES = {
    "exaone4": Family(
        model_type="exaone4",
        class_name="Exaone4ForCausalLM",
        read=_read_dense,
        defaults={
            **without(COMMON_DEFAULTS, "attention_bias"),
            "rms_norm_eps": 1e-5,
            "sliding_window": 4096,
            "sliding_window_pattern": 4,
            "layer_types": None,
        },
        neutral=("attention_bias",),
    ),
    "exaone_moe": Family(
        model_type="exaone_moe",
        class_name="ExaoneMoeForCausalLM",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "rms_norm_eps": 1e-5,
            "sliding_window": 4096,
            "sliding_window_pattern": 4,
            "layer_types": None,
            "mlp_layer_types": None,
            "first_k_dense_replace": 1,
            "num_shared_experts": 1,
            "norm_topk_prob": True,
            "routed_scaling_factor": 2.5,
            "n_group": 1,
            "topk_group": 1,
            "num_nextn_predict_layers": 0,
        },
        aliases={"num_local_experts": "num_experts"},
        neutral=("intermediate_size", "is_moe_layer", "scoring_func", "topk_method"),
    ),
}
