"""GLM-4.5 (arXiv 2508.06471), GLM-4.7-Flash and GLM-5; Sarvam-30B and Solar Open, which build on GLM-4.5's module."""

from typing import Any

from moewright.architecture.mixers import Attention, Rope
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
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
    return build(c, layers, mtp_layers=c.count("num_nextn_predict_layers"))


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
    return build(c, layers, mtp_layers=c.count("num_nextn_predict_layers"))


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
        [reuses if shared else own for shared in _shared_indexers(c, n)],
        choose_feed_forwards(c, sparse, moe),
    )
    # The prediction block chooses for itself, also where the last layers reuse a choice (GLM-5.2).
    return build(c, layers, **prediction(c, "num_nextn_predict_layers", Layer(mixer=own, feed_forward=moe)))


def _shared_indexers(c: Config, n: int) -> list[bool]:
    """Which layers reuse an earlier layer's choice of tokens."""
    types = c.per_layer("indexer_types", n, "full", "shared")
    if types is not None:
        return [kind == "shared" for kind in types]
    pattern = c.raw("index_topk_pattern")
    if pattern is not None:
        if not isinstance(pattern, str) or len(pattern) != n or set(pattern) - {"F", "S"}:
            raise c.error("index_topk_pattern", f"expected {n} letters F or S", pattern)
        return [letter == "S" for letter in pattern]
    every, offset = c.count("index_topk_freq") or 1, c.count("index_skip_topk_offset")
    return [max(index - offset + 1, 0) % every != 0 for index in range(n)]


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
_ALIASES = {"num_local_experts": "n_routed_experts", "num_mtp_layers": "num_nextn_predict_layers"}
# Keys that say nothing in latent attention, and a dense width that no layer may use.
_LATENT_NEUTRAL = ("num_key_value_heads", "head_dim", "qk_head_dim", "rope_interleave", "intermediate_size", "ep_size")

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
        neutral=_LATENT_NEUTRAL,
    ),
    "glm_moe_dsa": Family(
        model_type="glm_moe_dsa",
        class_name="GlmMoeDsaForCausalLM",
        read=_read_dsa,
        defaults={
            **_DEFAULTS,
            "rms_norm_eps": 1e-5,
            "first_k_dense_replace": 3,
            "routed_scaling_factor": 2.5,
            "mlp_layer_types": None,
            "layer_types": None,
            "indexer_types": None,
            "index_topk_pattern": None,
            "index_topk_freq": 1,
            "index_skip_topk_offset": 2,
            "mlp_bias": False,
        },
        aliases={**_ALIASES, "num_experts": "n_routed_experts"},
        neutral=(*_LATENT_NEUTRAL, "indexer_rope_interleave", "index_share_for_mtp_iteration"),
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
