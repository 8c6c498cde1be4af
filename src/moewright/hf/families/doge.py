"""Doge (SmallDoge, 2025): attention to the tokens with the highest scores, and thousands of experts of one channel."""

from moewright.architecture.feed_forwards import ExpertGroup, FeedForward, MoE, Router
from moewright.architecture.mixers import Window
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, attention, build, dense, stack


def _read(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    size = c.optional_size("sliding_window")
    window = Window(size=size) if size else None
    mixer = attention(c, qkv_bias=bias, output_bias=bias, qk_norm="per_head", window=window, rope=c.rope())
    mixer = mixer.model_copy(update={"dynamic_mask": c.size("keep_window_size")})
    return build(c, stack(c, [mixer] * n, [_feed_forward(c)] * n), residual_vectors=1)


def _feed_forward(c: Config) -> FeedForward:
    every_token = dense(c, bias=c.flag("mlp_bias"))
    if not c.flag("is_moe"):
        return every_token
    group = ExpertGroup(count=c.size("num_experts"), expert_size=1, top_k=c.top_k("num_experts_per_tok", "num_experts"))
    return MoE(
        groups=(group,),
        router=Router(kind="product_keys", score_after_top_k=True, normalize=c.flag("norm_topk_prob")),
        gated=False,
        activation=every_token.activation,
        parallel_dense=every_token,
    )


FAMILIES = {
    "doge": Family(
        model_type="doge",
        class_name="DogeForCausalLM",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "num_key_value_heads": None,
            "mlp_bias": False,
            "sliding_window": None,
            "keep_window_size": 2048,
            "is_moe": False,
            "num_experts": 16384,
            "num_experts_per_tok": 64,
            "norm_topk_prob": False,
        },
        neutral=("num_cdmoe_experts", "num_cdmoe_heads", "dynamic_mask_ratio"),
    ),
}
