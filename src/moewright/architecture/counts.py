"""How many parameters an architecture has, and how many FLOPs a token costs.

Everything here sums the inventory of `inventory.py`. Conventions:

- total: every parameter; tied embeddings once; multi-token-prediction blocks apart (`mtp_params`).
- active: parameters that one token multiplies with; of routed experts its top_k. The input embedding, of which a token
  reads one row, is included unless said otherwise, as in most published figures.
- FLOPs: 2 per multiply-add; matrix products, depthwise convolutions, attention scores and values and the state products
  of linear mixers. Norms, softmax, activations, rotary embedding and the router's selection are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any, overload

from moewright.architecture.inventory import (
    COMPONENTS,
    Component,
    Weight,
    inventory,
    layer_weights,
    merging_weights,
    norm_weights,
    part_weights,
)
from moewright.architecture.mixers import (
    AnyAttention,
    AnyGatedDeltaNet,
    AnyLatentAttention,
    AnyMixer,
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
    Window,
)
from moewright.architecture.sizes import F, N, total
from moewright.architecture.spec import AnyLayer, Architecture, Countable, Layer, passed_layers
from moewright.records import Record

FLOPS_CONVENTION = (
    "2 per multiply-add; head in, input embedding out; causal attention at the stated length; training = 3 x forward"
)
BACKWARD_FACTOR = 2  # a matrix product's backward pass is two products of the same size (Kaplan 2020, section 2.1)
DEFAULT_TOKENS_PER_SEQUENCE = 4096
"""Long enough that attention shows in the FLOPs, and what most pretraining runs use."""


def usual_sequence(*architectures: Architecture) -> int:
    """Tokens of a sequence where none are given: DEFAULT_TOKENS_PER_SEQUENCE, or fewer where a model takes fewer."""
    return min(DEFAULT_TOKENS_PER_SEQUENCE, *(a.max_context or DEFAULT_TOKENS_PER_SEQUENCE for a in architectures))


# Parameters


def params(architecture: Countable[N]) -> dict[Component, N]:
    """Parameters by component."""
    return _by_component(
        ((weight.component, times * weight.params) for times, weight in inventory(architecture)), _none(architecture)
    )


def total_params(architecture: Countable[N]) -> N:
    """N: every parameter.

    >>> from moewright.hf import load_architecture
    >>> total_params(load_architecture("examples/configs/deepseek-v3.json").architecture)
    671026404352
    """
    return total((times * weight.params for times, weight in inventory(architecture)), _none(architecture))


def total_params_non_embedding(architecture: Countable[N]) -> N:
    """N less the input embedding and the head."""
    counts = params(architecture)
    return total(counts.values(), _none(architecture)) - counts["embedding"] - counts["lm_head"]


def active(architecture: Countable[N], count_embedding: bool = True) -> dict[Component, N]:
    """Active parameters by component.

    `count_embedding` False leaves out the input embedding, unless it is tied: then it is multiplied with as the head,
    and counted once, under embedding.
    """
    counts_embedding = count_embedding or architecture.tie_embeddings
    counted = (
        (weight.component, times * weight.active_params)
        for times, weight in inventory(architecture)
        if weight.use != "lookup" or counts_embedding
    )
    return _by_component(counted, _none(architecture))


def active_params(architecture: Countable[N], count_embedding: bool = True) -> N:
    """N_a: parameters that one token multiplies with; see `active`.

    >>> from moewright.hf import load_architecture
    >>> deepseek = load_architecture("examples/configs/deepseek-v3.json").architecture
    >>> active_params(deepseek), active_params(deepseek, count_embedding=False)
    (37552282624, 36625603584)
    """
    return total(active(architecture, count_embedding).values(), _none(architecture))


def active_params_non_embedding(architecture: Countable[N]) -> N:
    """N_a less the input embedding and the head."""
    counts = active(architecture)
    return total(counts.values(), _none(architecture)) - counts["embedding"] - counts["lm_head"]


def mtp_params(architecture: Countable[N]) -> N:
    """Parameters of the multi-token-prediction blocks, embedding and head shared with the model."""
    one = total((weight.params for weight in mtp_weights(architecture)), _none(architecture))
    return architecture.mtp_layers * one


def mtp_weights(architecture: Countable[N]) -> list[Weight[N]]:
    """All weights of one multi-token-prediction block, embedding and head shared with the model; none if it has none.

    It is its layers (one like the model's last, unless it says otherwise), a projection of two hidden states to one,
    and norms, in most families three (DeepSeek-V3, arXiv 2412.19437, section 2.2); where the model merges several
    states before its head, so does the block (DeepSeek-V4).
    """
    if not architecture.mtp_layers:
        return []
    block = mtp_outer_weights(architecture)
    for layer in prediction_layers(architecture):
        block += layer_weights(architecture, layer)
    return block


def mtp_outer_weights(architecture: Countable[N]) -> list[Weight[N]]:
    """Of one multi-token-prediction block what is in none of its layers: norms and the projection."""
    d = architecture.hidden_size
    block = norm_weights("mtp_norms", architecture.norm, d, architecture.mtp_norms) + merging_weights(architecture)
    block.append(Weight("eh_proj", "other", d, 2 * d))
    return block


@overload
def prediction_layers(architecture: Architecture) -> Sequence[Layer]: ...


@overload
def prediction_layers(architecture: Countable[N]) -> Sequence[AnyLayer[N]]: ...


def prediction_layers(architecture: Countable[N]) -> Sequence[AnyLayer[N]]:
    """The layers of one multi-token-prediction block: one like the model's last, unless it says otherwise."""
    _, last = architecture.layer_runs()[-1]
    return architecture.mtp_block or (last,)


def layer_params(architecture: Countable[N], layer: AnyLayer[N]) -> dict[Component, N]:
    """One layer's parameters by component."""
    counted = ((weight.component, weight.params) for weight in layer_weights(architecture, layer))
    return _by_component(counted, _none(architecture))


def layer_active(architecture: Countable[N], layer: AnyLayer[N]) -> dict[Component, N]:
    """One layer's active parameters by component."""
    counted = ((weight.component, weight.active_params) for weight in layer_weights(architecture, layer))
    return _by_component(counted, _none(architecture))


def _none(architecture: Countable[N]) -> N:
    """No parameters, as a number or a column."""
    return 0 * architecture.hidden_size


def _by_component(counts: Iterable[tuple[Component, N | int]], none: N) -> dict[Component, N]:
    sums: dict[Component, N] = dict.fromkeys(COMPONENTS, none)
    for component, count in counts:
        sums[component] = sums[component] + count
    return sums


# FLOPs


def matmul_flops_per_token(architecture: Countable[N]) -> N:
    """FLOPs of all products with weight matrices for one token, forward."""
    products = (
        times * weight.products for times, weight in inventory(architecture, passed=True) if weight.use == "matmul"
    )
    return 2 * (total(products, _none(architecture)) + _tied_head(architecture))


def mixing_flops_per_token(architecture: Countable[F], tokens_per_sequence: int) -> F:
    """FLOPs between tokens (scores and values, states) for one token, forward, on average over a causal sequence."""
    return total(
        (times * mixing_flops(layer.mixer, tokens_per_sequence) for times, layer in passed_layers(architecture)),
        0.0 * architecture.hidden_size,
    )


def product_flops(architecture: Countable[F]) -> dict[Component, F]:
    """FLOPs of products and convolutions with weights for one token, forward, by component; a tied head left out."""
    flops: dict[Component, F] = dict.fromkeys(COMPONENTS, 0.0 * architecture.hidden_size)
    for times, weight in inventory(architecture, passed=True):
        flops[weight.component] = flops[weight.component] + 2 * times * weight.products
    return flops


def forward_flops(architecture: Countable[F], tokens_per_sequence: int) -> dict[Component, F]:
    """FLOPs of a forward pass over one token by component, on average over a causal sequence of the given length."""
    flops = product_flops(architecture)
    flops["lm_head"] = flops["lm_head"] + 2 * _tied_head(architecture)
    for times, layer in passed_layers(architecture):
        for weight in part_weights(layer.mixer, architecture.hidden_size)[:1]:  # none where the layer has no mixer
            mixing = times * mixing_flops(layer.mixer, tokens_per_sequence)
            flops[weight.component] = flops[weight.component] + mixing
    return flops


def forward_flops_per_token(architecture: Countable[F], tokens_per_sequence: int) -> F:
    """FLOPs of a forward pass over one token of a sequence of the given length, on average."""
    return total(forward_flops(architecture, tokens_per_sequence).values(), 0.0 * architecture.hidden_size)


def layer_forward_flops(architecture: Countable[F], layer: AnyLayer[F], tokens_per_sequence: int) -> F:
    """FLOPs of one layer's forward passes over one token, on average over a causal sequence of the given length."""
    products = (weight.products for weight in layer_weights(architecture, layer))
    once = 2 * total(products, 0 * architecture.hidden_size) + mixing_flops(layer.mixer, tokens_per_sequence)
    return layer.passes * once


def training_flops_per_token(architecture: Countable[F], tokens_per_sequence: int = DEFAULT_TOKENS_PER_SEQUENCE) -> F:
    """FLOPs of a forward and backward pass over one token; recomputed activations are not counted.

    >>> from moewright.hf import load_architecture
    >>> deepseek = load_architecture("examples/configs/deepseek-v3.json").architecture
    >>> f"{training_flops_per_token(deepseek, 4096):.4g}"
    '2.505e+11'
    """
    return (1 + BACKWARD_FACTOR) * forward_flops_per_token(architecture, tokens_per_sequence)


@overload
def prediction_block(architecture: Architecture) -> Architecture: ...


@overload
def prediction_block(architecture: Countable[N]) -> Countable[N]: ...


def prediction_block(architecture: Countable[N]) -> Any:
    """One prediction block as a model of its own, with the embedding and the head; without the projection."""
    layers = tuple(prediction_layers(architecture))
    alone: dict[str, Any] = {"mtp_layers": 0, "mtp_block": None}
    if isinstance(architecture, Architecture):
        return architecture.model_copy(update={"layers": layers, **alone})
    once = 0 * architecture.hidden_size + 1
    return replace(architecture, runs=tuple((once, layer) for layer in layers), **alone)  # type: ignore[type-var]


def prediction_training_flops_per_token(architecture: Countable[Any], tokens_per_sequence: int) -> Any:
    """FLOPs of a forward and backward pass of one token through all prediction blocks, which are in no other count:
    their layers, the head once for each, and the projection of two states to one."""
    if not architecture.mtp_layers:
        return 0.0
    block = prediction_block(architecture)
    projection = (1 + BACKWARD_FACTOR) * 2 * 2 * architecture.hidden_size**2
    return architecture.mtp_layers * (training_flops_per_token(block, tokens_per_sequence) + projection)


def trained_flops_per_token(architecture: Countable[Any], tokens_per_sequence: int) -> Any:
    """FLOPs of training on one token, those of prediction blocks included, which are trained beside the model."""
    model = training_flops_per_token(architecture, tokens_per_sequence)
    return model + prediction_training_flops_per_token(architecture, tokens_per_sequence)


def training_flops(
    architecture: Countable[F], train_tokens: float | F, tokens_per_sequence: int = DEFAULT_TOKENS_PER_SEQUENCE
) -> F:
    """FLOPs of training on so many tokens: 3 x forward, nothing recomputed.

    Of a run, `train_tokens` are the tokens that it is trained on: whole steps, each of a whole batch.
    """
    return train_tokens * training_flops_per_token(architecture, tokens_per_sequence)


def six_n_flops_per_token(architecture: Countable[N], count_embedding: bool = True) -> N:
    """The usual estimate of training FLOPs, 6 N_a, attention left out (Kaplan 2020)."""
    return 6 * active_params(architecture, count_embedding)


def _tied_head(architecture: Countable[N]) -> N:
    # A tied head multiplies with the embedding, and has no weight of its own in the inventory.
    tied: N = architecture.tie_embeddings * architecture.vocab_size * architecture.hidden_size
    return tied


# Between tokens


def mixing_flops(mixer: AnyMixer[F], tokens: int) -> F:
    """FLOPs per token that a mixer spends on other tokens, forward, on average over a causal sequence.

    Linear mixers are counted in their recurrent form: the products with the state only, 2 per multiply-add. Chunked
    kernels spend more.
    """
    flops: F = _mixing_flops(mixer, tokens)
    return flops


@singledispatch
def _mixing_flops(mixer: Record, tokens: int) -> Any:
    raise NotImplementedError(type(mixer).__name__)


@_mixing_flops.register(NoMixer)
def _nothing(mixer: NoMixer, tokens: int) -> float:
    return 0.0


@_mixing_flops.register(AnyAttention)
def _attention(mixer: AnyAttention[F], tokens: int) -> F:
    width: F = mixer.num_heads * (mixer.head_dim + mixer.value_channels)
    indexer = mixer.indexer
    if indexer is None:
        if mixer.window is not None and mixer.dynamic_mask is not None:
            return 2 * width * mean_context(tokens, min(mixer.window.size, mixer.dynamic_mask))
        return 2 * width * mean_context(tokens, mixer.window or mixer.dynamic_mask)
    scoring = 2 * indexer.num_heads * indexer.head_dim
    if indexer.pooled:
        read = pooled_context(tokens, indexer.block_size, indexer.top_blocks)
        return 2 * width * read + scoring * compressed_entries(tokens, indexer.block_size, None)
    read = block_context(tokens, indexer.block_size, indexer.top_blocks)
    return 2 * width * read + scoring * mean_context(tokens, None)


@_mixing_flops.register(DifferentialAttention)
def _differential_attention(mixer: DifferentialAttention, tokens: int) -> float:
    # As many maps are made as there are heads, and each is multiplied with values: differences are taken of outputs.
    return 2 * mixer.num_heads * (mixer.head_dim + mixer.value_channels) * mean_context(tokens, mixer.window)


@_mixing_flops.register(ParallelMixers)
def _parallel_mixers(mixer: ParallelMixers, tokens: int) -> float:
    return mixing_flops(mixer.attention, tokens) + mixing_flops(mixer.state_space, tokens)


@_mixing_flops.register(AnyLatentAttention)
def _latent_attention(mixer: AnyLatentAttention[Any], tokens: int) -> Any:
    # Decompressed heads, as in training and prefill.
    width = mixer.num_heads * (mixer.qk_nope_head_dim + mixer.qk_rope_head_dim + mixer.v_head_dim)
    indexer = mixer.indexer
    if indexer is None:
        return 2 * width * mean_context(tokens, mixer.window)
    if indexer.pool is None:
        read = mean_context(tokens, indexer.top_k)
    else:
        read = pooled_context(tokens, indexer.pool, indexer.top_k // indexer.pool)
    return 2 * width * read + scoring_flops(indexer, tokens)


def scoring_flops(indexer: Indexer, tokens: int) -> float:
    """FLOPs per token that the indexer of latent attention scores earlier tokens (or pools of them) with, forward."""
    if indexer.shared:
        return 0.0
    read = mean_context(tokens, None) if indexer.pool is None else compressed_entries(tokens, indexer.pool, None)
    return 2.0 * indexer.num_heads * indexer.head_dim * read


@_mixing_flops.register(CompressedAttention)
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


@_mixing_flops.register(MixtureOfAttention)
def _mixture_of_attention(mixer: MixtureOfAttention, tokens: int) -> float:
    return 4 * mixer.top_k * mixer.num_kv_heads * mixer.head_dim * mean_context(tokens, None)


@_mixing_flops.register(AnyGatedDeltaNet)
def _gated_delta_net(mixer: AnyGatedDeltaNet[F], tokens: int) -> F:
    # Three products with the state: what it predicts for the key, the update, the read-out.
    return 6 * mixer.num_value_heads * mixer.key_head_dim * mixer.value_head_dim


@_mixing_flops.register(KimiDeltaAttention)
def _kimi_delta_attention(mixer: KimiDeltaAttention, tokens: int) -> float:
    return 6 * mixer.num_heads * mixer.head_dim * mixer.head_dim


@_mixing_flops.register(LightningAttention)
def _lightning_attention(mixer: LightningAttention, tokens: int) -> float:
    return 4 * mixer.num_heads * mixer.head_dim * mixer.head_dim  # update and read-out


@_mixing_flops.register(Mamba)
@_mixing_flops.register(GroupedMamba)
def _mamba(mixer: Mamba | GroupedMamba, tokens: int) -> float:
    return 4 * mixer.inner_size * mixer.state_size


@_mixing_flops.register(Mamba2)
def _mamba2(mixer: Mamba2, tokens: int) -> float:
    return 4 * mixer.num_heads * mixer.head_dim * mixer.state_size


@_mixing_flops.register(ShortConvolution)
def _short_convolution(mixer: ShortConvolution, tokens: int) -> float:
    return 0.0


def mean_context(tokens: int, limit: Window | int | None) -> float:
    """How many earlier tokens a token looks at, itself included: the mean over positions t = 1..tokens.

    `limit` is None (all t), a number (at most so many) or a Window.
    """
    if limit is None:
        return (tokens + 1) / 2
    size = limit.size if isinstance(limit, Window) else limit
    if isinstance(limit, Window) and limit.kind == "chunked":
        blocks, rest = divmod(tokens, size)
        return (blocks * _triangle(size) + _triangle(rest)) / tokens
    ramp = min(tokens, size)
    return (_triangle(ramp) + (tokens - ramp) * size) / tokens


def block_context(tokens: int, block_size: int, top_blocks: int) -> float:
    """Mean over t = 1..tokens of the tokens in the blocks that token t reads: its own as far as t, and top_blocks - 1
    earlier ones, or all while there are no more."""
    ramp = min(tokens, block_size * top_blocks)
    blocks, rest = divmod(tokens - ramp, block_size)
    beyond = (top_blocks - 1) * block_size * (tokens - ramp) + blocks * _triangle(block_size) + _triangle(rest)
    return (_triangle(ramp) + beyond) / tokens


def pooled_context(tokens: int, pool: int, top_pools: int) -> float:
    """Mean over t = 1..tokens of the tokens that token t reads: at most `top_pools` whole pools of `pool` tokens, and
    the tokens since the last whole one."""
    blocks, rest = divmod(tokens, pool)
    tail = (blocks * _triangle(pool - 1) + _triangle(rest)) / tokens
    return pool * compressed_entries(tokens, pool, top_pools) + tail


def compressed_entries(tokens: int, rate: int, limit: int | None) -> float:
    """Mean over t = 1..tokens of floor(t / rate), at most `limit`: entries of `rate` tokens each, once complete."""
    ramp = tokens if limit is None else min(tokens, limit * rate - 1)
    whole = ramp // rate
    on_ramp = rate * _triangle(whole - 1) + whole * (ramp - whole * rate + 1)
    return (on_ramp + (tokens - ramp) * (limit or 0)) / tokens


def _triangle(n: int) -> int:
    return n * (n + 1) // 2
