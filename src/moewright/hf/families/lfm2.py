"""LFM2, LFM2-MoE and LFM3 (Liquid AI): short convolutions with attention layers between them."""

from moewright.architecture.feed_forwards import Dense, Router
from moewright.architecture.mixers import ShortConvolution
from moewright.architecture.spec import Architecture, Norm, NormPlaces
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    attention,
    build,
    choose_feed_forwards,
    dense_first_layers,
    experts,
    stack,
    windowed,
)


def _read(c: Config) -> Architecture:
    n = c.num_layers()
    types = c.per_layer("layer_types", n, "conv", "full_attention")
    if types is None:
        raise c.error("layer_types", "missing; LFM2 states the kind of every layer")
    softmax = attention(c, qkv_bias=False, output_bias=False, qk_norm="per_head", rope=c.rope(1e6))
    convolution = _convolution(c)
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


def _read_dense(c: Config) -> Architecture:
    """LFM2. Unless told otherwise its feed-forward is two thirds of what is stated, rounded up to a multiple."""
    n, size = c.num_layers(), c.size("intermediate_size")
    types = c.per_layer("layer_types", n, "conv", "full_attention")
    if types is None:
        looks = set(c.integers("full_attn_idxs")) if c.has("full_attn_idxs") else set(range(n))
        types = ["full_attention" if index in looks else "conv" for index in range(n)]
    if c.flag("block_auto_adjust_ff_dim"):
        size = 2 * size // 3
        if c.raw("block_ffn_dim_multiplier") is not None:
            multiple = c.size("block_multiple_of")
            size = multiple * -(-int(c.number("block_ffn_dim_multiplier") * size) // multiple)
    softmax = attention(c, qkv_bias=False, output_bias=False, qk_norm="per_head", rope=c.rope(1e6))
    mixers = [softmax if kind == "full_attention" else _convolution(c) for kind in types]
    feed_forward = Dense(size=size)  # the family has no key for its activation
    return build(c, stack(c, mixers, [feed_forward] * n), norm=Norm(eps=c.number("norm_eps")))


def _read_third(c: Config) -> Architecture:
    n, bias = c.num_layers(), c.flag("attention_bias")
    types = c.per_layer("layer_types", n, "conv", "full_attention", "sliding_attention")
    if types is None:
        types = [
            "full_attention" if i % 4 == 2 else "conv" if i % 4 or not i else "sliding_attention" for i in range(n)
        ]
    near = c.rope(10_000.0, layer_type="sliding_attention")
    far = c.rope(1e6, fraction=0.5, layer_type="full_attention")
    full = attention(
        c,
        qkv_bias=bias,
        output_bias=bias,
        qk_norm="per_head",
        rope=far,
        output_gate="per_head" if c.flag("use_attention_gate") else None,
    )
    convolution = _convolution(c)
    looks = windowed(c, types, full, near)
    mixers = [convolution if kind == "conv" else mixer for kind, mixer in zip(types, looks, strict=True)]
    feed_forward = Dense(size=c.size("intermediate_size"))
    norms: NormPlaces = "sandwich" if c.flag("use_sandwich_norm") else "pre"
    return build(c, stack(c, mixers, [feed_forward] * n, norms), norm=Norm(eps=c.number("norm_eps")))


def _convolution(c: Config) -> ShortConvolution:
    return ShortConvolution(kernel=c.size("conv_L_cache"), bias=c.flag("conv_bias"))


_CONVOLUTIONS = {
    **COMMON_DEFAULTS,
    "tie_word_embeddings": True,
    "norm_eps": 1e-5,
    "conv_bias": False,
    "conv_L_cache": 3,
    "layer_types": None,
}
FAMILIES = {
    "lfm2": Family(
        model_type="lfm2",
        class_name="Lfm2ForCausalLM",
        read=_read_dense,
        defaults={
            **_CONVOLUTIONS,
            "full_attn_idxs": None,
            "block_auto_adjust_ff_dim": True,
            "block_ffn_dim_multiplier": 1.0,
            "block_multiple_of": 256,
        },
        aliases={"tie_embedding": "tie_word_embeddings", "block_ff_dim": "intermediate_size"},
        neutral=(
            *(
                "rms_norm_eps",
                "full_attn_idxs",
                "block_dim",
                "block_mlp_init_scale",
                "block_out_init_scale",
                "block_norm_eps",
            ),
            *(
                "block_use_swiglu",
                "block_use_xavier_init",
                "conv_dim",
                "conv_dim_out",
                "conv_use_xavier_init",
                "num_heads",
            ),
            "theta",
        ),
    ),
    "lfm3": Family(
        model_type="lfm3",
        class_name="Lfm3ForCausalLM",
        read=_read_third,
        defaults={
            **_CONVOLUTIONS,
            "head_dim": 128,
            "sliding_window": 256,
            "use_sandwich_norm": True,
            "use_attention_gate": True,
        },
        aliases={"tie_embedding": "tie_word_embeddings", "rms_norm_eps": "norm_eps"},
    ),
    "lfm2_moe": Family(
        model_type="lfm2_moe",
        class_name="Lfm2MoeForCausalLM",
        read=_read,
        defaults={
            **_CONVOLUTIONS,
            "num_dense_layers": 2,
            "use_expert_bias": True,
            "norm_topk_prob": True,
            "routed_scaling_factor": 1.0,
        },
        aliases={"num_local_experts": "num_experts", "tie_embedding": "tie_word_embeddings"},
        neutral=("intermediate_size", "rms_norm_eps"),
    ),
}
