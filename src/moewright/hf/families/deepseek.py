"""DeepSeek-V2 (arXiv 2405.04434), V3 (arXiv 2412.19437) and V3.2; what is built on V2's module, DeepSeek-OCR 2 and
Unlimited-OCR, and on V3's: Kimi-K2, Sarvam-105B."""

from typing import Any

from moewright.architecture.feed_forwards import MoE, Router
from moewright.architecture.mixers import Attention, LatentAttention
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    DEEPSEEK_ROUTING,
    LATENT_NEUTRAL,
    attention,
    build,
    choose_feed_forwards,
    common_keys,
    deepseek_expert_keys,
    deepseek_experts,
    dense_first_layers,
    dense_prefix,
    expert_groups,
    experts,
    first_dense,
    first_mixer,
    first_moe,
    indexer,
    latent_attention,
    prediction,
    shared_of_routed_size,
    stack,
    typed_layers,
    without,
)


def _read_v2(c: Config) -> Architecture:
    n = c.num_layers()
    # DeepSeek-VL2's and DeepSeek-OCR's files switch latent attention off.
    mixer = latent_attention(c, rope=c.rope()) if c.flag("use_mla") else _plain_attention(c)
    sparse = dense_first_layers(c, n)
    return build(c, stack(c, [mixer] * n, choose_feed_forwards(c, sparse, _v2_experts(c), bias=c.flag("mlp_bias"))))


def _plain_attention(c: Config) -> Attention:
    bias = c.flag("attention_bias")
    return attention(c, qkv_bias=bias, output_bias=bias, rope=c.rope())


def _v2_experts(c: Config) -> MoE:
    if c.has("scoring_func") and c.raw("scoring_func") == "sigmoid":
        return deepseek_experts(c)  # DeepSeek-VL2's own file routes as V3 does; transformers' module knows no sigmoid
    c.fixed("moe_layer_freq", 1)
    c.fixed("scoring_func", "softmax")
    limited = c.choice("topk_method", "greedy", "group_limited_greedy") == "group_limited_greedy"
    groups, best = expert_groups(c) if limited else (1, 1)
    router = Router(
        normalize=False,  # transformers' module ignores norm_topk_prob, false in every published config
        scale=c.number("routed_scaling_factor"),
        num_groups=groups,
        top_groups=best,
    )
    if not c.has("num_experts_per_tok"):
        # transformers' default; the module can be built and counted, but not run.
        c.warn("num_experts_per_tok: null; active parameters are counted as if every expert were chosen")
    return experts(
        c,
        count="n_routed_experts",
        top_k="num_experts_per_tok" if c.has("num_experts_per_tok") else "n_routed_experts",
        size="moe_intermediate_size",
        router=router,
        shared=shared_of_routed_size(c, "n_shared_experts", "moe_intermediate_size", bias=c.flag("mlp_bias")),
    )


def _read_ocr(c: Config) -> Architecture:
    n = c.num_layers()
    types = c.per_layer("layer_types", n, "full_attention", "reference_sliding_attention")
    window = c.optional_size("sliding_window")
    if window and (types is None or "reference_sliding_attention" in types):
        c.warn(
            f"sliding_window: {window} limits what is generated, and the prompt is kept whole; counted as if all "
            "tokens were of the prompt"
        )
    feed_forwards = choose_feed_forwards(c, typed_layers(c, n), _v2_experts(c), bias=c.flag("mlp_bias"))
    return build(c, stack(c, [_plain_attention(c)] * n, feed_forwards))


def _read_v3(c: Config) -> Architecture:
    n = c.num_layers()
    mixer = latent_attention(c, rope=c.rope())
    moe = deepseek_experts(c)
    layers = stack(c, [mixer] * n, choose_feed_forwards(c, dense_first_layers(c, n), moe))
    return build(c, layers, **prediction(c, "num_nextn_predict_layers", Layer(mixer=mixer, feed_forward=moe)))


def _write_v3(a: Architecture) -> dict[str, Any]:
    mixer, moe, plain = first_mixer(a, LatentAttention), first_moe(a), first_dense(a)
    values = common_keys(a, mixer)
    if mixer:
        values |= {
            "num_key_value_heads": mixer.num_heads,
            "q_lora_rank": mixer.q_lora_rank,
            "kv_lora_rank": mixer.kv_lora_rank,
            "qk_nope_head_dim": mixer.qk_nope_head_dim,
            "qk_rope_head_dim": mixer.qk_rope_head_dim,
            "v_head_dim": mixer.v_head_dim,
            "attention_bias": mixer.bias,
        }
    values |= deepseek_expert_keys(moe, plain)
    if moe:
        values |= {"scoring_func": moe.router.score, "topk_method": "noaux_tc"}
    return values | {
        "first_k_dense_replace": dense_prefix(a),
        "num_nextn_predict_layers": a.mtp_layers,
    }


def _read_v32(c: Config) -> Architecture:
    n = c.num_layers()
    c.per_layer("layer_types", n, "indexed_attention", "deepseek_sparse_attention")
    if c.flag("mlp_bias"):
        raise c.error("mlp_bias", "biases in the feed-forwards are not understood")
    mixer = latent_attention(c, rope=c.rope(), indexer=indexer(c))
    moe = deepseek_experts(c)
    sparse = typed_layers(c, n)
    layers = stack(c, [mixer] * n, choose_feed_forwards(c, sparse, moe))
    return build(c, layers, **prediction(c, "num_nextn_predict_layers", Layer(mixer=mixer, feed_forward=moe)))


_V3 = Family(
    model_type="deepseek_v3",
    class_name="DeepseekV3ForCausalLM",
    read=_read_v3,
    write=_write_v3,
    defaults={
        **COMMON_DEFAULTS,
        **DEEPSEEK_ROUTING,
        "first_k_dense_replace": 3,
        "n_shared_experts": 1,
        "n_group": 8,
        "topk_group": 4,
        "routed_scaling_factor": 2.5,
    },
    aliases={"num_local_experts": "n_routed_experts", "num_mtp_layers": "num_nextn_predict_layers"},
    neutral=LATENT_NEUTRAL,
    active_counts_embedding=False,  # 37B and Kimi-K2's 32B are without it, 37.6B and 32.9B with it
)
_V2_ALIASES = {"num_experts": "n_routed_experts", "num_local_experts": "n_routed_experts"}
_LATENT_SIZES = ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
_OCR = {
    **COMMON_DEFAULTS,
    **without(DEEPSEEK_ROUTING, "first_k_dense_replace"),
    "num_key_value_heads": None,
    "n_shared_experts": 2,
    "mlp_bias": False,
    "topk_method": "greedy",
    "mlp_layer_types": None,
    "layer_types": None,
    "sliding_window": None,
}

FAMILIES = {
    "deepseek_v2": Family(
        model_type="deepseek_v2",
        class_name="DeepseekV2ForCausalLM",
        read=_read_v2,
        defaults={
            **COMMON_DEFAULTS,
            **DEEPSEEK_ROUTING,
            "n_shared_experts": 2,
            "mlp_bias": False,
            "topk_method": "greedy",
            "use_mla": True,
        },
        aliases=_V2_ALIASES,
        # Of latent attention, where it is switched off; and whether a file holds a head, which it does.
        neutral=(*LATENT_NEUTRAL, *_LATENT_SIZES, "lm_head", "rm_head"),
    ),
    "deepseek_ocr2_text": Family(
        model_type="deepseek_ocr2_text",
        class_name="DeepseekOcr2ForConditionalGeneration",
        read=_read_ocr,
        defaults=_OCR,
        aliases=_V2_ALIASES,
        neutral=LATENT_NEUTRAL,
    ),
    "unlimited_ocr_text": Family(
        model_type="unlimited_ocr_text",
        class_name="UnlimitedOcrForConditionalGeneration",
        read=_read_ocr,
        defaults={**_OCR, "num_key_value_heads": 10, "first_k_dense_replace": 1, "sliding_window": 128},
        aliases=_V2_ALIASES,
        neutral=LATENT_NEUTRAL,
    ),
    "deepseek_v3": _V3,
    "kimi_k2": _V3,
    "deepseek_v32": Family(
        model_type="deepseek_v32",
        class_name="DeepseekV32ForCausalLM",
        read=_read_v32,
        defaults={
            **_V3.defaults,
            "mlp_layer_types": None,
            "layer_types": None,
            "mlp_bias": False,
        },
        aliases={**_V3.aliases, "num_experts": "n_routed_experts"},
        neutral=LATENT_NEUTRAL,
        active_counts_embedding=False,
    ),
    "sarvam_mla": Family(
        model_type="sarvam_mla",
        class_name="DeepseekV3ForCausalLM",
        read=_read_v3,
        defaults={
            **_V3.defaults,
            "q_lora_rank": None,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 1,
        },
        # Names in the publisher's own file beside transformers'.
        aliases={**_V3.aliases, "num_experts": "n_routed_experts", "num_shared_experts": "n_shared_experts"},
        neutral=(*LATENT_NEUTRAL, "q_head_dim"),
    ),
}
