"""OLMoE (arXiv 2409.02060) and FlexOlmo (arXiv 2507.07024)."""

from typing import Any

from moewright.architecture.feed_forwards import Router
from moewright.architecture.mixers import Attention
from moewright.architecture.spec import Architecture
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


def _read(c: Config, theta: float, post_norms: bool) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    mixer = attention(c, qkv_bias=bias, output_bias=bias, qk_norm="full", rope=c.rope(theta))
    if not post_norms and mixer.num_heads * mixer.head_dim != c.size("hidden_size"):
        # OLMoE's query norm is as wide as the model, so its heads must be too.
        raise c.error(
            "num_attention_heads", f"times head_dim must be hidden_size ({c.size('hidden_size')})", mixer.num_heads
        )
    moe = experts(
        c,
        count="num_experts",
        top_k="num_experts_per_tok",
        size="intermediate_size",
        router=Router(normalize=c.flag("norm_topk_prob")),
    )
    return build(c, stack(c, [mixer] * n, [moe] * n, norms="post" if post_norms else "pre"))


def _write_olmoe(a: Architecture) -> dict[str, Any]:
    mixer, moe = first_mixer(a, Attention), first_moe(a) or no_experts()
    values = common_keys(a, mixer)
    if mixer:
        values |= {"num_key_value_heads": mixer.num_kv_heads, "attention_bias": mixer.qkv_bias, "clip_qkv": None}
    return values | {
        "num_experts": moe.groups[0].count,
        "num_experts_per_tok": moe.groups[0].top_k,
        "intermediate_size": moe.groups[0].expert_size,
        "norm_topk_prob": moe.router.normalize,
    }


FAMILIES = {
    "olmoe": Family(
        model_type="olmoe",
        class_name="OlmoeForCausalLM",
        read=lambda c: _read(c, 10_000.0, post_norms=False),
        write=_write_olmoe,
        defaults={**COMMON_DEFAULTS, "num_key_value_heads": None, "rms_norm_eps": 1e-5, "norm_topk_prob": False},
        aliases={"num_local_experts": "num_experts"},
        neutral=("clip_qkv",),
    ),
    "flex_olmo": Family(
        model_type="flex_olmo",
        class_name="FlexOlmoForCausalLM",
        read=lambda c: _read(c, 500_000.0, post_norms=True),
        defaults={**COMMON_DEFAULTS, "num_key_value_heads": None, "norm_topk_prob": False},
        aliases={"num_local_experts": "num_experts"},
    ),
}
