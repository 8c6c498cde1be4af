"""Qwen's mixtures: Qwen1.5/2-MoE, Qwen3-MoE (arXiv 2505.09388), and the hybrids Qwen3-Next and Qwen3.5; JetBrains'
Mellum, LARA mini and RecursiveSI's Flint, which are made of the same parts."""

from typing import Any

from moewright.architecture.feed_forwards import MoE, Router, SharedExpert
from moewright.architecture.mixers import Attention, GatedDeltaNet, Mixer, Window
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    attention,
    block_kind,
    build,
    choose_feed_forwards,
    common_keys,
    dense,
    dense_layer_indices,
    experts,
    first_dense,
    first_mixer,
    first_moe,
    no_experts,
    prediction,
    sparse_step_layers,
    stack,
    windowed,
    without,
)


def qwen_experts(c: Config, *, normalize: bool, shared: bool) -> MoE:
    """Softmax routing, and a shared expert times a sigmoid."""
    gated = SharedExpert(expert_size=c.size("shared_expert_intermediate_size"), combine="gated") if shared else None
    return experts(
        c,
        count="num_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=Router(normalize=normalize),
        shared=gated,
    )


def _read_qwen2(c: Config) -> Architecture:
    n = c.num_layers()
    window = Window(size=c.size("sliding_window")) if c.flag("use_sliding_window") else None
    types = c.per_layer("layer_types", n, "full_attention", "sliding_attention")
    if types is None:
        below = c.count("max_window_layers")
        slides = [window is not None and index % 2 == 0 and index < below for index in range(n)]
    else:
        slides = [kind == "sliding_attention" for kind in types]
    if any(slides) and window is None:
        raise c.error("layer_types", "has sliding_attention layers while use_sliding_window is false")
    bias, rope = c.flag("qkv_bias"), c.rope()
    full = attention(c, qkv_bias=bias, output_bias=False, rope=rope)
    sliding = attention(c, qkv_bias=bias, output_bias=False, rope=rope, window=window)
    moe = qwen_experts(c, normalize=c.flag("norm_topk_prob"), shared=True)
    sparse = sparse_step_layers(c, n)
    feed_forward = choose_feed_forwards(c, sparse, moe)
    return build(c, stack(c, [sliding if s else full for s in slides], feed_forward))


def _sparse_keys(a: Architecture) -> dict[str, Any]:
    """The keys by which Qwen says which layers have experts, and how large those are."""
    moe, plain = first_moe(a) or no_experts(), first_dense(a)
    group = moe.groups[0]
    return {
        "decoder_sparse_step": 1,
        "mlp_only_layers": dense_layer_indices(a),
        "num_experts": group.count,
        "num_experts_per_tok": group.top_k,
        "moe_intermediate_size": group.expert_size,
        "norm_topk_prob": moe.router.normalize,
        # transformers wants a dense width even where no layer uses it
        "intermediate_size": plain.size if plain else group.top_k * group.expert_size,
    }


def _write_qwen2(a: Architecture) -> dict[str, Any]:
    mixer, moe = first_mixer(a, Attention), first_moe(a)
    values = common_keys(a, mixer) | _sparse_keys(a)
    if mixer:
        values |= {"num_key_value_heads": mixer.num_kv_heads, "qkv_bias": mixer.qkv_bias, "head_dim": mixer.head_dim}
        window = next(
            (m.window for layer in a.iter_layers() if isinstance(m := layer.mixer, Attention) and m.window), None
        )
        values |= {"use_sliding_window": window is not None, "max_window_layers": a.num_layers}
        if window:
            values["sliding_window"] = window.size
            values["layer_types"] = [
                "sliding_attention" if getattr(layer.mixer, "window", None) else "full_attention"
                for layer in a.iter_layers()
            ]
    if moe and moe.shared:
        values["shared_expert_intermediate_size"] = moe.shared.count * moe.shared.expert_size
    elif not moe:
        values["shared_expert_intermediate_size"] = 1
    return values


def _read_qwen3(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    # Stated by publishers' files, and fixed in the module.
    c.fixed("use_qk_norm", True)
    c.fixed("qkv_bias", bias)
    c.fixed("shared_expert_intermediate_size", 0, None)
    window = Window(size=c.size("sliding_window")) if c.flag("use_sliding_window") else None
    mixer = attention(c, qkv_bias=bias, output_bias=bias, qk_norm="per_head", window=window, rope=c.rope())
    moe = qwen_experts(c, normalize=c.flag("norm_topk_prob"), shared=False)
    sparse = sparse_step_layers(c, n)
    feed_forward = choose_feed_forwards(c, sparse, moe)
    return build(c, stack(c, [mixer] * n, feed_forward))


def _read_lara(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    types = c.per_layer("layer_types", n, "full_attention", "sliding_attention", "linear_attention")
    pattern = ("linear_attention", "sliding_attention", "linear_attention", "full_attention", "sliding_attention")
    types = types or [pattern[index % len(pattern)] for index in range(n)]
    full = attention(c, qkv_bias=bias, output_bias=bias, qk_norm="per_head", rope=None)
    window = Window(size=c.size("sliding_window"))
    kinds: dict[str, Mixer] = {
        "full_attention": full,
        "sliding_attention": full.model_copy(update={"rope": c.rope(), "window": window}),
        "linear_attention": delta_net(c),
    }
    moe = experts(
        c,
        count="num_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=Router(normalize=c.flag("norm_topk_prob")),
        shared=SharedExpert(expert_size=c.size("shared_expert_intermediate_size")),
    )
    return build(c, stack(c, [kinds[kind] for kind in types], [moe] * n))


def _read_mellum(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    types = c.per_layer("layer_types", n, "full_attention", "sliding_attention") or ["full_attention"] * n
    kinds = c.per_layer("mlp_layer_types", n, "dense", "sparse") or ["sparse"] * n
    full = attention(
        c, qkv_bias=bias, output_bias=bias, qk_norm="per_head", rope=c.rope(500_000.0, layer_type="full_attention")
    )
    mixers = windowed(c, types, full, c.rope(layer_type="sliding_attention"))
    moe = qwen_experts(c, normalize=c.flag("norm_topk_prob"), shared=False)
    layers = stack(c, mixers, choose_feed_forwards(c, [kind == "sparse" for kind in kinds], moe))
    block: dict[str, Any] = {}
    if blocks := c.count("num_nextn_predict_layers"):
        looks = block_kind(c, "mtp_layer_types", blocks, "sliding_attention", "full_attention", "sliding_attention")
        kind = block_kind(c, "mtp_mlp_layer_types", blocks, "sparse", "dense", "sparse")
        (mixer,) = windowed(c, [looks], full, c.rope(layer_type="sliding_attention"))
        layer = Layer(mixer=mixer, feed_forward=moe if kind == "sparse" else dense(c))
        block = prediction(c, "num_nextn_predict_layers", layer)
    return build(c, layers, **block)


def _read_flint(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    types = c.per_layer("layer_types", n, "full_attention", "sliding_attention")
    if types is None:
        looks = [index < 2 or index % 4 == 1 or index == n - 1 for index in range(n)]
        types = ["full_attention" if look else "sliding_attention" for look in looks]
    full = attention(c, qkv_bias=bias, output_bias=bias, qk_norm="per_head", sinks=True, rope=None)
    moe = experts(
        c,
        count="num_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=Router(score="sigmoid", normalize=c.flag("norm_topk_prob")),
        shared=SharedExpert(expert_size=c.size("shared_expert_intermediate_size")),
    )
    return build(
        c, stack(c, windowed(c, types, full, c.rope()), choose_feed_forwards(c, sparse_step_layers(c, n), moe))
    )


def _write_qwen3(a: Architecture) -> dict[str, Any]:
    mixer = first_mixer(a, Attention)
    values = common_keys(a, mixer) | _sparse_keys(a)
    if mixer:
        values |= {
            "num_key_value_heads": mixer.num_kv_heads,
            "head_dim": mixer.head_dim,
            "attention_bias": mixer.qkv_bias,
            "use_sliding_window": mixer.window is not None,
            "sliding_window": mixer.window.size if mixer.window else None,
        }
    return values


def gated_attention(c: Config) -> Attention:
    """Of every so many layers, and of the prediction blocks."""
    bias = c.flag("attention_bias")
    return attention(
        c,
        qkv_bias=bias,
        output_bias=bias,
        qk_norm="per_head",
        output_gate="per_channel",
        output_gate_bias=bias,  # the gate comes out of the query projection
        rope=c.rope(fraction=0.25),
    )


def _hybrid_mixers(c: Config, n: int) -> list[Mixer]:
    types = c.per_layer("layer_types", n, "full_attention", "linear_attention")
    if types is None:
        every = c.size("full_attention_interval")
        types = ["full_attention" if (index + 1) % every == 0 else "linear_attention" for index in range(n)]
    full = gated_attention(c)
    linear = delta_net(c)
    return [full if kind == "full_attention" else linear for kind in types]


def delta_net(c: Config) -> GatedDeltaNet:
    """By the keys of Qwen3-Next."""
    return GatedDeltaNet(
        num_key_heads=c.size("linear_num_key_heads"),
        key_head_dim=c.size("linear_key_head_dim"),
        num_value_heads=c.size("linear_num_value_heads"),
        value_head_dim=c.size("linear_value_head_dim"),
        conv_kernel=c.size("linear_conv_kernel_dim"),
    )


def _read_next(c: Config) -> Architecture:
    n = c.num_layers()
    moe = qwen_experts(c, normalize=c.flag("norm_topk_prob"), shared=True)
    sparse = sparse_step_layers(c, n)
    feed_forward = choose_feed_forwards(c, sparse, moe)
    block = Layer(mixer=gated_attention(c), feed_forward=moe)
    layers = stack(c, _hybrid_mixers(c, n), feed_forward)
    return build(c, layers, **prediction(c, "num_nextn_predict_layers", block))


def _read_3_5(c: Config) -> Architecture:
    n = c.num_layers()
    c.fixed("mlp_only_layers", [], None)
    moe = qwen_experts(c, normalize=True, shared=True)
    block = Layer(mixer=gated_attention(c), feed_forward=moe)
    return build(c, stack(c, _hybrid_mixers(c, n), [moe] * n), **prediction(c, "mtp_num_hidden_layers", block))


def _read_3_5_dense(c: Config) -> Architecture:
    n = c.num_layers()
    c.fixed("mlp_only_layers", [], None)
    feed_forward = dense(c)
    layers = stack(c, _hybrid_mixers(c, n), [feed_forward] * n)
    block = Layer(mixer=gated_attention(c), feed_forward=feed_forward)
    return build(c, layers, **prediction(c, "mtp_num_hidden_layers", block))


_STEPS = {"decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": False}
_HYBRID = {**without(COMMON_DEFAULTS, "head_dim"), "layer_types": None, "full_attention_interval": 4}

_QWEN3 = Family(
    model_type="qwen3_moe",
    class_name="Qwen3MoeForCausalLM",
    read=_read_qwen3,
    write=_write_qwen3,
    defaults={**COMMON_DEFAULTS, **_STEPS, "use_sliding_window": False},
    aliases={"num_local_experts": "num_experts"},
    neutral=("sliding_window", "max_window_layers", "intermediate_size", "layer_types"),
)

FAMILIES = {
    "qwen2_moe": Family(
        model_type="qwen2_moe",
        class_name="Qwen2MoeForCausalLM",
        read=_read_qwen2,
        write=_write_qwen2,
        defaults={
            **COMMON_DEFAULTS,
            **_STEPS,
            "qkv_bias": True,
            "use_sliding_window": False,
            "max_window_layers": 28,
            "layer_types": None,
        },
        aliases={"num_local_experts": "num_experts"},
        neutral=("sliding_window", "intermediate_size"),
    ),
    "qwen3_moe": _QWEN3,
    "qwen3_vl_moe_text": _QWEN3,  # the language model of Qwen3-VL
    "qwen3_omni_moe_text": Family(
        model_type="qwen3_omni_moe_text",
        class_name="Qwen3OmniMoeThinkerForConditionalGeneration",
        read=_read_qwen3,
        defaults={**_QWEN3.defaults, "norm_topk_prob": True},
        aliases=_QWEN3.aliases,
        neutral=_QWEN3.neutral,
    ),
    "lara_mini": Family(
        model_type="lara_mini",
        class_name="LaraMiniForCausalLM",
        read=_read_lara,
        defaults={
            **COMMON_DEFAULTS,
            "head_dim": 128,
            "tie_word_embeddings": True,
            "layer_types": None,
            "sliding_window": 512,
            "norm_topk_prob": True,
        },
    ),
    "mellum": Family(
        model_type="mellum",
        class_name="MellumForCausalLM",
        read=_read_mellum,
        defaults={
            **without(COMMON_DEFAULTS, "rope_theta", "rope_scaling"),
            "head_dim": 128,
            "norm_topk_prob": True,
            "layer_types": None,
            "mlp_layer_types": None,
            "num_nextn_predict_layers": 0,
            "mtp_layer_types": None,
            "mtp_mlp_layer_types": None,
        },
        aliases={"num_local_experts": "num_experts", "num_mtp_layers": "num_nextn_predict_layers"},
        neutral=("intermediate_size", "sliding_window"),
    ),
    "flint": Family(
        model_type="flint",
        class_name="FlintForCausalLM",
        read=_read_flint,
        defaults={
            **COMMON_DEFAULTS,
            **_STEPS,
            "head_dim": 128,
            "mlp_only_layers": [0, 1],
            "norm_topk_prob": True,
            "layer_types": None,
            "sliding_window": 513,
        },
        aliases={"num_local_experts": "num_experts"},
        neutral=("intermediate_size",),
    ),
    "qwen3_next": Family(
        model_type="qwen3_next",
        class_name="Qwen3NextForCausalLM",
        read=_read_next,
        defaults={**_HYBRID, **_STEPS, "norm_topk_prob": True, "num_nextn_predict_layers": 0},
        aliases={"num_local_experts": "num_experts"},
        neutral=("intermediate_size", "use_sliding_window"),
    ),
    "qwen3_5_moe_text": Family(
        model_type="qwen3_5_moe_text",
        class_name="Qwen3_5MoeForCausalLM",
        read=_read_3_5,
        defaults={**_HYBRID, "mtp_num_hidden_layers": 0},
        aliases={"num_local_experts": "num_experts"},
        neutral=(
            "intermediate_size",
            "mamba_ssm_dtype",
            "attn_output_gate",
            "mtp_use_dedicated_embeddings",
            "output_gate_type",
        ),
    ),
    "qwen3_5_text": Family(
        model_type="qwen3_5_text",
        class_name="Qwen3_5ForCausalLM",
        read=_read_3_5_dense,
        defaults={**_HYBRID, "mtp_num_hidden_layers": 0},
        neutral=("mamba_ssm_dtype", "attn_output_gate", "mtp_use_dedicated_embeddings", "output_gate_type"),
    ),
}
