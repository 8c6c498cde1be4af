"""Kimi Linear (arXiv 2510.26692), Kimi K3 and Ling 3 (bailing_hybrid): Kimi delta attention beside latent attention.

Kimi K3's files carry Kimi Linear's model_type with keys that transformers 5.23 builds nothing of. Read as its published
modules are: latent experts whose sum is normed, attention residuals (arXiv 2603.15031), gates of full rank.
"""

from typing import Any

from moewright.architecture.feed_forwards import MoE
from moewright.architecture.mixers import KimiDeltaAttention, LatentAttention
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    build,
    choose_feed_forwards,
    expert_groups,
    experts,
    latent_attention,
    shared_of_routed_size,
    sigmoid_router,
    stack,
    typed_layers,
)


def _experts(c: Config) -> MoE:
    latent, normed = c.optional_size("routed_expert_hidden_size"), c.flag("latent_moe_use_norm")
    if normed and latent is None:
        raise c.error("latent_moe_use_norm", "needs routed_expert_hidden_size")
    return experts(
        c,
        count="num_experts",
        top_k="num_experts_per_token",
        size="moe_intermediate_size",
        router=sigmoid_router(c, expert_groups(c, "num_expert_group", "topk_group", "num_experts")),
        shared=shared_of_routed_size(c, "num_shared_experts", "moe_intermediate_size"),
        latent_size=latent,
        latent_norm=normed,
    )


def _untied(c: Config) -> bool:
    # transformers' modules of these two families keep a head of their own whatever the flag says.
    if c.flag("tie_word_embeddings"):
        c.warn("tie_word_embeddings: true, but transformers builds this family with a separate head; counted so")
    return False


def _assemble(
    c: Config, linear: KimiDeltaAttention, full: LatentAttention, is_full: list[bool], **extra: Any
) -> Architecture:
    n, moe = len(is_full), _experts(c)
    sparse = typed_layers(c, n)
    feed_forwards = choose_feed_forwards(c, sparse, moe)
    layers = stack(c, [full if f else linear for f in is_full], feed_forwards)
    return build(c, layers, tie_embeddings=_untied(c), **extra)


def _read_kimi(c: Config) -> Architecture:
    n = c.num_layers()
    c.fixed("moe_layer_freq", 1)
    linear_config = c.section(
        "linear_attn_config",
        {"use_full_rank_gate": False},
        neutral=("full_attn_layers", "kda_layers", "gate_lower_bound"),
    )
    full_gate = linear_config.flag("use_full_rank_gate")
    head_dim, heads, kernel = (
        linear_config.size(key) if linear_config.has(key) else c.size(fallback)
        for key, fallback in (
            ("head_dim", "linear_head_dim"),
            ("num_heads", "linear_num_heads"),
            ("short_conv_kernel_size", "linear_conv_kernel_dim"),
        )
    )
    types = c.per_layer("layer_types", n, "full_attention", "linear_attention")
    if types is not None:
        is_full = [kind == "full_attention" for kind in types]
    elif linear_config.has("full_attn_layers"):
        stated = set(linear_config.integers("full_attn_layers"))  # counted from 1
        if not stated <= set(range(1, n + 1)):
            raise linear_config.error("full_attn_layers", f"expected layer numbers from 1 to {n}", sorted(stated))
        is_full = [index + 1 in stated for index in range(n)]
    else:
        is_full = [index > 0 and index % 4 == 0 for index in range(n)]
    linear = KimiDeltaAttention(
        num_heads=heads,
        head_dim=head_dim,
        conv_kernel=kernel,
        gate_rank=head_dim,
        full_output_gate=full_gate,
        # Of the two models there are, the one with a full gate stores a decay for each channel of a head.
        decay_entries="head_channels" if full_gate else "heads",
    )
    for message in linear_config.finish():
        c.warn(message)
    gate = "per_channel" if c.flag("mla_use_output_gate") else None
    full = latent_attention(c, rope=None, output_gate=gate)
    return _assemble(c, linear, full, is_full, attention_residuals=c.count("attn_res_block_size"))


def _read_bailing(c: Config) -> Architecture:
    n = c.num_layers()
    types = c.per_layer("layer_types", n, "full_attention", "linear_attention")
    every = c.size("layer_group_size")
    is_full = (
        [(index + 1) % every == 0 for index in range(n)]
        if types is None
        else [kind == "full_attention" for kind in types]
    )
    # transformers overwrites head_dim by the rotary width when it saves a config and keeps the other three names.
    linear = KimiDeltaAttention(
        num_heads=c.size("linear_num_heads" if c.has("linear_num_heads") else "num_attention_heads"),
        head_dim=c.size("linear_head_dim" if c.has("linear_head_dim") else "head_dim"),
        conv_kernel=c.size("linear_conv_kernel_dim" if c.has("linear_conv_kernel_dim") else "short_conv_kernel_size"),
        gate_rank=None,
    )
    full = latent_attention(c, rope=c.rope(6e6), output_gate="per_head")
    return _assemble(c, linear, full, is_full, mtp_layers=c.count("num_nextn_predict_layers"))


_DEFAULTS = {
    **COMMON_DEFAULTS,
    "q_lora_rank": None,
    "num_expert_group": 1,
    "topk_group": 1,
    "norm_topk_prob": True,
    "num_shared_experts": 1,
    "mlp_layer_types": None,
    "layer_types": None,
    "routed_expert_hidden_size": None,
    "latent_moe_use_norm": False,
    "mla_use_output_gate": False,
    "attn_res_block_size": 0,
}
_ALIASES = {
    "model_max_length": "max_position_embeddings",
    "moe_renormalize": "norm_topk_prob",
    "n_group": "num_expert_group",
    "num_local_experts": "num_experts",
    "num_experts_per_tok": "num_experts_per_token",
    "n_shared_experts": "num_shared_experts",
    "num_mtp_layers": "num_nextn_predict_layers",
}
_NEUTRAL = ("num_key_value_heads", "head_dim", "qk_head_dim", "intermediate_size", "rope_interleave")

FAMILIES = {
    "kimi_linear": Family(
        model_type="kimi_linear",
        class_name="KimiLinearForCausalLM",
        read=_read_kimi,
        defaults={
            **_DEFAULTS,
            "rms_norm_eps": 1e-5,
            "routed_scaling_factor": 2.446,
            "first_k_dense_replace": 1,
            "linear_attn_config": None,
        },
        aliases=_ALIASES,
        neutral=(
            *_NEUTRAL,
            "linear_head_dim",
            "linear_num_heads",
            "linear_conv_kernel_dim",
            "rope_theta",
            "mla_use_nope",
            "moe_router_activation_func",
            "use_grouped_topk",
            "topk_method",
            "activation_situ_beta",
            "activation_situ_linear_beta",
            "num_nextn_predict_layers",
        ),
    ),
    "bailing_hybrid": Family(
        model_type="bailing_hybrid",
        class_name="BailingHybridForCausalLM",
        read=_read_bailing,
        defaults={
            **_DEFAULTS,
            "routed_scaling_factor": 2.5,
            "first_k_dense_replace": 2,
            "num_expert_group": 8,
            "topk_group": 4,
            "layer_group_size": 6,
            "short_conv_kernel_size": 4,
            "num_nextn_predict_layers": 0,
        },
        aliases=_ALIASES,
        neutral=(
            *_NEUTRAL,
            "linear_head_dim",
            "linear_num_heads",
            "linear_conv_kernel_dim",
            "kda_safe_gate",
            "kda_lower_bound",
            "mtp_loss_scaling_factor",
        ),
    ),
}
