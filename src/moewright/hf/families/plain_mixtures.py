"""Mixtures with plain attention that only their vendors' files build: XVERSE-MoE, SmallThinker, Klear, MiniCPM-MoE and
GroveMoE.

Sources: modeling_xverse.py of XVERSE-MoE-A4.2B, modeling_smallthinker.py of PowerInfer (arXiv 2507.20984), mlx-lm's
Klear.py, modeling_minicpm.py of MiniCPM-MoE-8x2B, and for GroveMoE (arXiv 2508.07785) llama.cpp's conversion and graph.
"""

from moewright.architecture.feed_forwards import Router, SharedExpert
from moewright.architecture.mixers import Window
from moewright.architecture.own_weights import OwnWeight
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    attention,
    build,
    choose_feed_forwards,
    dense,
    experts,
    shared_of_routed_size,
    sparse_step_layers,
    stack,
)
from moewright.quantities import format_count


def _read_xverse(c: Config) -> Architecture:
    shared = shared_of_routed_size(c, "num_shared_experts", "intermediate_size") if c.has("num_experts") else None
    return _llamas_blocks(c, bias=False, is_mixture=c.has("num_experts"), top_k="moe_top_k", shared=shared)


def _read_minicpm(c: Config) -> Architecture:
    bias, is_mixture = c.flag("attention_bias"), c.count("num_experts") > 0
    return _llamas_blocks(c, bias=bias, is_mixture=is_mixture, top_k="num_experts_per_tok")


def _llamas_blocks(
    c: Config, *, bias: bool, is_mixture: bool, top_k: str, shared: SharedExpert | None = None
) -> Architecture:
    """Llama's layers, with experts as wide as its feed-forward in the place of each, or without any."""
    n = c.num_layers()
    mixer = attention(c, qkv_bias=bias, output_bias=bias, rope=c.rope())
    if not is_mixture:
        return build(c, stack(c, [mixer] * n, [dense(c)] * n))
    router = Router(normalize=True)
    moe = experts(c, count="num_experts", top_k=top_k, size="intermediate_size", router=router, shared=shared)
    return build(c, stack(c, [mixer] * n, [moe] * n))


def _read_smallthinker(c: Config) -> Architecture:
    n = c.num_layers()
    turns, slides = (c.integers(key) or [default] * n for key, default in (("rope_layout", 1), (_SLIDES, 0)))
    for key, entries in (("rope_layout", turns), (_SLIDES, slides)):
        if len(entries) != n or set(entries) - {0, 1}:
            raise c.error(key, f"expected {n} times 0 or 1", entries)
    rope, window = c.rope(1e6), Window(size=c.size("sliding_window_size")) if any(slides) else None
    kinds = {
        (turn, slide): attention(
            c, qkv_bias=False, output_bias=False, rope=rope if turn else None, window=window if slide else None
        )
        for turn, slide in set(zip(turns, slides, strict=True))
    }
    softmax = c.flag("moe_primary_router_apply_softmax")
    moe = experts(
        c,
        count="moe_num_primary_experts",
        top_k="moe_num_active_primary_experts",
        size="moe_ffn_hidden_size",
        router=Router(score="softmax" if softmax else "sigmoid", score_after_top_k=softmax, normalize=True),
        activation="relu",
    )
    return build(c, stack(c, [kinds[kind] for kind in zip(turns, slides, strict=True)], [moe] * n))


_SLIDES = "sliding_window_layout"


def _read_klear(c: Config) -> Architecture:
    n, bias, width = c.num_layers(), c.flag("attention_bias"), c.size("hidden_size")
    mixer = attention(c, qkv_bias=bias, output_bias=bias, qk_norm="per_head", rope=c.rope())
    moe = experts(
        c,
        count="num_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=Router(score="sigmoid", normalize=c.flag("norm_topk_prob"), selection_bias="buffer"),
        shared=SharedExpert(count=c.size("n_shared_experts"), expert_size=c.size("moe_intermediate_size")),
    )
    # Shared and routed outputs are weighed by a softmax of two scores of the token.
    scores = (
        OwnWeight(name="coefficient", component="router", outputs=2, inputs=width, use="matmul"),
        OwnWeight(name="coefficient.bias", component="router", outputs=2),
    )
    sparse = sparse_step_layers(c, n)
    layers = stack(c, [mixer] * n, choose_feed_forwards(c, sparse, moe))
    return build(c, _with_own(layers, sparse, scores))


def _with_own(layers: list[Layer], chosen: list[bool], own: tuple[OwnWeight, ...]) -> list[Layer]:
    made = {id(layer): layer.model_copy(update={"own_weights": own}) for layer in layers}
    return [made[id(layer)] if is_chosen else layer for layer, is_chosen in zip(layers, chosen, strict=True)]


_SIZE_OF_GROUPS = 2
"""Experts that share an adjugate expert: no key, the module has the number."""


def _read_grove(c: Config) -> Architecture:
    n, bias, width = c.num_layers(), c.flag("attention_bias"), c.size("hidden_size")
    mixer = attention(c, qkv_bias=bias, output_bias=bias, qk_norm="per_head", rope=c.rope())
    moe = experts(
        c,
        count="num_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=Router(normalize=c.flag("norm_topk_prob")),
    )
    groups, chosen = moe.num_experts // _SIZE_OF_GROUPS, moe.top_k
    if moe.num_experts % _SIZE_OF_GROUPS:
        raise c.error("num_experts", f"expected a multiple of {_SIZE_OF_GROUPS}", moe.num_experts)
    adjugates = tuple(
        OwnWeight(
            name=f"adjugate_experts.{name}",
            component="routed_experts",
            outputs=outputs,
            inputs=inputs,
            copies=groups,
            active=min(groups, chosen),
            use="matmul",
        )
        for name, outputs, inputs in (
            ("gate_proj", mixer.head_dim, width),
            ("up_proj", mixer.head_dim, width),
            ("down_proj", width, mixer.head_dim),
        )
    )
    sparse = sparse_step_layers(c, n)
    least, most = -(-chosen // _SIZE_OF_GROUPS), min(groups, chosen)
    fewer = (most - least) * 3 * mixer.head_dim * width * sum(sparse)
    c.warn(
        f"an adjugate expert is shared by {_SIZE_OF_GROUPS} experts, so a token uses between {least} and {most} of "
        f"{groups}; active parameters are for the most, and up to {format_count(fewer)} fewer"
    )
    layers = stack(c, [mixer] * n, choose_feed_forwards(c, sparse, moe))
    return build(c, _with_own(layers, sparse, adjugates))


_QWEN_LIKE = {
    **COMMON_DEFAULTS,
    "mlp_only_layers": [],
    "decoder_sparse_step": 1,
    "norm_topk_prob": True,
}
FAMILIES = {
    "xverse": Family(
        model_type="xverse",
        class_name="XverseForCausalLM",
        read=_read_xverse,
        defaults={
            **COMMON_DEFAULTS,
            "num_key_value_heads": None,
            "num_experts": None,
            "num_shared_experts": 0,
        },
        aliases={"max_tokenizer_truncation": "max_position_embeddings", "num_experts_per_tok": "moe_top_k"},
    ),
    "minicpm": Family(
        model_type="minicpm",
        class_name="MiniCPMForCausalLM",
        read=_read_minicpm,
        defaults={**COMMON_DEFAULTS, "num_key_value_heads": None, "tie_word_embeddings": True, "num_experts": 0},
        neutral=(
            "scale_emb",
            "dim_model_base",
            "scale_depth",
            "num_experts_per_tok",
            "sparse_config",
            "mup_denominator",
        ),
    ),
    "smallthinker": Family(
        model_type="smallthinker",
        class_name="SmallThinkerForCausalLM",
        read=_read_smallthinker,
        defaults={
            **COMMON_DEFAULTS,
            "head_dim": 128,
            "tie_word_embeddings": True,
            "rope_layout": None,
            "sliding_window_layout": None,
            "moe_primary_router_apply_softmax": False,
        },
        neutral=(
            *("model_name", "norm_topk_prob", "sliding_window", "sliding_window_pattern", "sliding_window_size"),
            *("hidden_act", "moe_layer_layout", "max_length"),
        ),
    ),
    "Klear": Family(
        model_type="Klear",
        class_name="KlearMoeForCausalLM",
        read=_read_klear,
        defaults=_QWEN_LIKE,
        aliases={"num_shared_experts": "n_shared_experts", "num_local_experts": "num_experts"},
        neutral=("intermediate_size", "use_sliding_window", "sliding_window", "max_window_layers"),
    ),
    "grove_moe": Family(
        model_type="grove_moe",
        class_name="GroveMoeForCausalLM",
        read=_read_grove,
        defaults={**_QWEN_LIKE, "head_dim": 128},
        aliases={"num_local_experts": "num_experts"},
        neutral=("intermediate_size", "use_sliding_window", "sliding_window", "max_window_layers"),
        active_counts_embedding=False,  # "3.14-3.28B": 3.19 to 3.34 are the nearest
    ),
}
