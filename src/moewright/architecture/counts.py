"""How many parameters an architecture has, and how many FLOPs a token costs.

Everything here sums the inventory of `weights.py`. Conventions:

- total: every parameter; tied embeddings once; multi-token-prediction blocks apart (`mtp_params`).
- active: parameters that one token multiplies with; of routed experts its top_k. The input embedding, of which a token
  reads one row, is included unless said otherwise, as in most published figures.
- FLOPs: 2 per multiply-add; matrix products, depthwise convolutions, attention scores and values and the state products
  of linear mixers. Norms, softmax, activations, rotary embedding and the router's selection are left out.
"""

from collections.abc import Iterable, Iterator
from functools import singledispatch

from moewright.architecture.context import compressed_entries, mean_context
from moewright.architecture.mixers import (
    Attention,
    CompressedAttention,
    GatedDeltaNet,
    KimiDeltaAttention,
    LatentAttention,
    LightningAttention,
    Mamba,
    Mamba2,
    MixtureOfAttention,
    ShortConvolution,
)
from moewright.architecture.spec import Architecture, Layer
from moewright.architecture.weights import (
    COMPONENTS,
    Component,
    Weight,
    layer_weights,
    norm_weights,
    outer_weights,
    part_weights,
)
from moewright.records import Record

FLOPS_CONVENTION = (
    "2 per multiply-add; head in, input embedding out; causal attention at the stated length; training = 3 x forward"
)
BACKWARD_FACTOR = 2  # a matrix product's backward pass is two products of the same size (Kaplan 2020, section 2.1)


def inventory(architecture: Architecture) -> Iterator[tuple[int, Weight]]:
    """Every weight with the number of layers that have it."""
    for weight in outer_weights(architecture):
        yield 1, weight
    for times, layer in architecture.layer_runs():
        for weight in _layer_weights(architecture, layer):
            yield times, weight


def params(architecture: Architecture) -> dict[Component, int]:
    """Parameters by component."""
    return _by_component((weight.component, times * weight.params) for times, weight in inventory(architecture))


def total_params(architecture: Architecture) -> int:
    """N: every parameter."""
    return sum(times * weight.params for times, weight in inventory(architecture))


def total_params_non_embedding(architecture: Architecture) -> int:
    """N less the input embedding and the head."""
    counts = params(architecture)
    return sum(counts.values()) - counts["embedding"] - counts["lm_head"]


def active(architecture: Architecture, count_embedding: bool = True) -> dict[Component, int]:
    """Active parameters by component.

    `count_embedding` False leaves out the input embedding, unless it is tied: then it is multiplied with as the head,
    and counted once, under embedding.
    """
    counts_embedding = count_embedding or architecture.tie_embeddings
    return _by_component(
        (weight.component, times * weight.active_params)
        for times, weight in inventory(architecture)
        if weight.use != "lookup" or counts_embedding
    )


def active_params(architecture: Architecture, count_embedding: bool = True) -> int:
    """N_a: parameters that one token multiplies with; see `active`."""
    return sum(active(architecture, count_embedding).values())


def active_params_non_embedding(architecture: Architecture) -> int:
    """N_a less the input embedding and the head."""
    counts = active(architecture)
    return sum(counts.values()) - counts["embedding"] - counts["lm_head"]


def mtp_params(architecture: Architecture) -> int:
    """Parameters of the multi-token-prediction blocks, embedding and head shared with the model.

    Each block is one more layer like the last, a projection of two hidden states to one, and three norms
    (DeepSeek-V3, arXiv 2412.19437, section 2.2).
    """
    if not architecture.mtp_layers:
        return 0
    d = architecture.hidden_size
    *_, (_, last) = architecture.layer_runs()
    block = _layer_weights(architecture, last)
    block += [Weight("eh_proj", "other", d, 2 * d), *norm_weights("mtp_norms", architecture.norm, d, 3)]
    return architecture.mtp_layers * sum(weight.params for weight in block)


def matmul_flops_per_token(architecture: Architecture) -> int:
    """FLOPs of all products with weight matrices for one token, forward."""
    products = sum(times * weight.active_params for times, weight in inventory(architecture) if weight.use == "matmul")
    return 2 * (products + _tied_head(architecture))


def mixing_flops_per_token(architecture: Architecture, tokens_per_sequence: int) -> float:
    """FLOPs between tokens (scores and values, states) for one token, forward, on average over a causal sequence."""
    return sum(times * mixing_flops(layer.mixer, tokens_per_sequence) for times, layer in architecture.layer_runs())


def forward_flops(architecture: Architecture, tokens_per_sequence: int) -> dict[Component, float]:
    """FLOPs of a forward pass over one token by component, on average over a causal sequence of the given length."""
    flops: dict[Component, float] = dict.fromkeys(COMPONENTS, 0.0)
    for times, weight in inventory(architecture):
        if weight.use in ("matmul", "convolution"):
            flops[weight.component] += 2 * times * weight.active_params
    flops["lm_head"] += 2 * _tied_head(architecture)
    for times, layer in architecture.layer_runs():
        flops[_component(layer, architecture)] += times * mixing_flops(layer.mixer, tokens_per_sequence)
    return flops


def forward_flops_per_token(architecture: Architecture, tokens_per_sequence: int) -> float:
    """FLOPs of a forward pass over one token of a sequence of the given length, on average."""
    return sum(forward_flops(architecture, tokens_per_sequence).values())


def layer_forward_flops(architecture: Architecture, layer: Layer, tokens_per_sequence: int) -> float:
    """FLOPs of one layer's forward pass over one token, on average over a causal sequence of the given length."""
    weights = _layer_weights(architecture, layer)
    products = sum(weight.active_params for weight in weights if weight.use in ("matmul", "convolution"))
    return 2 * products + mixing_flops(layer.mixer, tokens_per_sequence)


def layer_params(architecture: Architecture, layer: Layer) -> dict[Component, int]:
    """One layer's parameters by component."""
    return _by_component((weight.component, weight.params) for weight in _layer_weights(architecture, layer))


def layer_active(architecture: Architecture, layer: Layer) -> dict[Component, int]:
    """One layer's active parameters by component."""
    return _by_component((weight.component, weight.active_params) for weight in _layer_weights(architecture, layer))


def _layer_weights(architecture: Architecture, layer: Layer) -> list[Weight]:
    return layer_weights(layer, architecture.hidden_size, architecture.norm, architecture.hyper_connections)


def _by_component(counts: Iterable[tuple[Component, int]]) -> dict[Component, int]:
    sums: dict[Component, int] = dict.fromkeys(COMPONENTS, 0)
    for component, count in counts:
        sums[component] += count
    return sums


def _tied_head(architecture: Architecture) -> int:
    # A tied head multiplies with the embedding, and has no weight of its own in the inventory.
    return architecture.vocab_size * architecture.hidden_size if architecture.tie_embeddings else 0


def _component(layer: Layer, architecture: Architecture) -> Component:
    return part_weights(layer.mixer, architecture.hidden_size)[0].component


def training_flops_per_token(architecture: Architecture, tokens_per_sequence: int) -> float:
    """FLOPs of a forward and backward pass over one token; recomputed activations are not counted."""
    return (1 + BACKWARD_FACTOR) * forward_flops_per_token(architecture, tokens_per_sequence)


def six_n_flops_per_token(architecture: Architecture, count_embedding: bool = True) -> int:
    """The usual estimate of training FLOPs, 6 N_a, attention left out (Kaplan 2020)."""
    return 6 * active_params(architecture, count_embedding)


@singledispatch
def mixing_flops(mixer: Record, tokens: int) -> float:
    """FLOPs per token that a mixer spends on other tokens, forward, on average over a causal sequence.

    Linear mixers are counted in their recurrent form: the products with the state only, 2 per multiply-add. Chunked
    kernels spend more.
    """
    raise NotImplementedError(type(mixer).__name__)


@mixing_flops.register
def _attention(mixer: Attention, tokens: int) -> float:
    return 4 * mixer.num_heads * mixer.head_dim * mean_context(tokens, mixer.window)


@mixing_flops.register
def _latent_attention(mixer: LatentAttention, tokens: int) -> float:
    # Decompressed heads, as in training and prefill.
    width = mixer.num_heads * (mixer.qk_nope_head_dim + mixer.qk_rope_head_dim + mixer.v_head_dim)
    indexer = mixer.indexer
    if indexer is None:
        return 2 * width * mean_context(tokens, mixer.window)
    scoring = 0 if indexer.shared else 2 * indexer.num_heads * indexer.head_dim
    return 2 * width * mean_context(tokens, indexer.top_k) + scoring * mean_context(tokens, None)


@mixing_flops.register
def _compressed_attention(mixer: CompressedAttention, tokens: int) -> float:
    width = mixer.num_heads * mixer.head_dim
    context = mean_context(tokens, mixer.window)
    scoring = 0.0
    if mixer.compress_rate is not None:
        indexer = mixer.indexer
        context += compressed_entries(tokens, mixer.compress_rate, indexer.top_k if indexer else None)
        if indexer is not None:
            entries = compressed_entries(tokens, mixer.compress_rate, None)
            scoring = 2 * indexer.num_heads * indexer.head_dim * entries
    return 4 * width * context + scoring


@mixing_flops.register
def _mixture_of_attention(mixer: MixtureOfAttention, tokens: int) -> float:
    return 4 * mixer.top_k * mixer.num_kv_heads * mixer.head_dim * mean_context(tokens, None)


@mixing_flops.register
def _gated_delta_net(mixer: GatedDeltaNet, tokens: int) -> float:
    # Three products with the state: what it predicts for the key, the update, the read-out.
    return 6 * mixer.num_value_heads * mixer.key_head_dim * mixer.value_head_dim


@mixing_flops.register
def _kimi_delta_attention(mixer: KimiDeltaAttention, tokens: int) -> float:
    return 6 * mixer.num_heads * mixer.head_dim * mixer.head_dim


@mixing_flops.register
def _lightning_attention(mixer: LightningAttention, tokens: int) -> float:
    return 4 * mixer.num_heads * mixer.head_dim * mixer.head_dim  # update and read-out


@mixing_flops.register
def _mamba(mixer: Mamba, tokens: int) -> float:
    return 4 * mixer.inner_size * mixer.state_size


@mixing_flops.register
def _mamba2(mixer: Mamba2, tokens: int) -> float:
    return 4 * mixer.num_heads * mixer.head_dim * mixer.state_size


@mixing_flops.register
def _short_convolution(mixer: ShortConvolution, tokens: int) -> float:
    return 0.0
