"""LFM2-MoE (Liquid AI, 2025): short convolutions with attention layers between them."""

from moewright.architecture.feed_forwards import Router
from moewright.architecture.mixers import ShortConvolution
from moewright.architecture.spec import Architecture, Norm
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    attention,
    build,
    choose_feed_forwards,
    dense_first_layers,
    experts,
    stack,
)


def _read(c: Config) -> Architecture:
    n = c.num_layers()
    types = c.per_layer("layer_types", n, "conv", "full_attention")
    if types is None:
        raise c.error("layer_types", "missing; LFM2 states the kind of every layer")
    softmax = attention(c, qkv_bias=False, output_bias=False, qk_norm="per_head", rope=c.rope(1e6))
    convolution = ShortConvolution(kernel=c.size("conv_L_cache"), bias=c.flag("conv_bias"))
    moe = experts(
        c,
        count="num_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=Router(
            score="sigmoid",
            normalize=c.flag("norm_topk_prob"),
            scale=c.number("routed_scaling_factor"),
            selection_bias="buffer" if c.flag("use_expert_bias") else None,
        ),
        activation="silu",  # the family has no key for it
    )
    sparse = dense_first_layers(c, n, "num_dense_layers")
    feed_forwards = choose_feed_forwards(c, sparse, moe, activation="silu")
    mixers = [softmax if kind == "full_attention" else convolution for kind in types]
    return build(c, stack(c, mixers, feed_forwards), norm=Norm(eps=c.number("norm_eps")))


FAMILIES = {
    "lfm2_moe": Family(
        model_type="lfm2_moe",
        class_name="Lfm2MoeForCausalLM",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "tie_word_embeddings": True,
            "norm_eps": 1e-5,
            "conv_bias": False,
            "conv_L_cache": 3,
            "num_dense_layers": 2,
            "use_expert_bias": True,
            "norm_topk_prob": True,
            "routed_scaling_factor": 1.0,
            "layer_types": None,
        },
        aliases={"num_local_experts": "num_experts", "tie_embedding": "tie_word_embeddings"},
        neutral=("intermediate_size", "rms_norm_eps"),
    ),
}
