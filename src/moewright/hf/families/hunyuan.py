"""Hunyuan-Large (Tencent, 2024), Hunyuan-A13B (2025), Hy3 and Hy4 (2026)."""

from typing import Any

from moewright.architecture.feed_forwards import Router, SharedExpert
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    attention,
    build,
    choose_feed_forwards,
    deepseek_experts,
    dense_first_layers,
    experts,
    indexer,
    latent_attention,
    shared_of_routed_size,
    stack,
)


def _read(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    # Hunyuan-Large (arXiv 2411.02265, section 2.2.1): of every so many layers the first has keys and values for all.
    every = c.size("cla_share_factor") if c.flag("use_cla") else 1
    own = attention(c, qkv_bias=bias, output_bias=bias, qk_norm="per_head", rope=c.rope())
    reused = own.model_copy(update={"key_values": "earlier_layer"})
    moe = experts(
        c,
        count="num_experts",
        top_k=_one_value(c, "moe_topk", n),
        size="intermediate_size",
        router=Router(normalize=True),
        shared=SharedExpert(expert_size=c.size("intermediate_size")),
    )
    # Tencent's files state features that the published model does not use, and sizes once a layer.
    for key in ("use_mla", "mlp_bias"):
        c.fixed(key, False)
    for key in ("use_qk_norm", "use_mixed_mlp_moe"):
        c.fixed(key, True)
    c.fixed("moe_layer_num_skipped", 0)
    for key in ("moe_intermediate_size", "num_shared_expert"):
        value = c.raw(key)
        expected = c.size("intermediate_size") if key == "moe_intermediate_size" else 1
        if value is not None and (set(value) if isinstance(value, list) else {value}) != {expected}:
            raise c.error(key, f"only {expected} in every layer is understood", value)
    return build(c, stack(c, [own if index % every == 0 else reused for index in range(n)], [moe] * n))


def _read_v3(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    kinds = c.per_layer("mlp_layer_types", n, "dense", "sparse")
    mixer = attention(c, qkv_bias=bias, output_bias=bias, qk_norm="per_head", rope=c.rope(11_158_840.0))
    plain_bias = c.flag("mlp_bias")
    shared = shared_of_routed_size(c, "num_shared_experts", "moe_intermediate_size", bias=plain_bias)
    moe = experts(
        c,
        count="num_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=Router(
            score="sigmoid", normalize=True, scale=c.number("router_scaling_factor"), selection_bias="buffer"
        ),
        shared=shared,
    )
    sparse = dense_first_layers(c, n) if kinds is None else [kind == "sparse" for kind in kinds]
    layers = stack(c, [mixer] * n, choose_feed_forwards(c, sparse, moe, bias=plain_bias))
    return build(c, layers, mtp_layers=c.count("num_nextn_predict_layers"))


def _read_v4(c: Config) -> Architecture:
    n, rope = c.num_layers(), c.rope(11_158_840.0)
    c.per_layer("layer_types", n, "indexed_attention", "deepseek_sparse_attention")
    types = c.per_layer("indexer_types", n, "full", "shared")
    if types is None:
        types = ["full" if index == 0 or (index - 1) % 4 == 0 else "shared" for index in range(n)]
    extra: dict[str, Any] = {"output_gate": "per_channel", "sinks": True}
    by_type = {
        kind: latent_attention(c, rope=rope, indexer=indexer(c, shared=kind == "shared"), **extra)
        for kind in set(types)
    }
    moe = deepseek_experts(c)
    kinds = c.per_layer("mlp_layer_types", n, "dense", "sparse") or ["dense"] + ["sparse"] * (n - 1)
    layers = stack(
        c, [by_type[kind] for kind in types], choose_feed_forwards(c, [kind == "sparse" for kind in kinds], moe)
    )
    return build(c, layers, hyper_connections=c.size("hc_mult"), mixes_streams=False)


def _one_value(c: Config, key: str, n: int) -> str:
    """The key, once a value per layer has been found to be the same everywhere."""
    value = c.raw(key)
    if isinstance(value, list):
        if len(value) != n or len(set(map(str, value))) != 1:
            raise c.error(key, "only one value for all layers is understood", value)
        c.replace(key, value[0])
    return key


_HY4 = Family(
    model_type="hy_v4",
    class_name="HYV4ForCausalLM",
    read=_read_v4,
    defaults={
        **COMMON_DEFAULTS,
        "rms_norm_eps": 1e-5,
        "layer_types": None,
        "indexer_types": None,
        "mlp_layer_types": None,
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "routed_scaling_factor": 2.827,
        "n_group": 1,
        "topk_group": 1,
        "hc_mult": 4,
    },
    aliases={"num_local_experts": "n_routed_experts"},
    neutral=(
        "num_key_value_heads",
        "head_dim",
        "qk_head_dim",
        "intermediate_size",
        "hc_magnitude",
        "hc_eps",
        "learnable_sink_init",
        "swiglu_limit",
    ),
)

FAMILIES = {
    "hunyuan_v1_moe": Family(
        model_type="hunyuan_v1_moe",
        class_name="HunYuanMoEV1ForCausalLM",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "num_key_value_heads": None,
            "rms_norm_eps": 1e-5,
            "moe_intermediate_size": None,
            "num_shared_expert": None,
            "use_cla": False,
        },
        aliases={
            "num_local_experts": "num_experts",
            "num_experts_per_tok": "moe_topk",
            "attention_head_dim": "head_dim",
        },
        neutral=tuple(
            # Attention that is switched off, a vision tower, and training settings.
            """
            kv_lora_rank q_lora_rank qk_rope_head_dim qk_nope_head_dim v_head_dim cla_share_factor
            num_media_embeds mask_init_id vit_type anyres_pooling_size anyres_vit_max_image_size anyres_vit_two_views
            skip_cls_token pool_type position_embedding_xdrope text_start_id text_end_id im_start_id im_end_id
            im_newline_id image_token_id video_start_id video_end_id eod_token_id pad_id org_vocab_size
            vit_add_patchemb_bias vit_input_resolution vit_mapping_type vit_norm_type vit_patch vit_path
            vit_remove_prenorm vit_token vit_used_rms_norm xdrope_section
            add_classification_head class_num dense_list norm_type use_rotary_pos_emb enable_moe_fp32_combine
            moe_drop_tokens moe_random_routing_dropped_token group_limited_greedy n_group topk_group norm_topk_prob
            routed_scaling_factor capacity_factor
            """.split()  # noqa: SIM905
        ),
    ),
    "hy_v3": Family(
        model_type="hy_v3",
        class_name="HYV3ForCausalLM",
        read=_read_v3,
        defaults={
            **COMMON_DEFAULTS,
            "head_dim": 128,
            "rms_norm_eps": 1e-5,
            "mlp_bias": False,
            "mlp_layer_types": None,
            "first_k_dense_replace": 1,
            "num_shared_experts": 1,
            "router_scaling_factor": 2.826,
            "num_nextn_predict_layers": 0,
        },
        aliases={"num_local_experts": "num_experts"},
        neutral=("enable_moe_fp32_combine", "intermediate_size", "expert_hidden_dim"),
    ),
    "hy_v4": _HY4,
    "hy_v4_vl_text": _HY4,
}
