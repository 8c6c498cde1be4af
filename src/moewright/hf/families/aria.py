"""Aria (rhymes.ai, arXiv 2410.05993), the language model."""

from moewright.architecture.feed_forwards import Router, SharedExpert
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, attention, build, experts, shared_of_routed_size, stack


def _read(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    mixer = attention(c, qkv_bias=bias, output_bias=bias, rope=c.rope())
    moe = experts(
        c,
        count="moe_num_experts",
        top_k="moe_topk",
        size="intermediate_size",
        router=Router(score_after_top_k=True, normalize=True),
        shared=_shared(c),
    )
    return build(c, stack(c, [mixer] * n, [moe] * n))


def _shared(c: Config) -> SharedExpert | None:
    return shared_of_routed_size(c, "moe_num_shared_experts", "intermediate_size", bias=c.flag("mlp_bias"))


FAMILIES = {
    "aria_text": Family(
        model_type="aria_text",
        class_name="AriaTextForCausalLM",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "num_key_value_heads": None,
            "moe_num_shared_experts": 2,
            "mlp_bias": False,
        },
        aliases={"moe_intermediate_size": "intermediate_size"},  # rhymes.ai's own file
        # Of the losses, of the vision tower, and of attention that no file has.
        neutral=("moe_z_loss_coeff", "moe_aux_loss_coeff", "image_mask_id", "attn_implementation", "sliding_window"),
    ),
}
