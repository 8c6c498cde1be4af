"""Mixtral (arXiv 2401.04088) and Phi-3.5-MoE, which shares its keys."""

from typing import Any

from moewright.architecture.feed_forwards import Router
from moewright.architecture.mixers import Attention, Window
from moewright.architecture.spec import Architecture, Norm
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    attention,
    build,
    common_keys,
    experts,
    first_mixer,
    first_moe,
    no_experts,
    stack,
)


def _window(c: Config) -> Window | None:
    size = c.optional_size("sliding_window")
    return Window(size=size) if size else None


def _read_mixtral(c: Config) -> Architecture:
    n = c.num_layers()
    mixer = attention(c, qkv_bias=False, output_bias=False, window=_window(c), rope=c.rope(1e6))
    moe = experts(
        c,
        count="num_local_experts",
        top_k="num_experts_per_tok",
        size="intermediate_size",
        # Softmax over the chosen logits equals the renormalised softmax over all.
        router=Router(normalize=True),
    )
    return build(c, stack(c, [mixer] * n, [moe] * n))


def _write_mixtral(a: Architecture) -> dict[str, Any]:
    mixer, moe = first_mixer(a, Attention), first_moe(a) or no_experts()
    values = common_keys(a, mixer)
    if mixer:
        values |= {
            "num_key_value_heads": mixer.num_kv_heads,
            "head_dim": mixer.head_dim,
            "sliding_window": mixer.window.size if mixer.window else None,
        }
    return values | {
        "num_local_experts": moe.groups[0].count,
        "num_experts_per_tok": moe.groups[0].top_k,
        "intermediate_size": moe.groups[0].expert_size,
    }


def _read_phimoe(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    mixer = attention(c, qkv_bias=bias, output_bias=bias, window=_window(c), rope=c.rope(1e6))
    moe = experts(
        c,
        count="num_local_experts",
        top_k="num_experts_per_tok",
        size="intermediate_size",
        router=Router(),  # SparseMixer-v2 picks the experts one after the other (arXiv 2409.12136)
    )
    norm = Norm(kind="layer", bias=True, eps=c.number("rms_norm_eps"))
    return build(c, stack(c, [mixer] * n, [moe] * n), norm=norm, lm_head_bias=c.flag("lm_head_bias"))


FAMILIES = {
    "mixtral": Family(
        model_type="mixtral",
        class_name="MixtralForCausalLM",
        read=_read_mixtral,
        write=_write_mixtral,
        defaults={**COMMON_DEFAULTS, "rms_norm_eps": 1e-5, "sliding_window": None},
        aliases={"num_experts": "num_local_experts"},
    ),
    "phimoe": Family(
        model_type="phimoe",
        class_name="PhimoeForCausalLM",
        read=_read_phimoe,
        defaults={**COMMON_DEFAULTS, "rms_norm_eps": 1e-5, "sliding_window": None, "lm_head_bias": False},
        aliases={"num_experts": "num_local_experts"},
        neutral=("input_jitter_noise", "original_max_position_embeddings"),
    ),
}
