"""JetMoE (arXiv 2404.07413): experts in the feed-forward and in the attention's projections."""

from moewright.architecture.feed_forwards import Router
from moewright.architecture.mixers import MixtureOfAttention
from moewright.architecture.spec import Architecture
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, build, experts, stack


def _read(c: Config) -> Architecture:
    n = c.num_layers()
    mixer = MixtureOfAttention(
        num_experts=c.size("num_local_experts"),
        top_k=c.top_k("num_experts_per_tok", "num_local_experts"),
        num_kv_heads=c.size("num_key_value_heads"),
        head_dim=c.size("kv_channels"),
        rope=c.rope(),
    )
    moe = experts(
        c,
        count="num_local_experts",
        top_k="num_experts_per_tok",
        size="intermediate_size",
        router=Router(score_after_top_k=True, normalize=True),
        output_bias=True,
        activation=c.activation("activation_function"),
    )
    return build(c, stack(c, [mixer] * n, [moe] * n))


FAMILIES = {
    "jetmoe": Family(
        model_type="jetmoe",
        class_name="JetMoeForCausalLM",
        read=_read,
        defaults={**COMMON_DEFAULTS, "tie_word_embeddings": True, "activation_function": "silu"},
        aliases={
            "head_dim": "kv_channels",
            "num_experts": "num_local_experts",
            "moe_num_experts": "num_local_experts",
            "moe_top_k": "num_experts_per_tok",
            "ffn_hidden_size": "intermediate_size",
        },
        neutral=("num_attention_heads", "aux_loss_coef", "glu", "bias", "rotary_percent", "applied_layer_norm"),
    ),
}
