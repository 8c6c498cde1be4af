"""The inventory: every weight tensor that a part of an architecture has.

Parameters, active parameters, matmul FLOPs and bytes are all sums over this one list (`counts.py`,
`weight_formats.py`), so a tensor is written down once. The functions use nothing but + - * // on the sizes, so the same
code counts one model (int) and many (columns of int64; see `sizes.py`).

Matrices are given as (outputs, inputs). d is hidden_size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import singledispatch
from typing import Any, Generic, Literal, NamedTuple

from moewright.architecture.feed_forwards import AnyDense, AnyExpertGroup, AnyMoE, NoFeedForward, routed_width
from moewright.architecture.mixers import (
    AnyAttention,
    AnyGatedDeltaNet,
    AnyLatentAttention,
    AnyMixer,
    BlockIndexer,
    CompressedAttention,
    DifferentialAttention,
    GroupedMamba,
    Indexer,
    KimiDeltaAttention,
    LightningAttention,
    Mamba,
    Mamba2,
    MixtureOfAttention,
    NoMixer,
    ParallelMixers,
    ShortConvolution,
)
from moewright.architecture.own_weights import OwnWeight
from moewright.architecture.sizes import N, total
from moewright.architecture.spec import AnyLayer, Countable, Norm, NormPlaces, passed_layers, sublayers
from moewright.records import Record

Component = Literal[
    "embedding",
    "lm_head",
    "attention",
    "linear_mixer",
    "router",
    "routed_experts",
    "latent_projections",
    "shared_experts",
    "dense_ffn",
    "norm",
    "other",
]
COMPONENT_WORDS: dict[Component, str] = {
    "embedding": "embedding",
    "lm_head": "head",
    "attention": "attention",
    "linear_mixer": "linear mixers",
    "router": "routers",
    "routed_experts": "routed experts",
    "latent_projections": "latent projections",
    "shared_experts": "shared experts",
    "dense_ffn": "dense feed-forward",
    "norm": "norms",
    "other": "other",
}
"""In tables and messages."""
COMPONENTS = tuple(COMPONENT_WORDS)


class Weight(NamedTuple, Generic[N]):
    """`copies` tensors of outputs x inputs elements, of which one token uses `active` copies."""

    name: str
    component: Component
    outputs: N | int
    inputs: N | int = 1
    copies: N | int = 1
    active: N | int = 1
    use: Literal["matmul", "convolution", "elementwise", "lookup"] = "matmul"
    """What a token does with it: a matrix product, a depthwise convolution, an elementwise operation, a row read."""
    times: int = 1
    """How often a token does it with each active copy in one pass."""
    held: bool = True
    """False: an earlier layer's, used again, which is in no count of what there is."""

    @property
    def params(self) -> N | int:
        """Elements in all copies, of which an earlier layer's are none of this one's."""
        return self.copies * self.outputs * self.inputs * self.held

    @property
    def active_params(self) -> N | int:
        """Elements that one token uses. An earlier layer's count again only where there is a choice among them, since
        it may fall on others than before."""
        return self.active * self.outputs * self.inputs * (self.held or bool(self.active < self.copies))

    @property
    def one(self) -> Weight[N]:
        """One copy, whoever holds it, as it is read."""
        return self._replace(copies=1, held=True)

    @property
    def products(self) -> N | int:
        """Multiply-adds of one token in one pass."""
        if self.use not in ("matmul", "convolution"):
            return 0 * self.outputs
        return self.times * self.active * self.outputs * self.inputs


def inventory(architecture: Countable[N], *, passed: bool = False) -> Iterator[tuple[N | int, Weight[N]]]:
    """Every weight with the number of layers that have it; `passed`: with how often a token comes to it."""
    for weight in outer_weights(architecture):
        yield 1, weight
    for times, layer in passed_layers(architecture) if passed else architecture.layer_runs():
        for weight in layer_weights(architecture, layer):
            yield times, weight


def vector(name: str, component: Component, length: N | int, copies: N | int = 1, active: N | int = 1) -> Weight[N]:
    """A norm weight, a bias or another elementwise parameter."""
    return Weight(name, component, length, 1, copies, active, "elementwise")


def layer_weights(architecture: Countable[N], layer: AnyLayer[N]) -> list[Weight[N]]:
    """All weights of one layer: the mixer's first, then the feed-forward's, then the rest."""
    d = architecture.hidden_size
    weights = part_weights(layer.mixer, d) + part_weights(layer.feed_forward, d)
    halves = sublayers(layer)
    weights += norm_weights("layer_norms", architecture.norm, d, _NORMS[layer.norms](halves))
    for rank in (layer.mixer_norm_gate, layer.feed_forward_norm_gate):
        if rank is not None:
            weights.append(Weight("norm_gate.down", "other", rank, d))
            weights.append(Weight("norm_gate.up", "other", d, rank))
    if architecture.residual_vectors:
        vectors = halves * architecture.residual_vectors
        weights.append(vector("residual_vectors", "other", d, vectors, vectors))
    if architecture.hyper_connections and not layer.one_residual:
        weights += halves * _hyper_connection(architecture.hyper_connections, architecture.mixes_streams, d)
    if architecture.per_layer_input is not None:
        weights += _per_layer_input(architecture.per_layer_input.size, architecture.norm, d)
    if architecture.attention_residuals:
        weights += _attention_residuals(architecture.norm, d, halves)
    if layer.shares_weights:
        weights = [weight._replace(held=False) for weight in weights]
    return weights + own_weights(layer.own_weights)


UNUSED = "identity_experts.unused"
"""The name of what only transformers' module keeps, and nothing uses."""
OWN = "own."
"""Begins the names of weights that only the family has."""


def own_weights(weights: Sequence[OwnWeight]) -> list[Weight[Any]]:
    """What only the family has."""
    return [
        Weight(
            OWN + own.name,
            own.component,
            own.outputs,
            own.inputs,
            own.copies,
            _used_copies(own),
            own.use,
            own.times,
        )
        for own in weights
    ]


def _used_copies(own: OwnWeight) -> int:
    if not own.times or own.use == "lookup":
        return 0
    return own.copies if own.active is None else own.active


_NORMS: dict[NormPlaces, Callable[[int], int]] = {
    "pre": lambda halves: halves,
    "post": lambda halves: halves,
    "sandwich": lambda halves: 2 * halves,
    "half_weighted_sandwich": lambda halves: 2 * halves - 1,
    "parallel": lambda halves: 1,
}
"""How many norms with weights a layer of so many halves has."""


def outer_weights(architecture: Countable[N]) -> list[Weight[N]]:
    """All weights outside the layers: embedding, final norm, head."""
    d, vocabulary = architecture.hidden_size, architecture.vocab_size
    weights: list[Weight[N]] = [Weight("embed_tokens", "embedding", vocabulary, d, use="lookup")]
    tied = architecture.tie_embeddings
    if tied is not True:
        rows = architecture.lm_head_rows or vocabulary
        weights.append(Weight("lm_head", "lm_head", (1 - tied) * rows, d))  # of many models some may have none
    if architecture.lm_head_bias:
        weights.append(vector("lm_head.bias", "lm_head", vocabulary))
    weights += norm_weights("final_norm", architecture.norm, d, 1)
    weights += merging_weights(architecture)
    if architecture.rope_frequencies:
        weights.append(vector("rope_frequencies", "other", architecture.rope_frequencies))
    if architecture.per_layer_input is not None:
        size = architecture.per_layer_input.size
        inputs = size * architecture.num_layers
        rows = architecture.per_layer_input.vocab_size
        weights.append(Weight("embed_tokens_per_layer", "embedding", rows, inputs, use="lookup"))
        weights.append(Weight("per_layer_input.model_projection", "other", inputs, d))
        weights.append(vector("per_layer_input.model_norm", "norm", size))
    return weights + own_weights(architecture.own_weights)


def merging_weights(architecture: Countable[N]) -> list[Weight[N]]:
    """What makes one hidden state of several before a final norm: of residual streams, or of earlier blocks."""
    d, streams = architecture.hidden_size, architecture.hyper_connections
    weights: list[Weight[N]] = []
    if streams and architecture.merges_streams:
        weights.append(Weight("hc_head.fn", "other", streams, streams * d))
        weights.append(vector("hc_head.base_scale", "other", streams + 1))
    if architecture.attention_residuals:
        weights += _attention_residuals(architecture.norm, d, 1)
    return weights


def norm_weights(name: str, norm: Norm, d: N, count: int) -> list[Weight[N]]:
    """`count` norms over d channels."""
    return [vector(name, "norm", d * (2 if norm.bias else 1), count, count)]


def _hyper_connection(streams: int, mixes: bool, d: N) -> list[Weight[N]]:
    # One weighing of `streams` residuals before and after a sublayer, and where they are mixed, among themselves.
    weights = (2 + streams if mixes else 2) * streams
    scales = 3 if mixes else 2
    return [Weight("hc.fn", "other", weights, streams * d), vector("hc.base_scale", "other", weights + scales)]


def _per_layer_input(size: int, norm: Norm, d: N) -> list[Weight[N]]:
    weights: list[Weight[N]] = [
        Weight("per_layer_input.gate", "other", size, d),
        Weight("per_layer_input.projection", "other", d, size),
    ]
    return weights + norm_weights("per_layer_input.norm", norm, d, 1)


def _attention_residuals(norm: Norm, d: N, reads: int) -> list[Weight[N]]:
    # Each read weighs the states before it by a query of d channels against their norms.
    weights = norm_weights("residual_norms", norm, d, reads)
    weights.append(vector("residual_queries", "other", d, reads, reads))
    return weights


def part_weights(part: AnyMixer[N] | AnyDense[N] | AnyMoE[N] | NoFeedForward, d: N) -> list[Weight[N]]:
    """The weights of a mixer or feed-forward in a model of width d."""
    weights: list[Weight[N]] = _part_weights(part, d)
    return weights


@singledispatch
def _part_weights(part: Record, d: Any) -> list[Weight[Any]]:
    raise NotImplementedError(type(part).__name__)


@_part_weights.register(NoMixer)
@_part_weights.register(NoFeedForward)
def _nothing(part: NoMixer | NoFeedForward, d: int) -> list[Weight[int]]:
    return []


@_part_weights.register(AnyAttention)
def _attention(mixer: AnyAttention[N], d: N) -> list[Weight[N]]:
    queries, keys = mixer.num_heads * mixer.head_dim, mixer.num_kv_heads * mixer.head_dim
    values, own = mixer.num_kv_heads * mixer.value_channels, mixer.key_values != "earlier_layer"
    weights: list[Weight[N]] = []
    width = d
    if mixer.reads_embedding:  # beside the layer's input, with a norm over both
        d = 2 * d
    if mixer.q_rank is None:
        weights.append(Weight("q_proj", "attention", queries, d))
    else:
        weights.append(Weight("q_a_proj", "attention", mixer.q_rank, d))
        weights.append(vector("q_a_norm", "attention", mixer.q_rank))
        weights.append(Weight("q_b_proj", "attention", queries, mixer.q_rank))
    if own:
        weights.append(Weight("k_proj", "attention", keys, d))
    if mixer.key_values == "own":
        weights.append(Weight("v_proj", "attention", values, d))
    weights.append(Weight("o_proj", "attention", width, mixer.num_heads * mixer.value_channels))
    if mixer.qkv_bias:
        biases = total((weight.outputs for weight in weights[:-1]), 0 * queries)
        weights.append(vector("qkv_bias", "attention", biases))
    if mixer.output_bias:
        weights.append(vector("o_bias", "attention", width))
    if mixer.qk_norm == "per_head":
        weights.append(vector("qk_norm", "attention", mixer.head_dim * (2 if own else 1)))
    elif mixer.qk_norm == "full":
        weights.append(vector("qk_norm", "attention", queries + keys if own else queries))
    if mixer.indexer is not None:
        weights += _block_indexer(mixer.indexer, d)
    if mixer.output_gate is not None:
        gate = _output_gate(mixer.output_gate, mixer.num_heads, mixer.value_channels, d)
        weights.append(gate)
        if mixer.output_gate_bias:
            entries = mixer.num_heads if mixer.output_gate_bias == "per_head" else gate.outputs
            weights.append(vector("g_bias", "attention", entries))
    if mixer.sinks:
        weights.append(vector("sinks", "attention", mixer.num_heads))
    if mixer.dynamic_mask is not None:
        weights.append(Weight("dt_proj", "attention", mixer.num_kv_heads, values))
        weights.append(vector("dt_scale", "attention", mixer.num_kv_heads * (2 if mixer.qkv_bias else 1)))
    if mixer.reads_embedding:
        weights.append(vector("embedding_norm", "norm", width))
    return weights


def _block_indexer(indexer: BlockIndexer, d: N) -> list[Weight[N]]:
    return [
        Weight("indexer.q_proj", "attention", indexer.num_heads * indexer.head_dim, d),
        Weight("indexer.k_proj", "attention", indexer.head_dim, d),
        vector("indexer.qk_norm", "attention", 2 * indexer.head_dim),
    ]


def _output_gate(kind: Literal["per_channel", "per_head"], heads: N, head_dim: N, d: N) -> Weight[N]:
    return Weight("g_proj", "attention", heads * head_dim if kind == "per_channel" else heads, d)


@_part_weights.register(DifferentialAttention)
def _differential_attention(mixer: DifferentialAttention, d: int) -> list[Weight[int]]:
    queries, keys = mixer.num_heads * mixer.head_dim, mixer.num_kv_heads * mixer.head_dim
    weights = [
        Weight("q_proj", "attention", queries, d),
        Weight("k_proj", "attention", keys, d),
        Weight("v_proj", "attention", keys, d),
        Weight("o_proj", "attention", d, (mixer.num_heads - mixer.num_noise_heads) * mixer.value_channels),
        vector("lambdas", "attention", 4 * mixer.head_dim),
    ]
    if mixer.bias:
        weights.append(vector("biases", "attention", queries + 2 * keys + d))
    if mixer.output_norm:
        weights.append(vector("output_norm", "attention", mixer.value_channels))
    return weights


@_part_weights.register(ParallelMixers)
def _parallel_mixers(mixer: ParallelMixers, d: int) -> list[Weight[int]]:
    return part_weights(mixer.attention, d) + part_weights(mixer.state_space, d)


@_part_weights.register(AnyLatentAttention)
def _latent_attention(mixer: AnyLatentAttention[Any], d: Any) -> list[Weight[Any]]:
    latent, rope = mixer.kv_lora_rank, mixer.qk_rope_head_dim
    heads = mixer.num_heads
    queries = heads * (mixer.qk_nope_head_dim + rope)
    values = (heads - mixer.num_noise_heads) * mixer.v_head_dim
    down: list[Weight[Any]] = []
    if mixer.key_values == "own":
        down = [Weight("kv_a_proj", "attention", latent + rope, d), vector("kv_a_norm", "attention", latent)]
    weights: list[Weight[Any]] = [
        *down,
        Weight("kv_b_proj", "attention", mixer.kv_heads * (mixer.qk_nope_head_dim + mixer.v_head_dim), latent),
        Weight("o_proj", "attention", d, values),
    ]
    if mixer.q_lora_rank is None:
        weights.append(Weight("q_proj", "attention", queries, d))
    else:
        weights.append(Weight("q_a_proj", "attention", mixer.q_lora_rank, d))
        weights.append(vector("q_a_norm", "attention", mixer.q_lora_rank))
        if mixer.gate_from_query:
            weights.append(Weight("q_b_proj", "attention", queries + values, 2 * mixer.q_lora_rank))
        else:
            weights.append(Weight("q_b_proj", "attention", queries, mixer.q_lora_rank))
    if mixer.bias:
        query_bias = 0 if mixer.q_lora_rank is None else mixer.q_lora_rank
        latent_bias = latent + rope if mixer.key_values == "own" else 0
        weights.append(vector("biases", "attention", query_bias + latent_bias + d))
    if mixer.position_scaling:
        weights.append(vector("position_scaling", "attention", 2 * heads))
    if mixer.output_gate is not None:
        weights.append(_output_gate(mixer.output_gate, heads, mixer.v_head_dim, d))
    if mixer.rope_key_norm:
        weights.append(vector("rope_key_norm", "attention", rope))
    if mixer.sinks:
        weights.append(vector("sinks", "attention", heads))
    if mixer.indexer is not None and not mixer.indexer.shared:
        weights += _token_indexer(mixer.indexer, mixer, d)
    return weights


def _token_indexer(indexer: Indexer, mixer: AnyLatentAttention[Any], d: Any) -> list[Weight[Any]]:
    from_latent = mixer.q_lora_rank if indexer.query_input == "latent" else None
    weights = _indexer(indexer, d if from_latent is None else from_latent, d)
    weights.append(Weight("indexer.k_proj", "attention", indexer.head_dim, d))
    weights.append(vector("indexer.k_norm", "attention", 2 * indexer.head_dim))  # LayerNorm with bias
    if indexer.query_input == "layer_input":
        weights.append(vector("indexer.q_input_norm", "attention", 2 * d))  # another
    if mixer.position_scaling:
        weights.append(vector("indexer.position_scaling", "attention", 2 * indexer.num_heads))
    if indexer.pool is not None:
        weights.append(Weight("indexer.pool_gate", "attention", indexer.head_dim, d))
        weights.append(vector("indexer.pool_positions", "attention", indexer.pool * indexer.head_dim))
    return weights


def _indexer(indexer: Indexer, query_rank: int, d: Any) -> list[Weight[Any]]:
    return [
        Weight("indexer.q_proj", "attention", indexer.num_heads * indexer.head_dim, query_rank),
        Weight("indexer.head_weights", "attention", indexer.num_heads, d),
    ]


@_part_weights.register(CompressedAttention)
def _compressed_attention(mixer: CompressedAttention, d: int) -> list[Weight[int]]:
    queries = mixer.num_heads * mixer.head_dim
    groups, rank = mixer.output_groups, mixer.output_lora_rank
    weights = [
        Weight("q_a_proj", "attention", mixer.q_lora_rank, d),
        vector("q_a_norm", "attention", mixer.q_lora_rank),
        Weight("q_b_proj", "attention", queries, mixer.q_lora_rank),
        Weight("kv_proj", "attention", mixer.head_dim, d),
        vector("kv_norm", "attention", mixer.head_dim),
        Weight("o_a_proj", "attention", rank, queries // groups, copies=groups, active=groups),
        Weight("o_b_proj", "attention", d, groups * rank),
        vector("sinks", "attention", mixer.num_heads),
    ]
    if mixer.compress_rate is not None:
        weights += _compressor(mixer.head_dim, mixer.compress_rate, mixer.overlap, d)
        if mixer.indexer is not None:
            weights += _indexer(mixer.indexer, mixer.q_lora_rank, d)
            weights += _compressor(mixer.indexer.head_dim, mixer.compress_rate, mixer.overlap, d)
    return weights


def _compressor(head_dim: int, rate: int, overlap: bool, d: int) -> list[Weight[int]]:
    width = head_dim * (2 if overlap else 1)
    return [
        Weight("compressor.kv_proj", "attention", width, d),
        Weight("compressor.gate_proj", "attention", width, d),
        vector("compressor.position_bias", "attention", rate * width),
        vector("compressor.kv_norm", "attention", head_dim),
    ]


@_part_weights.register(MixtureOfAttention)
def _mixture_of_attention(mixer: MixtureOfAttention, d: int) -> list[Weight[int]]:
    width = mixer.num_kv_heads * mixer.head_dim
    experts, chosen = mixer.num_experts, mixer.top_k
    return [
        Weight("query_experts", "attention", width, d, experts, chosen),
        Weight("output_experts", "attention", d, width, experts, chosen),
        Weight("kv_proj", "attention", 2 * width, d),
        vector("output_bias", "attention", d),
        Weight("query_router", "router", experts, d),
    ]


@_part_weights.register(AnyGatedDeltaNet)
def _gated_delta_net(mixer: AnyGatedDeltaNet[N], d: N) -> list[Weight[N]]:
    keys = mixer.num_key_heads * mixer.key_head_dim
    heads, values = mixer.num_value_heads, mixer.num_value_heads * mixer.value_head_dim
    return [
        Weight("in_proj_qkvz", "linear_mixer", 2 * keys + 2 * values, d),
        Weight("in_proj_ba", "linear_mixer", 2 * heads, d),
        Weight("conv1d", "linear_mixer", 2 * keys + values, mixer.conv_kernel, use="convolution"),
        vector("dt_bias_and_A", "linear_mixer", 2 * heads),
        vector("norm", "linear_mixer", mixer.value_head_dim),
        Weight("out_proj", "linear_mixer", d, values),
    ]


@_part_weights.register(KimiDeltaAttention)
def _kimi_delta_attention(mixer: KimiDeltaAttention, d: int) -> list[Weight[int]]:
    width, rank = mixer.num_heads * mixer.head_dim, mixer.gate_rank
    gates = _kda_gate("f", width, rank, d)
    gates += _kda_gate("g", width, None if mixer.full_output_gate else rank, d)
    return [
        Weight("q_proj", "linear_mixer", width, d),
        Weight("k_proj", "linear_mixer", width, d),
        Weight("v_proj", "linear_mixer", width, d),
        Weight("conv1d", "linear_mixer", 3 * width, mixer.conv_kernel, use="convolution"),
        *gates,
        Weight("b_proj", "linear_mixer", mixer.num_heads, d),
        vector("A", "linear_mixer", mixer.num_heads if mixer.decay_entries == "heads" else mixer.head_dim),
        vector("dt_bias", "linear_mixer", width),
        vector("o_norm", "linear_mixer", mixer.head_dim),
        Weight("o_proj", "linear_mixer", d, width),
    ]


def _kda_gate(name: str, width: int, rank: int | None, d: int) -> list[Weight[int]]:
    if rank is None:
        return [Weight(f"{name}_proj", "linear_mixer", width, d)]
    return [Weight(f"{name}_a_proj", "linear_mixer", rank, d), Weight(f"{name}_b_proj", "linear_mixer", width, rank)]


@_part_weights.register(LightningAttention)
def _lightning_attention(mixer: LightningAttention, d: int) -> list[Weight[int]]:
    width = mixer.num_heads * mixer.head_dim
    return [
        Weight("qkv_proj", "linear_mixer", 3 * width, d),
        Weight("output_gate", "linear_mixer", width, d),
        vector("norm", "linear_mixer", width),
        Weight("out_proj", "linear_mixer", d, width),
    ]


@_part_weights.register(Mamba)
def _mamba(mixer: Mamba, d: int) -> list[Weight[int]]:
    inner, state, rank = mixer.inner_size, mixer.state_size, mixer.time_step_rank
    weights = [
        Weight("in_proj", "linear_mixer", 2 * inner, d),
        Weight("conv1d", "linear_mixer", inner, mixer.conv_kernel, use="convolution"),
        Weight("x_proj", "linear_mixer", rank + 2 * state, inner),
        Weight("dt_proj", "linear_mixer", inner, rank),
        vector("dt_bias", "linear_mixer", inner),
        vector("A", "linear_mixer", inner * state),
        vector("D", "linear_mixer", inner),
        Weight("out_proj", "linear_mixer", d, inner),
    ]
    if mixer.conv_bias:
        weights.append(vector("conv_bias", "linear_mixer", inner))
    if mixer.projection_bias:
        weights.append(vector("projection_bias", "linear_mixer", 2 * inner + d))
    if mixer.inner_norms:
        weights.append(vector("inner_norms", "linear_mixer", rank + 2 * state))
    return weights


@_part_weights.register(Mamba2)
def _mamba2(mixer: Mamba2, d: int) -> list[Weight[int]]:
    heads, inner = mixer.num_heads, mixer.num_heads * mixer.head_dim
    convolved = inner + 2 * mixer.num_groups * mixer.state_size
    weights = [
        Weight("in_proj", "linear_mixer", inner + convolved + heads, d),
        Weight("conv1d", "linear_mixer", convolved, mixer.conv_kernel, use="convolution"),
        vector("dt_bias_A_and_D", "linear_mixer", 3 * heads),
        Weight("out_proj", "linear_mixer", d, inner),
    ]
    if mixer.norm:
        weights.append(vector("norm", "linear_mixer", inner))
    if mixer.conv_bias:
        weights.append(vector("conv_bias", "linear_mixer", convolved))
    if mixer.projection_bias in (True, "input"):
        weights.append(vector("in_proj.bias", "linear_mixer", inner + convolved + heads))
    if mixer.projection_bias in (True, "output"):
        weights.append(vector("out_proj.bias", "linear_mixer", d))
    return weights


@_part_weights.register(GroupedMamba)
def _grouped_mamba(mixer: GroupedMamba, d: int) -> list[Weight[int]]:
    inner, grouped, rank = mixer.inner_size, mixer.grouped_size, mixer.time_step_rank
    convolved = mixer.convolved_size
    weights = [
        Weight("in_proj", "linear_mixer", 2 * inner + 2 * grouped, d),
        Weight("conv1d", "linear_mixer", convolved, mixer.conv_kernel, use="convolution"),
        Weight("dt_in_proj", "linear_mixer", rank, d),
        Weight("dt_proj", "linear_mixer", inner, rank),
        vector("A", "linear_mixer", inner * mixer.state_size),
        vector("D", "linear_mixer", inner),
        Weight("out_proj", "linear_mixer", d, inner),
    ]
    if mixer.conv_bias:
        weights.append(vector("conv_bias", "linear_mixer", convolved))
    if mixer.time_step_bias:
        weights.append(vector("dt_bias", "linear_mixer", inner))
    if mixer.projection_bias:
        weights.append(vector("projection_bias", "linear_mixer", 2 * inner + 2 * grouped + rank + d))
    return weights


@_part_weights.register(ShortConvolution)
def _short_convolution(mixer: ShortConvolution, d: int) -> list[Weight[int]]:
    weights = [
        Weight("in_proj", "linear_mixer", 3 * d, d),
        Weight("conv", "linear_mixer", d, mixer.kernel, use="convolution"),
        Weight("out_proj", "linear_mixer", d, d),
    ]
    if mixer.bias:
        weights.append(vector("biases", "linear_mixer", 5 * d))
    return weights


@_part_weights.register(AnyDense)
def _dense(feed_forward: AnyDense[N], d: N) -> list[Weight[N]]:
    weights = _feed_forward_matrices("", "dense_ffn", feed_forward.size, d, feed_forward.gated)
    if feed_forward.bias:
        inner = feed_forward.size * (2 if feed_forward.gated else 1)
        weights.append(vector("biases", "dense_ffn", inner + d))
    return weights


def _feed_forward_matrices(
    prefix: str, component: Component, size: N, d: N, gated: bool, copies: N | int = 1, active: N | int = 1
) -> list[Weight[N]]:
    up = ["gate_proj", "up_proj"] if gated else ["up_proj"]
    weights: list[Weight[N]] = [Weight(prefix + name, component, size, d, copies, active) for name in up]
    weights.append(Weight(prefix + "down_proj", component, d, size, copies, active))
    return weights


@_part_weights.register(AnyMoE)
def _moe(moe: AnyMoE[N], d: N) -> list[Weight[N]]:
    weights: list[Weight[N]] = []
    choices = moe.num_experts + moe.identity_experts + moe.router.skip_choices
    if moe.shared is not None and moe.shared.combine == "scored":
        choices = choices + moe.shared.count
    keyed = moe.router.kind == "product_keys"
    scored = _product_keys(moe.num_experts) if keyed else choices
    weights.append(Weight("router", "router", scored, moe.router.input_size or d))
    if moe.router.bias:
        weights.append(vector("router.bias", "router", choices))
    if moe.router.selection_bias == "parameter":
        weights.append(vector("router.selection_bias", "router", choices))
    if moe.router.input_scale:
        weights.append(vector("router.input_scale", "router", d))
    if moe.router.expert_scale:
        weights.append(vector("router.expert_scale", "router", choices))
    inner_per_size = 2 if moe.gated else 1
    width = routed_width(moe, d)
    if moe.latent_size is not None:
        weights += _latent_projections(moe, moe.latent_size, d)
    for group in moe.groups:
        experts = _feed_forward_matrices(
            "experts.", "routed_experts", group.expert_size, width, moe.gated, group.count, group.top_k
        )
        if moe.expert_bias:
            biases = inner_per_size * group.expert_size + width
            experts.append(vector("experts.biases", "routed_experts", biases, group.count, group.top_k))
        own = moe.experts == "own"
        weights += experts if own else [weight._replace(held=False) for weight in experts]
    if moe.image_group is not None:
        weights += _image_experts(moe, moe.image_group, d)
    if moe.identity_input_weights:
        unused = inner_per_size * moe.groups[0].expert_size
        weights.append(Weight(UNUSED, "other", unused, d, moe.identity_experts, active=0))
    if moe.output_bias:
        weights.append(vector("experts.output_bias", "routed_experts", d))
    if moe.shared is not None:
        size = moe.shared.count * moe.shared.expert_size
        weights += _feed_forward_matrices("shared.", "shared_experts", size, d, moe.gated)
        if moe.shared.bias:
            weights.append(vector("shared.biases", "shared_experts", inner_per_size * size + d))
        if moe.shared.combine == "gated":
            weights.append(Weight("shared.gate", "shared_experts", 1, d))
    if moe.parallel_dense is not None:
        weights += part_weights(moe.parallel_dense, d)
    norms = (3 if moe.branch_norms else 0) + (1 if moe.output_norm else 0)
    if norms:
        weights.append(vector("experts.norms", "norm", d, norms, norms))
    if moe.expert_output_norm:
        weights.append(vector("experts.each_norm", "norm", width))
    return weights


def _product_keys(experts: Any) -> int:
    # Rows and columns of a square of experts; no design space has such a router, so `experts` is a number.
    return 2 * math.isqrt(experts)


def _image_experts(moe: AnyMoE[N], group: AnyExpertGroup[N], d: N) -> list[Weight[N]]:
    weights = _feed_forward_matrices("image_experts.", "other", group.expert_size, d, moe.gated, group.count, active=0)
    weights.append(Weight("image_router", "other", group.count, d, active=0))
    if moe.router.selection_bias == "parameter":
        weights.append(vector("image_router.selection_bias", "other", group.count, active=0))
    return weights


def _latent_projections(moe: AnyMoE[N], latent: N, d: N) -> list[Weight[N]]:
    # Shared by all routed experts, and empty where a column's entry has none.
    weights: list[Weight[N]] = [
        Weight("latent_down", "latent_projections", latent, d),
        Weight("latent_up", "latent_projections", d, latent),
    ]
    if moe.latent_norm:
        weights.append(vector("latent_norm", "latent_projections", latent))
    if moe.latent_bias:
        weights.append(vector("latent_biases", "latent_projections", latent + d))
    return weights
