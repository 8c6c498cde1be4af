"""A.X K1 and K2 (SK Telecom, 2026), built on DeepSeek-V3's module and on V3.2's."""

from moewright.architecture.feed_forwards import Dense
from moewright.architecture.spec import Architecture, Layer
from moewright.hf.config_reader import Config, Family
from moewright.hf.parts import (
    COMMON_DEFAULTS,
    DEEPSEEK_ROUTING,
    LATENT_NEUTRAL,
    build,
    choose_feed_forwards,
    deepseek_experts,
    dense_first_layers,
    indexer,
    latent_attention,
    stack,
)


def _sparse_layers(c: Config, n: int) -> list[bool]:
    step = c.size("moe_layer_freq")
    c.replace("moe_layer_freq", 1)
    kinds = c.per_layer("mlp_layer_types", n, "dense", "sparse")
    if kinds is not None:
        return [kind == "sparse" for kind in kinds]
    return [first and index % step == 0 for index, first in enumerate(dense_first_layers(c, n))]


def _read_k1(c: Config) -> Architecture:
    n = c.num_layers()
    sparse = _sparse_layers(c, n)
    moe = deepseek_experts(c).model_copy(update={"output_norm": True})
    mixer = latent_attention(c, rope=c.rope())
    return build(c, stack(c, [mixer] * n, choose_feed_forwards(c, sparse, moe)))


def _read_k2(c: Config) -> Architecture:
    n = c.num_layers()
    c.per_layer("layer_types", n, "indexed_attention", "deepseek_sparse_attention")
    sparse = _sparse_layers(c, n)
    mixer = latent_attention(c, rope=c.rope(), indexer=indexer(c), gate_from_query=True)
    layers = stack(c, [mixer] * n, choose_feed_forwards(c, sparse, deepseek_experts(c)))
    rank = c.size("gated_norm_rank")
    gated = {id(layer): _gated(layer, rank) for layer in layers}
    return build(c, [gated[id(layer)] for layer in layers])


def _gated(layer: Layer, rank: int) -> Layer:
    """The norms of its halves are gated, but not that of a dense feed-forward."""
    plain = isinstance(layer.feed_forward, Dense)
    return layer.model_copy(update={"mixer_norm_gate": rank, "feed_forward_norm_gate": None if plain else rank})


_DEFAULTS = {
    **COMMON_DEFAULTS,
    **DEEPSEEK_ROUTING,
    "first_k_dense_replace": 1,
    "n_shared_experts": 1,
    "routed_scaling_factor": 2.5,
    "mlp_layer_types": None,
    "moe_layer_freq": 1,
}

FAMILIES = {
    "axk1": Family(
        model_type="axk1",
        class_name="AXK1ForCausalLM",
        read=_read_k1,
        defaults={**_DEFAULTS, "n_group": 8, "topk_group": 4},
        aliases={"num_local_experts": "n_routed_experts"},
        neutral=LATENT_NEUTRAL,
    ),
    "axk2": Family(
        model_type="axk2",
        class_name="AXK2ForCausalLM",
        read=_read_k2,
        defaults={**_DEFAULTS, "layer_types": None, "gated_norm_rank": 16},
        aliases={"num_local_experts": "n_routed_experts"},
        neutral=LATENT_NEUTRAL,
    ),
}
