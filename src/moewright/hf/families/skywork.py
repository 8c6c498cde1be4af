"""Skywork-MoE (arXiv 2406.06563): Llama's blocks with 16 experts behind a router of two layers.

Source: skywork_moe.py in Skywork's branch of vLLM.
"""

from moewright.architecture.feed_forwards import Router
from moewright.architecture.own_weights import OwnWeight
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, attention, build, experts, sparse_each

_ROUTER_CHANNELS = 8
"""Of the router's first layer, for each expert."""


def _read(c: Config) -> Architecture:
    n, every = c.num_layers(), c.size("moe_expert_interval")
    stated = c.raw("num_experts")
    if isinstance(stated, list):  # Megatron's way of saying one number for all layers
        if len(stated) != 1:
            raise c.error("num_experts", "expected one number, or a list of one", stated)
        c.replace("num_experts", stated[0])
    mixer = attention(c, qkv_bias=False, output_bias=False, rope=c.rope())
    number, two_layers = c.size("num_experts"), c.flag("moe_2layer_gate")
    width = _ROUTER_CHANNELS * number
    down = OwnWeight(name="router.down", component="router", outputs=width, inputs=c.size("hidden_size"), use="matmul")
    moe = experts(
        c,
        count="num_experts",
        top_k="num_experts_per_tok",
        size="intermediate_size",
        router=Router(normalize=True, input_size=width if two_layers else None),
    )
    sparse = Layer(mixer=mixer, feed_forward=moe, own_weights=(down,) if two_layers else ())
    return build(c, sparse_each(c, n, every, sparse))


FAMILIES = {
    "skywork": Family(
        model_type="skywork",
        class_name="SkyworkMoeForCausalLM",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "num_key_value_heads": None,
            "moe_expert_interval": 1,
            "moe_2layer_gate": True,
            "num_experts_per_tok": 2,  # no key in the published file: the module has the number
        },
        neutral=("moe_use_mixtral_gating", "moe_use_logits_norm", "moe_gate_norm_std", "moe_feature_no_mul_topk"),
    )
}
