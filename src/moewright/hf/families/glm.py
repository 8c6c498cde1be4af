"""GLM-4.5 (arXiv 2508.06471), GLM-4.7-Flash, GLM-5 and GLM-5.3-Flash; Sarvam-30B and Solar Open, which build on
GLM-4.5's module."""

from typing import Any

from moewright.architecture.mixers import Attention, KimiDeltaAttention, Rope
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    LATENT_NEUTRAL,
    SHARED_INDEXERS,
    attention,
    build,
    choose_feed_forwards,
    common_keys,
    deepseek_expert_keys,
    deepseek_experts,
    dense_first_layers,
    dense_prefix,
    first_dense,
    first_mixer,
    first_moe,
    indexer,
    latent_attention,
    prediction,
    shared_indexers,
    stack,
    typed_layers,
    without,
)


def _read_glm4(c: Config) -> Architecture:
    return _read_grouped_query(c, rope=c.rope(fraction=0.5))


def _read_sarvam(c: Config) -> Architecture:
    return _read_grouped_query(c, rope=c.rope(8e6))


def _read_grouped_query(c: Config, rope: Rope) -> Architecture:
    """Grouped-query attention and DeepSeek's experts after the first dense layers."""
    n = c.num_layers()
    mixer = attention(
        c,
        qkv_bias=c.flag("attention_bias"),
        output_bias=False,
        qk_norm="per_head" if c.flag("use_qk_norm") else None,
        rope=rope,
    )
    moe, sparse = deepseek_experts(c), dense_first_layers(c, n)
    layers = stack(c, [mixer] * n, choose_feed_forwards(c, sparse, moe))
    return build(c, layers, **prediction(c, "num_nextn_predict_layers", Layer(mixer=mixer, feed_forward=moe)))


def _read_solar(c: Config) -> Architecture:
    n = c.num_layers()
    mixer = attention(c, qkv_bias=c.flag("attention_bias"), output_bias=False, rope=c.rope(1e6))
    return build(c, stack(c, [mixer] * n, [deepseek_experts(c)] * n))


def _write_glm4(a: Architecture) -> dict[str, Any]:
    mixer, moe, plain = first_mixer(a, Attention), first_moe(a), first_dense(a)
    values = common_keys(a, mixer)
    if mixer:
        values |= {
            "num_key_value_heads": mixer.num_kv_heads,
            "head_dim": mixer.head_dim,
            "attention_bias": mixer.qkv_bias,
            "use_qk_norm": mixer.qk_norm == "per_head",
            "partial_rotary_factor": mixer.rope.fraction if mixer.rope else 0.5,
        }
    values |= deepseek_expert_keys(moe, plain)
    return values | {"first_k_dense_replace": dense_prefix(a), "num_nextn_predict_layers": a.mtp_layers}


def _read_lite(c: Config) -> Architecture:
    n = c.num_layers()
    moe = deepseek_experts(c)
    sparse = typed_layers(c, n)
    mixer = latent_attention(c, rope=c.rope())
    layers = stack(c, [mixer] * n, choose_feed_forwards(c, sparse, moe))
    return build(c, layers, **prediction(c, "num_nextn_predict_layers", Layer(mixer=mixer, feed_forward=moe)))


def _read_next(c: Config) -> Architecture:
    n = c.num_layers()
    types = c.per_layer("layer_types", n, "linear_attention", "indexed_attention", "full_attention")
    linear = [index % 4 != 3 if types is None else types[index] == "linear_attention" for index in range(n)]
    c.fixed("qk_rope_head_dim", 0)
    c.fixed("index_kpool_always_select_tail", True)
    c.replace("qk_rope_head_dim", 0)
    pool = c.size("index_kpool")
    delta = _delta_attention(c)
    own = latent_attention(c, rope=None, indexer=indexer(c, pool=pool))
    reuses = latent_attention(c, rope=None, indexer=indexer(c, shared=True, pool=pool))
    mixers = [
        delta if is_linear else reuses if shared else own
        for is_linear, shared in zip(linear, shared_indexers(c, n), strict=True)
    ]
    moe = deepseek_experts(c)
    layers = stack(c, mixers, choose_feed_forwards(c, typed_layers(c, n), moe))
    block = prediction(c, "num_nextn_predict_layers", Layer(mixer=own, feed_forward=moe))
    return build(c, layers, hyper_connections=c.size("hc_mult"), merges_streams=False, **block)


def _delta_attention(c: Config) -> KimiDeltaAttention:
    """By transformers' keys, or by the section of the publisher's file."""
    keys = ("linear_num_heads", "linear_head_dim", "linear_conv_kernel_dim")
    heads, head_dim, kernel = (c.size(key) for key in keys)
    if c.has("linear_attn_config"):
        own = c.section(
            "linear_attn_config",
            {"num_heads": heads, "head_dim": head_dim, "short_conv_kernel_size": kernel},
            neutral=("gate_lower_bound", "safe_gate", "kda_layers", "full_attn_layers"),
        )
        heads, head_dim, kernel = own.size("num_heads"), own.size("head_dim"), own.size("short_conv_kernel_size")
    return KimiDeltaAttention(num_heads=heads, head_dim=head_dim, conv_kernel=kernel, gate_rank=head_dim)


def _read_dsa(c: Config) -> Architecture:
    n = c.num_layers()
    c.per_layer("layer_types", n, "indexed_attention", "deepseek_sparse_attention")
    if c.flag("mlp_bias"):
        raise c.error("mlp_bias", "biases in the feed-forwards are not understood")
    rope = c.rope()
    own = latent_attention(c, rope=rope, indexer=indexer(c))
    reuses = latent_attention(c, rope=rope, indexer=indexer(c, shared=True))
    moe = deepseek_experts(c)
    sparse = typed_layers(c, n)
    layers = stack(
        c,
        [reuses if shared else own for shared in shared_indexers(c, n)],
        choose_feed_forwards(c, sparse, moe),
    )
    # The prediction block chooses for itself, also where the last layers reuse a choice (GLM-5.2).
    return build(c, layers, **prediction(c, "num_nextn_predict_layers", Layer(mixer=own, feed_forward=moe)))


_DEFAULTS = {
    **COMMON_DEFAULTS,
    "n_group": 1,
    "topk_group": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 1.0,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "num_nextn_predict_layers": 0,
}
_SPARSE_DEFAULTS = {
    **_DEFAULTS,
    "rms_norm_eps": 1e-5,
    "first_k_dense_replace": 3,
    "routed_scaling_factor": 2.5,
    "mlp_layer_types": None,
    "layer_types": None,
    **SHARED_INDEXERS,
}
"""Of those with an indexer."""
_ALIASES = {"num_local_experts": "n_routed_experts", "num_mtp_layers": "num_nextn_predict_layers"}
_GLM4 = Family(
    model_type="glm4_moe",
    class_name="Glm4MoeForCausalLM",
    read=_read_glm4,
    write=_write_glm4,
    defaults={**_DEFAULTS, "rms_norm_eps": 1e-5, "use_qk_norm": False},
    aliases=_ALIASES,
    neutral=("intermediate_size",),
    # The GLM-4.5 report counts neither embedding nor head (section 2.1); the head does multiply every token.
    active_counts_embedding=False,
)

FAMILIES = {
    "glm4_moe": _GLM4,
    "glm4v_moe_text": _GLM4,  # the language model of GLM-4.5V
    "glm4_moe_lite": Family(
        model_type="glm4_moe_lite",
        class_name="Glm4MoeLiteForCausalLM",
        read=_read_lite,
        defaults={
            **_DEFAULTS,
            "rms_norm_eps": 1e-5,
            "routed_scaling_factor": 1.8,
            "mlp_layer_types": None,
        },
        aliases=_ALIASES,
        neutral=LATENT_NEUTRAL,
    ),
    "glm_moe_dsa": Family(
        model_type="glm_moe_dsa",
        class_name="GlmMoeDsaForCausalLM",
        read=_read_dsa,
        defaults={**_SPARSE_DEFAULTS, "mlp_bias": False},
        aliases={**_ALIASES, "num_experts": "n_routed_experts"},
        neutral=(*LATENT_NEUTRAL, "indexer_rope_interleave", "index_share_for_mtp_iteration", "moe_router_dtype"),
    ),
    "glm5_next_text": Family(
        model_type="glm5_next_text",
        class_name="Glm5NextForConditionalGeneration",
        read=_read_next,
        defaults={
            **_SPARSE_DEFAULTS,
            "index_kpool": 16,
            "hc_mult": 4,
            "linear_head_dim": 128,
            "linear_num_heads": 64,
            "linear_conv_kernel_dim": 4,
            "linear_attn_config": None,
        },
        aliases={**_ALIASES, "num_experts": "n_routed_experts"},
        neutral=(*LATENT_NEUTRAL, "swiglu_limit", "linear_lower_bound", "hc_eps", "hc_sinkhorn_iters"),
    ),
    "sarvam_moe": Family(
        model_type="sarvam_moe",
        class_name="Glm4MoeForCausalLM",
        read=_read_sarvam,
        defaults={
            **_DEFAULTS,
            "head_dim": 64,
            "routed_scaling_factor": 2.5,
            "use_qk_norm": True,
        },
        # Names in the publisher's own file beside transformers'.
        aliases={
            **_ALIASES,
            "num_experts": "n_routed_experts",
            "num_shared_experts": "n_shared_experts",
            "use_qkv_bias": "attention_bias",
        },
        neutral=("intermediate_size",),
    ),
    "solar_open": Family(
        model_type="solar_open",
        class_name="SolarOpenForCausalLM",
        read=_read_solar,
        defaults={**without(_DEFAULTS, "first_k_dense_replace"), "head_dim": 128, "rms_norm_eps": 1e-5},
        aliases={"num_local_experts": "n_routed_experts"},
        # Upstage's file keeps the words of the module that it was made from.
        neutral=("intermediate_size", "first_k_dense_replace", "use_qk_norm"),
    ),
}
