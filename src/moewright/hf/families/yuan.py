"""Yuan2.0-M32 (IEIT Systems, arXiv 2405.17976): a filter before queries and keys, and a router that attends.

Source: modeling_yuan.py of Yuan2-M32-hf.
"""

from moewright.architecture.feed_forwards import ExpertGroup, MoE, Router
from moewright.architecture.mixers import Attention
from moewright.architecture.own_weights import OwnWeight
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, build, dense

_TAPS = 2
"""Of each of the filter's two convolutions."""


def _filter(width: int, groups: int) -> tuple[OwnWeight, ...]:
    half = width // 2

    def convolution(name: str, outputs: int, inputs: int) -> OwnWeight:
        # Not depthwise: each output multiplies with two tokens' channels of its group.
        return OwnWeight(
            name=name, component="attention", outputs=outputs, inputs=_TAPS * inputs // groups, use="matmul"
        )

    return (
        convolution("filter.conv1", half, width),
        convolution("filter.conv2", width, half),
        OwnWeight(name="filter.biases", component="attention", outputs=half + width),
        OwnWeight(name="filter.norm", component="norm", outputs=width),
    )


def _read(c: Config) -> Architecture:
    n, width, heads = c.num_layers(), c.size("hidden_size"), c.size("num_attention_heads")
    c.fixed("use_shareqk", False, None)
    channels = c.optional_size("attention_projection_size") or width
    groups = c.size("lf_conv2d_group")
    if channels % heads or width % (2 * groups):
        raise c.error("num_attention_heads", f"does not divide {channels}, or lf_conv2d_group {width}", heads)
    mixer = Attention(num_heads=heads, num_kv_heads=heads, head_dim=channels // heads, rope=c.rope())
    own = _filter(width, groups)
    state = 2 * width  # the two tokens before, of which the filter is made
    section = c.section(
        "moe_config",
        {"gated_linear_unit": True, "norm_topk_prob": False},
        neutral=("num_attention_router_heads", "router_type", "moe_use_residual_moe"),
    )
    number = section.count("moe_num_experts")
    if not number:
        return build(c, [Layer(mixer=mixer, feed_forward=dense(c), own_weights=own, own_state=state)] * n)
    group = ExpertGroup(
        count=number, expert_size=c.size("ffn_hidden_size"), top_k=section.top_k("moe_top_k", "moe_num_experts")
    )
    section.flag("norm_topk_prob")
    moe = MoE(
        groups=(group,),
        router=Router(score_after_top_k=True, normalize=True),
        gated=section.flag("gated_linear_unit"),
        activation=c.activation(),
    )
    for message in section.finish():
        c.warn(message)
    router = OwnWeight(name="router.keys_values", component="router", outputs=2 * number, inputs=width, use="matmul")
    return build(c, [Layer(mixer=mixer, feed_forward=moe, own_weights=(*own, router), own_state=state)] * n)


FAMILIES = {
    "yuan": Family(
        model_type="yuan",
        class_name="YuanForCausalLM",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "attention_projection_size": None,
            "lf_conv2d_group": 1,
            "moe_config": None,
        },
        aliases={"model_max_length": "max_position_embeddings"},
        neutral=(
            *("attn_dropout", "attn_mask_type", "causal_mask", "dropout", "lf_conv2d_num_pad", "mask_token_id"),
            *("output_router_logits", "reset_attention_mask", "reset_position_ids", "sep_token", "use_flash_attention"),
            *("use_loss_mask", "rotary_base", "rotary_percent", "use_rope_scaling", "architecture", "use_moe"),
            *("intermediate_size", "sep_token_id", "eod_token", "eod_token_id"),
        ),
    )
}
