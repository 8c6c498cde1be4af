"""IBM Granite 3 and 4: plain mixtures, with a shared feed-forward, hybrid with Mamba-2, and with sliding windows;
Bamba, a dense hybrid."""

from typing import Any

from moewright.architecture.feed_forwards import Dense, FeedForward, Router, SharedExpert
from moewright.architecture.mixers import Attention, Mamba2, Rope, Window
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, attention, build, dense, experts, mamba2, stack


def _experts(c: Config, shared_size: int) -> FeedForward:
    return experts(
        c,
        count="num_local_experts",
        top_k="num_experts_per_tok",
        size="intermediate_size",
        router=Router(score_after_top_k=True, normalize=True),
        shared=SharedExpert(expert_size=shared_size) if shared_size else None,
    )


def _attention(c: Config, **extra: Any) -> Attention:
    bias = c.flag("attention_bias")
    return attention(c, qkv_bias=bias, output_bias=bias, **extra)


def _read_plain(c: Config) -> Architecture:
    n = c.num_layers()
    return build(c, stack(c, [_attention(c, rope=c.rope())] * n, [_experts(c, 0)] * n))


def _read_shared(c: Config) -> Architecture:
    n = c.num_layers()
    moe = _experts(c, c.count("shared_intermediate_size"))
    return build(c, stack(c, [_attention(c, rope=c.rope())] * n, [moe] * n))


def _read_swa(c: Config) -> Architecture:
    return _with_windows(c, _experts(c, c.count("shared_intermediate_size")))


def _read_dense_swa(c: Config) -> Architecture:
    return _with_windows(c, dense(c, bias=c.flag("mlp_bias")))


def _with_windows(c: Config, feed_forward: FeedForward) -> Architecture:
    n = c.num_layers()
    types = c.per_layer("layer_types", n, "full_attention", "sliding_attention")
    slides = (
        [index % 4 != 0 for index in range(n)] if types is None else [kind == "sliding_attention" for kind in types]
    )
    size = c.optional_size("sliding_window")
    rope = c.rope()
    thetas = c.layer_thetas(n, [rope.theta] * n)
    mixers = {
        (slide, theta): _attention(
            c,
            sinks=True,
            window=Window(size=size) if slide and size else None,
            rope=Rope(theta=float(theta), fraction=rope.fraction, scaling=rope.scaling) if theta else None,
        )
        for slide, theta in set(zip(slides, thetas, strict=True))
    }
    return build(c, stack(c, [mixers[key] for key in zip(slides, thetas, strict=True)], [feed_forward] * n))


def _read_hybrid(c: Config) -> Architecture:
    n = c.num_layers()
    kinds = ("attention", "mamba", "full_attention", "linear_attention")  # old and new words
    types = c.per_layer("layer_types", n, *kinds) or ["linear_attention"] * n
    state_space = _state_space(c)
    position = c.raw("position_embedding_type")
    if position not in (None, "rope", "nope"):
        raise c.error("position_embedding_type", "expected rope or nope", position)
    softmax = _attention(c, rope=c.rope() if position == "rope" else None)
    mixers = [softmax if kind in ("attention", "full_attention") else state_space for kind in types]
    shared_size = c.size("shared_intermediate_size")
    if c.count("num_local_experts"):
        feed_forward = _experts(c, shared_size)
    else:
        feed_forward = Dense(size=shared_size, activation=c.activation())
    return build(c, stack(c, mixers, [feed_forward] * n))


def _read_bamba(c: Config) -> Architecture:
    n = c.num_layers()
    looks = set(c.integers("attn_layer_indices"))
    softmax, state_space = _attention(c, rope=c.rope(fraction=0.5)), _state_space(c)
    mixers = [softmax if index in looks else state_space for index in range(n)]
    return build(c, stack(c, mixers, [dense(c, bias=c.flag("mlp_bias"))] * n))


def _state_space(c: Config) -> Mamba2:
    width = c.size("mamba_expand") * c.size("hidden_size")
    return mamba2(c, width, "mamba_expand x hidden_size", projection_bias=c.flag("mamba_proj_bias"))


_NEUTRAL = ("embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier", "init_method")
_ALIASES = {"num_experts": "num_local_experts"}
_STATE_SPACE = {
    "mamba_n_groups": 1,
    "mamba_d_head": None,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_conv_bias": True,
    "mamba_proj_bias": False,
}

FAMILIES = {
    "granitemoe": Family(
        model_type="granitemoe",
        class_name="GraniteMoeForCausalLM",
        read=_read_plain,
        defaults={**COMMON_DEFAULTS, "num_key_value_heads": None},
        aliases=_ALIASES,
        neutral=_NEUTRAL,
    ),
    "granitemoeshared": Family(
        model_type="granitemoeshared",
        class_name="GraniteMoeSharedForCausalLM",
        read=_read_shared,
        defaults={**COMMON_DEFAULTS, "num_key_value_heads": None, "shared_intermediate_size": 0},
        aliases=_ALIASES,
        neutral=_NEUTRAL,
    ),
    "granitemoehybrid": Family(
        model_type="granitemoehybrid",
        class_name="GraniteMoeHybridForCausalLM",
        read=_read_hybrid,
        defaults={
            **COMMON_DEFAULTS,
            "num_key_value_heads": None,
            "shared_intermediate_size": 1024,
            "layer_types": None,
            "position_embedding_type": None,
            **_STATE_SPACE,
        },
        aliases={**_ALIASES, "layers_block_type": "layer_types"},
        neutral=(
            *_NEUTRAL,
            "mamba_chunk_size",
            "time_step_limit",
            "normalization_function",
            "rope_theta",
            "rope_scaling",
        ),
    ),
    "granitemoe_swa": Family(
        model_type="granitemoe_swa",
        class_name="GraniteMoeSWAForCausalLM",
        read=_read_swa,
        defaults={
            **COMMON_DEFAULTS,
            "num_key_value_heads": None,
            "shared_intermediate_size": 0,
            "sliding_window": 128,
            "layer_types": None,
            "layer_rope_theta": None,
        },
        aliases=_ALIASES,
        neutral=_NEUTRAL,
    ),
    "granite_swa": Family(
        model_type="granite_swa",
        class_name="GraniteSWAForCausalLM",
        read=_read_dense_swa,
        defaults={
            **COMMON_DEFAULTS,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "mlp_bias": False,
            "sliding_window": 128,
            "layer_types": None,
            "layer_rope_theta": None,
        },
        neutral=_NEUTRAL,
    ),
    "bamba": Family(
        model_type="bamba",
        class_name="BambaForCausalLM",
        read=_read_bamba,
        defaults={
            **COMMON_DEFAULTS,
            "num_key_value_heads": 8,
            "rms_norm_eps": 1e-5,
            "mlp_bias": False,
            "attn_layer_indices": None,
            **_STATE_SPACE,
        },
        neutral=(
            "mamba_chunk_size",
            "time_step_limit",
            "num_logits_to_keep",
            "z_loss_coefficient",
            "attn_rotary_emb",
            "layer_types",
            "layers_block_type",
        ),
    ),
}
