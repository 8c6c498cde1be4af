"""Ling and Ring of inclusionAI with lightning attention: Ring-linear 2.0 (arXiv 2510.19338) beside grouped-query
attention, Ling and Ring 2.5 beside latent attention.

Sources: mlx-lm's bailing_moe_linear.py and bailing_hybrid.py, vLLM's bailing_moe_linear.py. Ling 2.5's files say
bailing_hybrid, as Ling 3's do, which have Kimi delta attention instead.
"""

from collections.abc import Mapping
from typing import Any

from moewright.architecture.mixers import LightningAttention, Mixer
from moewright.architecture.own_weights import OwnWeight
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.families.vendors import BAILING_DEFAULTS, BAILING_NEUTRAL, bailing_experts
from moewright.hf.parts import (
    QKNorm,
    attention,
    build,
    choose_feed_forwards,
    dense_first_layers,
    latent_attention,
    prediction,
)


def is_lightning(values: Mapping[str, Any]) -> bool:
    """Whether a file that says bailing_hybrid has lightning attention, which has no convolutions."""
    convolutions = ("short_conv_kernel_size", "linear_conv_kernel_dim", "kda_safe_gate", "kda_lower_bound")
    return values.get("group_norm_size") is not None and not any(key in values for key in convolutions)


def _read_latent(c: Config) -> Architecture:
    return _read(c, latent_attention(c, rope=c.rope()))


def _read_grouped(c: Config) -> Architecture:
    normed: QKNorm = "per_head" if c.flag("use_qk_norm") else None
    return _read(c, attention(c, qkv_bias=False, output_bias=False, qk_norm=normed, rope=c.rope()))


def _read(c: Config, full: Mixer) -> Architecture:
    """Full attention in the last layer of each group, and in what is left after the last whole group."""
    n, every, heads = c.num_layers(), c.size("layer_group_size"), c.size("num_attention_heads")
    c.fixed("use_bias", False)
    c.fixed("use_qkv_bias", False)
    c.fixed("norm_head", False)
    head_dim = c.head_dim()
    linear = LightningAttention(num_heads=heads, head_dim=head_dim)
    norms = (OwnWeight(name="linear.qk_norm", component="norm", outputs=2 * head_dim),) if c.flag("use_qk_norm") else ()
    moe = bailing_experts(c)
    feed_forwards = choose_feed_forwards(c, dense_first_layers(c, n), moe)
    made: dict[tuple[bool, int], Layer] = {}
    layers = []
    for index, feed_forward in enumerate(feed_forwards):
        is_full = (index + 1) % every == 0 or index >= n // every * every
        key = is_full, id(feed_forward)
        if key not in made:
            made[key] = Layer(
                mixer=full if is_full else linear, feed_forward=feed_forward, own_weights=() if is_full else norms
            )
        layers.append(made[key])
    return build(c, layers, **prediction(c, "num_nextn_predict_layers", Layer(mixer=full, feed_forward=moe)))


_NEUTRAL = (
    *BAILING_NEUTRAL,
    *("group_norm_size", "linear_silu", "linear_mode", "rope_traditional", "rope_interleave", "scoring_func"),
    *("topk_method", "num_key_value_heads", "moe_router_enable_routed_scaling", "moe_router_enable_shared_expert"),
    *("qk_head_dim", "mtp_use_repeated_layer"),
)
_ALIASES = {"num_local_experts": "num_experts", "n_shared_experts": "num_shared_experts"}
FAMILIES = {
    "bailing_moe_linear": Family(
        model_type="bailing_moe_linear",
        class_name="BailingMoeLinearV2ForCausalLM",
        read=_read_grouped,
        defaults=BAILING_DEFAULTS | {"use_qk_norm": True},
        aliases=_ALIASES,
        neutral=_NEUTRAL,
    ),
    "bailing_moe_v2_5": Family(
        model_type="bailing_moe_v2_5",
        class_name="BailingMoeV2_5ForCausalLM",
        read=_read_latent,
        defaults=BAILING_DEFAULTS
        | {
            "use_qk_norm": True,
            "q_lora_rank": None,
            "score_function": "sigmoid",
            "moe_router_enable_expert_bias": True,
        },
        aliases=_ALIASES,
        neutral=_NEUTRAL,
    ),
}
