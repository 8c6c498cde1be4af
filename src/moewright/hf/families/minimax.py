"""MiniMax-Text-01 (arXiv 2501.08313), a hybrid of lightning and softmax attention, MiniMax-M2, and MiniMax-M3, whose
attention reads chosen blocks."""

from typing import Any

from moewright.architecture.feed_forwards import Router, SharedExpert
from moewright.architecture.mixers import BlockIndexer, LightningAttention, Window
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    attention,
    build,
    choose_feed_forwards,
    experts,
    stack,
    without,
)


def _read_minimax(c: Config) -> Architecture:
    n = c.num_layers()
    types = c.per_layer("layer_types", n, "full_attention", "linear_attention")
    if types is None:  # transformers' rule; MiniMax's own configs state attn_type_list
        stated = c.integers("attn_type_list")
        if stated and len(stated) != n:
            raise c.error("attn_type_list", f"has {len(stated)} entries for {n} layers")
        full = [kind == 1 for kind in stated] if stated else [index % 2 == 0 for index in range(n)]
    else:
        full = [kind == "full_attention" for kind in types]
    size = c.optional_size("sliding_window")
    c.fixed("shared_intermediate_size", 0, None)
    c.fixed("postnorm", True)
    fraction = c.size("rotary_dim") / c.head_dim() if c.has("rotary_dim") else 1.0
    softmax = attention(
        c, qkv_bias=False, output_bias=False, window=Window(size=size) if size else None, rope=c.rope(1e6, fraction)
    )
    lightning = LightningAttention(num_heads=c.size("num_attention_heads"), head_dim=c.head_dim())
    moe = experts(
        c,
        count="num_local_experts",
        top_k="num_experts_per_tok",
        size="intermediate_size",
        router=Router(normalize=True),
    )
    return build(c, stack(c, [softmax if f else lightning for f in full], [moe] * n))


_M2_FIXED = {
    "scoring_func": "sigmoid",
    "use_qk_norm": True,
    "qk_norm_type": "per_layer",
    "use_routing_bias": True,
    "mtp_transformer_layers": 1,
    "shared_intermediate_size": 0,
}


def _read_m2(c: Config) -> Architecture:
    n = c.num_layers()
    fraction = 1.0
    if c.has("rotary_dim"):
        fraction = c.size("rotary_dim") / c.head_dim()
    mixer = attention(c, qkv_bias=False, output_bias=False, qk_norm="full", rope=c.rope(5e6, fraction))
    # MiniMax's own file states these as well.
    for key, meaning in _M2_FIXED.items():
        c.fixed(key, meaning)
    c.fixed("sliding_window", None)
    moe = experts(
        c,
        count="num_local_experts",
        top_k="num_experts_per_tok",
        size="intermediate_size",
        router=Router(score="sigmoid", normalize=True, selection_bias="buffer"),
    )
    return build(c, stack(c, [mixer] * n, [moe] * n), mtp_layers=c.count("num_mtp_modules"))


_M3_FIXED = {
    "scoring_func": "sigmoid",
    "use_qk_norm": True,
    "qk_norm_type": "per_head",
    "use_routing_bias": True,
    "attention_output_gate": False,
    "n_shared_experts": 1,
}
_M3_INDEXER = {
    "num_heads": ("index_n_heads", "sparse_num_index_heads"),
    "head_dim": ("index_head_dim", "sparse_index_dim"),
    "block_size": ("index_block_size", "sparse_block_size"),
    "top_blocks": ("index_topk_blocks", "sparse_topk_blocks"),
}
"""Sizes of the indexer: transformers' key, and MiniMax's own in sparse_attention_config."""


def _m3_indexer(c: Config, stated: dict[str, Any]) -> BlockIndexer:
    sizes: dict[str, Any] = {}
    for name, (key, publishers) in _M3_INDEXER.items():
        place = f"sparse_attention_config.{publishers}"
        sizes[name] = c.size_at(place, stated[publishers]) if publishers in stated else c.size(key)
    return BlockIndexer(**sizes)


def _m3_layers(c: Config, key: str, stated: object, words: tuple[str, str], n: int) -> list[bool] | None:
    """transformers' word for every layer, or MiniMax's 0 or 1; True for the second word and for 1."""
    types = c.per_layer(key, n, *words)
    if types is not None:
        return [kind == words[1] for kind in types]
    if stated is None:
        return None
    if not isinstance(stated, list) or len(stated) != n or any(value not in (0, 1) for value in stated):
        raise c.error(key, f"expected 0 or 1 for each of the {n} layers", stated)
    return [value == 1 for value in stated]


def _read_m3(c: Config) -> Architecture:
    n = c.num_layers()
    for key, meaning in _M3_FIXED.items():
        c.fixed(key, meaning, None)
    c.fixed("hidden_act", "silu", "swigluoai")  # the same three matrices, clipped otherwise
    fraction = c.size("rotary_dim") / c.head_dim() if c.has("rotary_dim") else 1.0
    full = attention(c, qkv_bias=False, output_bias=False, qk_norm="per_head", rope=c.rope(5e6, fraction))
    own = c.mapping("sparse_attention_config") or {}
    chosen = (
        _m3_layers(c, "layer_types", own.get("sparse_attention_freq"), ("full_attention", "minimax_m3_sparse"), n)
        or [False] * n
    )
    sparse = full.model_copy(update={"indexer": _m3_indexer(c, own)}) if any(chosen) else full
    moe = experts(
        c,
        count="num_local_experts",
        top_k="num_experts_per_tok",
        size="intermediate_size",
        router=Router(
            score="sigmoid", normalize=True, scale=c.number("routed_scaling_factor"), selection_bias="buffer"
        ),
        shared=SharedExpert(expert_size=c.size("shared_intermediate_size")),
        activation="silu",
    )
    with_experts = _m3_layers(c, "mlp_layer_types", c.raw("moe_layer_freq"), ("dense", "sparse"), n) or [True] * n
    feed_forwards = choose_feed_forwards(c, with_experts, moe, size="dense_intermediate_size", activation="silu")
    mixers = [sparse if choose else full for choose in chosen]
    return build(c, stack(c, mixers, feed_forwards), mtp_layers=c.count("num_nextn_predict_layers"))


_M3 = Family(
    model_type="minimax_m3_vl_text",
    class_name="MiniMaxM3VLForCausalLM",
    read=_read_m3,
    defaults={
        **without(COMMON_DEFAULTS, "hidden_act"),
        "head_dim": 128,
        "rotary_dim": 64,
        "layer_types": None,
        "mlp_layer_types": None,
        "moe_layer_freq": None,
        "sparse_attention_config": None,
        "index_n_heads": 4,
        "index_head_dim": 128,
        "index_block_size": 128,
        "index_topk_blocks": 16,
        "routed_scaling_factor": 2.0,
        "dense_intermediate_size": 12288,
        "shared_intermediate_size": 3072,
        "num_nextn_predict_layers": 0,
    },
    aliases={"num_experts": "num_local_experts"},
    # Clipping, an offset of the norms' weights, and MiniMax's second words for what other keys say.
    neutral=(
        "swiglu_alpha",
        "swiglu_limit",
        "index_local_blocks",
        "use_gemma_norm",
        "moe_intermediate_size",
        "first_k_dense_replace",
        "num_mtp_modules",
    ),
)


FAMILIES = {
    "minimax_m3": _M3,  # as MiniMax's own file calls it
    "minimax_m3_vl_text": _M3,
    "minimax": Family(
        model_type="minimax",
        class_name="MiniMaxForCausalLM",
        read=_read_minimax,
        defaults={
            **COMMON_DEFAULTS,
            "rms_norm_eps": 1e-5,
            "sliding_window": None,
            "layer_types": None,
            "attn_type_list": None,
        },
        aliases={"num_experts": "num_local_experts"},
        neutral=(
            "block_size",
            "full_attn_alpha_factor",
            "full_attn_beta_factor",
            "linear_attn_alpha_factor",
            "linear_attn_beta_factor",
            "mlp_alpha_factor",
            "mlp_beta_factor",
            # the same in MiniMax's own files
            *(
                f"layernorm_{part}_{side}"
                for part in ("full_attention", "linear_attention", "mlp")
                for side in ("alpha", "beta")
            ),
            "shared_moe_mode",
        ),
    ),
    "minimax_m2": Family(
        model_type="minimax_m2",
        class_name="MiniMaxM2ForCausalLM",
        read=_read_m2,
        defaults={**without(COMMON_DEFAULTS, "head_dim"), "rotary_dim": None, "num_mtp_modules": 0},
        aliases={"num_experts": "num_local_experts"},
        # What MiniMax's own file states beside transformers' keys; transformers builds the same module without them.
        neutral=(
            "attn_type_list",
            "use_mtp",
        ),
    ),
}
