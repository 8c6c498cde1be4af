"""ZAYA1 (Zyphra, 2025): compressed convolutional attention (arXiv 2510.04476) and routers with layers of their own."""

from moewright.architecture.feed_forwards import Router
from moewright.architecture.mixers import Attention, Rope, Window
from moewright.architecture.own_weights import OwnWeight
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import COMMON_DEFAULTS, attention, build, experts


def _read(c: Config) -> Architecture:
    n, d, bias = c.num_layers(), c.size("hidden_size"), c.flag("attention_bias")
    types = c.per_layer("layer_types", n, "hybrid", "hybrid_sliding") or ["hybrid"] * n
    far = c.rope(5e6, fraction=0.5, layer_type="hybrid")
    near = c.rope(1e4, fraction=0.5, layer_type="hybrid_sliding")
    full = attention(c, qkv_bias=bias, output_bias=bias, qk_norm="unweighted", rope=_plain(far))
    if full.num_kv_heads * full.head_dim % 2:
        raise c.error("head_dim", "the values' channels are made in two halves, and are odd", full.head_dim)
    mixers = {"hybrid": full}
    if "hybrid_sliding" in types:
        window = Window(size=c.size("sliding_window"))
        mixers["hybrid_sliding"] = full.model_copy(update={"window": window, "rope": _plain(near)})
    size = c.size("router_hidden_size")
    moe = experts(
        c,
        count="num_experts",
        top_k="num_experts_per_tok",
        size="moe_intermediate_size",
        router=Router(selection_bias="buffer", input_size=size, skip_choices=1),
    )
    kernels = c.size("cca_time0"), c.size("cca_time1")
    convolved, state = _convolutions(full, *kernels)
    layers = [
        Layer(
            mixer=mixers[kind],
            feed_forward=moe,
            own_weights=(*convolved, *_router(size, d, first=index == 0)),
            own_state=state,
        )
        for index, kind in enumerate(types)
    ]
    vectors = OwnWeight(name="input_scale_and_bias", component="other", outputs=d, copies=2)
    bias = c.flag("lm_head_bias")
    return build(c, layers, lm_head_bias=bias, residual_vectors=4, own_weights=(vectors,))


def _plain(rope: Rope) -> Rope:
    """Without what the publisher's file says of the other kind of layer."""
    scaling = {key: value for key, value in (rope.scaling or {}).items() if not key.startswith("hybrid")}
    return rope.model_copy(update={"scaling": None if scaling in ({}, {"rope_type": "default"}) else scaling})


def _convolutions(mixer: Attention, depthwise: int, grouped: int) -> tuple[tuple[OwnWeight, ...], int]:
    """Two convolutions of queries and keys together, the second within heads, a scale of each key-value head; and what
    of a sequence they read again: their inputs, and the half of the values that comes a token late."""
    channels = (mixer.num_heads + mixer.num_kv_heads) * mixer.head_dim
    weights = (
        OwnWeight(
            name="conv_qk_depthwise", component="attention", outputs=channels, inputs=depthwise, use="convolution"
        ),
        OwnWeight(
            name="conv_qk_grouped",
            component="attention",
            outputs=channels,
            inputs=mixer.head_dim * grouped,
            use="convolution",
        ),
        OwnWeight(name="conv_qk_biases", component="attention", outputs=2 * channels),
        OwnWeight(name="key_scale", component="attention", outputs=mixer.num_kv_heads),
    )
    return weights, channels * (depthwise + grouped - 2) + mixer.num_kv_heads * mixer.head_dim // 2


def _router(size: int, d: int, first: bool) -> tuple[OwnWeight, ...]:
    """What makes the router's input: a projection, the last layer's times a scale, a norm and two layers of GELU."""
    weights = [
        OwnWeight(name="router.down_proj", component="router", outputs=size, inputs=d, use="matmul"),
        OwnWeight(name="router.layers", component="router", outputs=size, inputs=size, copies=2, use="matmul"),
        OwnWeight(name="router.biases", component="router", outputs=3 * size),
        OwnWeight(name="router.norm", component="router", outputs=size),
    ]
    if not first:
        weights.append(OwnWeight(name="router.state_scale", component="router", outputs=size))
    return tuple(weights)


FAMILIES = {
    "zaya": Family(
        model_type="zaya",
        class_name="ZayaForCausalLM",
        read=_read,
        defaults={
            **COMMON_DEFAULTS,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "head_dim": 128,
            "layer_types": None,
            "num_experts": 16,
            "num_experts_per_tok": 1,
            "router_hidden_size": 256,
            "cca_time0": 2,
            "cca_time1": 2,
            "lm_head_bias": False,
        },
        neutral=("sliding_window",),
    )
}
