"""Huawei's Pangu mixtures: Pangu Pro (arXiv 2505.21411), whose groups of experts have one chosen each, and
openPangu-Ultra (arXiv 2505.04519), DeepSeek-V3's layers between sandwich norms.

Sources: vLLM-Ascend's pangu_moe.py, and modeling_openpangu_moe.py of openPangu-Ultra-MoE-718B.
"""

from moewright.architecture.feed_forwards import Router, SharedExpert
from moewright.architecture.spec import Architecture, Layer, NormPlaces
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    LATENT_NEUTRAL,
    attention,
    build,
    choose_feed_forwards,
    dense_first_layers,
    experts,
    latent_attention,
    prediction,
    shared_of_routed_size,
    stack,
)


def _read_pro(c: Config) -> Architecture:
    n, dense_only = c.num_layers(), set(c.integers("mlp_only_layers"))
    mixer = attention(c, qkv_bias=True, output_bias=True, rope=c.rope())
    moe = experts(
        c,
        count="num_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=Router(expert_scale=True),
        shared=SharedExpert(expert_size=c.size("shared_expert_intermediate_size")),
    )
    if moe.num_experts % moe.top_k:
        raise c.error("num_experts_per_tok", f"does not divide num_experts ({moe.num_experts})", moe.top_k)
    return build(c, stack(c, [mixer] * n, choose_feed_forwards(c, [i not in dense_only for i in range(n)], moe)))


def _read_ultra(c: Config) -> Architecture:
    n = c.num_layers()
    mixer = latent_attention(c, rope=c.rope())
    moe = experts(
        c,
        count="n_routed_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=Router(score="sigmoid", normalize=c.flag("norm_topk_prob"), scale=c.number("routed_scaling_factor")),
        shared=shared_of_routed_size(c, "n_shared_experts", "moe_intermediate_size"),
    )
    norms: NormPlaces = "sandwich" if c.flag("sandwich_norm") else "pre"
    layers = stack(c, [mixer] * n, choose_feed_forwards(c, dense_first_layers(c, n), moe), norms=norms)
    return build(c, layers, **prediction(c, "num_mtp_layers", Layer(mixer=mixer, feed_forward=moe, norms=norms)))


FAMILIES = {
    "pangu_pro_moe": Family(
        model_type="pangu_pro_moe",
        class_name="PanguProMoEForCausalLM",
        read=_read_pro,
        defaults={**COMMON_DEFAULTS, "mlp_only_layers": []},
        neutral=("intermediate_size", "norm_topk_prob", "use_sliding_window", "sliding_window", "max_window_layers"),
    ),
    "pangu_ultra_moe": Family(
        model_type="pangu_ultra_moe",
        class_name="OpenPanguMoEForCausalLM",
        read=_read_ultra,
        defaults={
            **COMMON_DEFAULTS,
            "q_lora_rank": None,
            "first_k_dense_replace": 3,
            "n_shared_experts": None,
            "norm_topk_prob": True,
            "routed_scaling_factor": 2.5,
            "sandwich_norm": False,
            "num_mtp_layers": 0,
        },
        aliases={
            "attention_q_lora_dim": "q_lora_rank",
            "attention_kv_lora_dim": "kv_lora_rank",
            "attention_qk_dim": "qk_nope_head_dim",
            "attention_qk_rope_dim": "qk_rope_head_dim",
            "attention_v_dim": "v_head_dim",
            "num_dense_layers": "first_k_dense_replace",
            "num_routed_experts": "n_routed_experts",
            "num_shared_experts": "n_shared_experts",
            "num_nextn_predict_layers": "num_mtp_layers",
        },
        neutral=(*LATENT_NEUTRAL, "moe_layer_freq", "num_attention_groups"),
    ),
}
