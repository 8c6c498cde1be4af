"""Mixtures that only their vendors' files build: Ling (bailing_moe, bailing_moe_v2), Param 2, DeepSeekMoE 16B and Grok.

Sources: modeling_bailing_moe.py and modeling_bailing_moe_v2.py of inclusionAI, modeling_deepseek.py of deepseek-moe-16b
(arXiv 2401.06066), vLLM's param2moe.py, and for Grok sglang's models/grok.py, which xAI names as the way to run it.
"""

from typing import Any

from moewright.architecture.feed_forwards import Dense, MoE, Router, SharedExpert
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    DEEPSEEK_ROUTING,
    attention,
    build,
    choose_feed_forwards,
    dense,
    dense_first_layers,
    expert_groups,
    experts,
    prediction,
    shared_of_routed_size,
    sigmoid_router,
    stack,
    without,
)


def bailing_experts(c: Config) -> MoE:
    """The experts of Ling 1 to 2.5: a router of either kind, shared experts that may have a width of their own."""
    by_sigmoid = c.choice("score_function", "softmax", "sigmoid") == "sigmoid"
    router = Router(normalize=c.flag("norm_topk_prob"))
    if by_sigmoid:
        router = sigmoid_router(c, expert_groups(c, count="num_experts"))
        if not c.flag("moe_router_enable_expert_bias"):
            router = router.model_copy(update={"selection_bias": None})
    wide = "moe_shared_expert_intermediate_size"
    number = c.count("num_shared_experts")
    return experts(
        c,
        count="num_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=router,
        shared=SharedExpert(count=number, expert_size=c.size(wide if c.has(wide) else "moe_intermediate_size"))
        if number
        else None,
    )


def _read_bailing(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("use_bias")
    c.fixed("use_rmsnorm", True)
    c.fixed("norm_head", False)
    mixer = attention(
        c,
        qkv_bias=c.flag("use_qkv_bias"),
        output_bias=bias,
        qk_norm="per_head" if c.flag("use_qk_norm") else None,
        rope=c.rope(),
    )
    moe = bailing_experts(c)
    layers = stack(c, [mixer] * n, choose_feed_forwards(c, dense_first_layers(c, n), moe))
    return build(c, layers, **prediction(c, "num_nextn_predict_layers", Layer(mixer=mixer, feed_forward=moe)))


def _read_deepseek(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    c.fixed("scoring_func", "softmax")
    every = c.size("moe_layer_freq")
    moe = experts(
        c,
        count="n_routed_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=Router(normalize=c.flag("norm_topk_prob")),
        shared=shared_of_routed_size(c, "n_shared_experts", "moe_intermediate_size"),
    )
    sparse = [late and index % every == 0 for index, late in enumerate(dense_first_layers(c, n))]
    mixer = attention(c, qkv_bias=bias, output_bias=bias, rope=c.rope())
    return build(c, stack(c, [mixer] * n, choose_feed_forwards(c, sparse, moe)))


def _read_grok(c: Config) -> Architecture:
    n = c.num_layers()
    size = "moe_intermediate_size" if c.has("moe_intermediate_size") else "intermediate_size"
    beside: Dense | None = dense(c, activation="gelu_tanh") if c.flag("residual_moe") else None
    moe = experts(
        c,
        count="num_local_experts",
        top_k="num_experts_per_tok",
        size=size,
        router=Router(normalize=False),
        parallel_dense=beside,
        activation="gelu_tanh",
    )
    mixer = attention(c, qkv_bias=False, output_bias=False, rope=c.rope())
    return build(c, stack(c, [mixer] * n, [moe] * n, norms="sandwich"))


def _read_param(c: Config) -> Architecture:
    """Ling 2's layers; what its shared experts' width is stated as, if it is, is that of all of them together."""
    key, number = "moe_shared_expert_intermediate_size", c.count("num_shared_experts")
    if number and c.has(key):
        if c.size(key) % number:
            raise c.error(key, f"is no multiple of num_shared_experts ({number})", c.size(key))
        c.replace(key, c.size(key) // number)
    return _read_bailing(c)


BAILING_DEFAULTS: dict[str, Any] = {
    **COMMON_DEFAULTS,
    **without(DEEPSEEK_ROUTING, "n_shared_experts"),
    "use_bias": False,
    "use_qkv_bias": False,
    "use_qk_norm": False,
    "num_shared_experts": 0,
    "score_function": "softmax",
    "moe_router_enable_expert_bias": False,
}
BAILING_NEUTRAL = (
    "embedding_dropout",
    "output_dropout",
    "router_dtype",
    "router_type",
    "multi_gate",
    "rotary_dim",
    "rotary_type",
    "use_mrope",
    "mtp_loss_scaling_factor",
    "max_window_layers",
    "use_sliding_window",
    "sliding_window",
    "intermediate_size",
)


def _bailing(model_type: str, class_name: str, **defaults: Any) -> Family:
    return Family(
        model_type=model_type,
        class_name=class_name,
        read=_read_bailing,
        defaults=BAILING_DEFAULTS | defaults,
        aliases={"num_local_experts": "num_experts", "n_shared_experts": "num_shared_experts"},
        neutral=BAILING_NEUTRAL,
    )


FAMILIES = {
    "bailing_moe": _bailing("bailing_moe", "BailingMoeForCausalLM"),
    "bailing_moe_v2": _bailing("bailing_moe_v2", "BailingMoeV2ForCausalLM", use_qk_norm=True),
    "param2moe": Family(
        model_type="param2moe",
        class_name="Param2MoEForCausalLM",
        read=_read_param,
        defaults=BAILING_DEFAULTS
        | {"use_qk_norm": True, "score_function": "sigmoid", "moe_router_enable_expert_bias": True},
        aliases={"num_local_experts": "num_experts", "n_shared_experts": "num_shared_experts"},
        neutral=BAILING_NEUTRAL,
    ),
    "deepseek": Family(
        model_type="deepseek",
        class_name="DeepseekForCausalLM",
        read=_read_deepseek,
        defaults={**COMMON_DEFAULTS, **DEEPSEEK_ROUTING, "moe_layer_freq": 1, "norm_topk_prob": False},
        aliases={"num_local_experts": "n_routed_experts", "num_experts": "n_routed_experts"},
        neutral=("aux_loss_alpha", "seq_aux", "ep_size"),
    ),
    "grok1": Family(
        model_type="grok1",
        class_name="Grok1ForCausalLM",
        read=_read_grok,
        defaults={**without(COMMON_DEFAULTS, "hidden_act"), "residual_moe": False},
        aliases={"num_experts": "num_local_experts"},
        neutral=(
            *("embedding_multiplier_scale", "output_multiplier_scale", "attn_output_multiplier", "max_attn_value"),
            *("final_logit_softcapping", "attn_logit_softcapping", "router_logit_softcapping", "attn_temperature_len"),
            *("sliding_window_size", "global_attn_every_n", "model_dtype", "hidden_act", "scaling_factor"),
            *("rope_type", "original_max_position_embeddings", "beta_fast", "beta_slow", "extrapolation_factor"),
            *("attn_factor", "intermediate_size"),
        ),
    ),
}
