"""What a sequence keeps in memory while it is generated: keys and values, latents, states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any, Generic, Literal, NamedTuple

from moewright.architecture.mixers import (
    AnyAttention,
    AnyGatedDeltaNet,
    AnyLatentAttention,
    CompressedAttention,
    DifferentialAttention,
    GroupedMamba,
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
from moewright.architecture.sizes import F, N, N_co, total
from moewright.architecture.spec import AnyLayer, Countable
from moewright.records import Record

LatentCache = Literal["latent", "decompressed"]
"""What a runtime stores for multi-head latent attention: the latent and the rotary key (transformers 5, vLLM, SGLang),
or every head's keys and values."""

WindowCache = Literal["window", "full"]
"""What a runtime stores for a layer with a window: the tokens of the window, or all of them, where every layer gets the
same pages (vLLM with `--disable-hybrid-kv-cache-manager`; SGLang without its sliding-window pool). What lies outside
the window is kept, but not read."""


class CacheLayout(NamedTuple):
    """What a runtime stores where runtimes differ."""

    latent: LatentCache = "latent"
    windows: WindowCache = "window"


AS_SMALL = CacheLayout()
"""The least that any runtime stores."""

CacheDtype = Literal["fp32", "bf16", "fp16", "fp8", "int8"]
CACHE_BYTES: dict[str, int] = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1, "int8": 1}

# Runtimes keep recurrent states in fp32, because errors in them accumulate (transformers 5.23's linear-attention cache;
# vLLM's default for Mamba and gated delta net states).
STATE_BYTES = 4


@dataclass(frozen=True)
class Growing(Generic[N_co]):
    """Cache entries of `elements` numbers, one for every `tokens_per_entry` tokens, kept for `limit` tokens at most."""

    elements: N_co
    tokens_per_entry: int = 1
    limit: int | None = None
    most_read: int | None = None
    """Entries that one token reads at most, where an indexer chooses them; None: all that are kept."""
    kept_here: bool = True
    """False: another layer keeps them, and this one reads them again."""
    heads: N_co | int = 1
    """Key-value heads that the elements belong to in equal parts; tensor parallelism splits no head."""

    @property
    def per_token(self) -> Any:
        """Elements that one more token adds while its limit is not reached; a fraction where entries are shared."""
        return self.elements / self.tokens_per_entry if self.kept_here else 0 * self.elements

    def at(self, tokens: int) -> N_co:
        """Elements kept after so many tokens."""
        return self.elements * (self._entries(tokens) if self.kept_here else 0)

    def read_at(self, tokens: int) -> N_co:
        """Elements that the last of so many tokens reads."""
        entries = self._entries(tokens)
        return self.elements * (entries if self.most_read is None else min(entries, self.most_read))

    def unlimited(self) -> Growing[N_co]:
        """The same entries where those outside the window are kept too, though never read."""
        if self.limit is None:
            return self
        most_read = self.limit if self.most_read is None else min(self.limit, self.most_read)
        return replace(self, limit=None, most_read=most_read)

    def _entries(self, tokens: int) -> int:
        kept = tokens if self.limit is None else min(tokens, self.limit)
        return kept // self.tokens_per_entry


class LayerCache(NamedTuple, Generic[N_co]):
    """One layer's cache for one sequence, in elements."""

    growing: tuple[Growing[N_co], ...] = ()
    convolution_state: N_co | int = 0
    recurrent_state: N_co | int = 0


def layer_cache(layer: AnyLayer[N], d: N, layout: CacheLayout = AS_SMALL) -> LayerCache[N]:
    """What a layer in a model of width d keeps for one sequence, in all its passes."""
    cache: LayerCache[N] = _layer_cache(layer.mixer, d, layout)
    growing = cache.growing * layer.passes
    return LayerCache(
        tuple(entries.unlimited() for entries in growing) if layout.windows == "full" else growing,
        layer.passes * (cache.convolution_state + layer.own_state),
        layer.passes * cache.recurrent_state,
    )


@singledispatch
def _layer_cache(mixer: Record, d: Any, layout: CacheLayout = AS_SMALL) -> LayerCache[Any]:
    raise NotImplementedError(type(mixer).__name__)


@_layer_cache.register(NoMixer)
def _nothing(mixer: NoMixer, d: int, layout: CacheLayout = AS_SMALL) -> LayerCache[int]:
    return LayerCache()


@_layer_cache.register(AnyAttention)
def _attention(mixer: AnyAttention[N], d: N, layout: CacheLayout = AS_SMALL) -> LayerCache[N]:
    heads = mixer.num_kv_heads
    width = heads * (mixer.head_dim + mixer.value_channels)
    kept, indexer = mixer.key_values != "earlier_layer", mixer.indexer
    if indexer is None:
        limit, read = _limit(mixer.window), mixer.dynamic_mask
        return LayerCache((Growing(width, limit=limit, most_read=read, kept_here=kept, heads=heads),))
    most_read = indexer.block_size * indexer.top_blocks + (indexer.block_size - 1 if indexer.pooled else 0)
    chosen: Growing[Any] = Growing(width, most_read=most_read, kept_here=kept, heads=heads)
    return LayerCache((chosen, Growing(indexer.head_dim)))


def _limit(window: Window | None) -> int | None:
    return window.size if window else None


@_layer_cache.register(AnyLatentAttention)
def _latent_attention(mixer: AnyLatentAttention[Any], d: Any, layout: CacheLayout = AS_SMALL) -> LayerCache[Any]:
    rope = mixer.qk_rope_head_dim
    heads: Any
    if layout.latent == "latent":
        heads, elements = 1, mixer.kv_lora_rank + rope
    else:
        heads = mixer.kv_heads
        elements = heads * (mixer.qk_nope_head_dim + rope + mixer.v_head_dim)
    indexer, kept = mixer.indexer, mixer.key_values == "own"
    most_read = None
    if indexer is not None:
        most_read = indexer.top_k + (indexer.pool - 1 if indexer.pool else 0)  # and the unfinished pool
    growing: list[Growing[Any]] = [
        Growing(elements, limit=_limit(mixer.window), most_read=most_read, kept_here=kept, heads=heads)
    ]
    if indexer is not None and not indexer.shared:
        growing.append(Growing(2 * indexer.head_dim + 1 if indexer.pool else indexer.head_dim))
    return LayerCache(tuple(growing))


@_layer_cache.register(CompressedAttention)
def _compressed_attention(mixer: CompressedAttention, d: int, layout: CacheLayout = AS_SMALL) -> LayerCache[int]:
    # Keys and values are one tensor. The at most compress_rate tokens that wait for their entry are left out.
    growing = [Growing(mixer.head_dim, limit=mixer.window.size)]
    if mixer.compress_rate is not None:
        most_read = mixer.indexer.top_k if mixer.indexer else None
        growing.append(Growing(mixer.head_dim, tokens_per_entry=mixer.compress_rate, most_read=most_read))
        if mixer.indexer is not None:
            growing.append(Growing(mixer.indexer.head_dim, tokens_per_entry=mixer.compress_rate))
    return LayerCache(tuple(growing))


@_layer_cache.register(DifferentialAttention)
def _differential_attention(mixer: DifferentialAttention, d: int, layout: CacheLayout = AS_SMALL) -> LayerCache[int]:
    heads = mixer.num_kv_heads
    return LayerCache((Growing(2 * heads * mixer.head_dim, limit=_limit(mixer.window), heads=heads),))


@_layer_cache.register(ParallelMixers)
def _parallel_mixers(mixer: ParallelMixers, d: int, layout: CacheLayout = AS_SMALL) -> LayerCache[int]:
    attention: LayerCache[int] = _layer_cache(mixer.attention, d, layout)
    return _layer_cache(mixer.state_space, d, layout)._replace(growing=attention.growing)


@_layer_cache.register(MixtureOfAttention)
def _mixture_of_attention(mixer: MixtureOfAttention, d: int, layout: CacheLayout = AS_SMALL) -> LayerCache[int]:
    heads = mixer.num_kv_heads
    return LayerCache((Growing(2 * heads * mixer.head_dim, heads=heads),))


@_layer_cache.register(AnyGatedDeltaNet)
def _gated_delta_net(mixer: AnyGatedDeltaNet[N], d: N, layout: CacheLayout = AS_SMALL) -> LayerCache[N]:
    keys, values = mixer.num_key_heads * mixer.key_head_dim, mixer.num_value_heads * mixer.value_head_dim
    return LayerCache(
        convolution_state=(2 * keys + values) * mixer.conv_kernel, recurrent_state=values * mixer.key_head_dim
    )


@_layer_cache.register(KimiDeltaAttention)
def _kimi_delta_attention(mixer: KimiDeltaAttention, d: int, layout: CacheLayout = AS_SMALL) -> LayerCache[int]:
    width = mixer.num_heads * mixer.head_dim
    return LayerCache(convolution_state=3 * width * mixer.conv_kernel, recurrent_state=width * mixer.head_dim)


@_layer_cache.register(LightningAttention)
def _lightning_attention(mixer: LightningAttention, d: int, layout: CacheLayout = AS_SMALL) -> LayerCache[int]:
    return LayerCache(recurrent_state=mixer.num_heads * mixer.head_dim * mixer.head_dim)


@_layer_cache.register(Mamba)
def _mamba(mixer: Mamba, d: int, layout: CacheLayout = AS_SMALL) -> LayerCache[int]:
    inner = mixer.inner_size
    return LayerCache(convolution_state=inner * mixer.conv_kernel, recurrent_state=inner * mixer.state_size)


@_layer_cache.register(GroupedMamba)
def _grouped_mamba(mixer: GroupedMamba, d: int, layout: CacheLayout = AS_SMALL) -> LayerCache[int]:
    return LayerCache(
        convolution_state=mixer.convolved_size * mixer.conv_kernel,
        recurrent_state=mixer.inner_size * mixer.state_size,
    )


@_layer_cache.register(Mamba2)
def _mamba2(mixer: Mamba2, d: int, layout: CacheLayout = AS_SMALL) -> LayerCache[int]:
    inner = mixer.num_heads * mixer.head_dim
    convolved = inner + 2 * mixer.num_groups * mixer.state_size
    return LayerCache(convolution_state=convolved * mixer.conv_kernel, recurrent_state=inner * mixer.state_size)


@_layer_cache.register(ShortConvolution)
def _short_convolution(mixer: ShortConvolution, d: int, layout: CacheLayout = AS_SMALL) -> LayerCache[int]:
    return LayerCache(convolution_state=d * mixer.kernel)


# Of a whole model, or of one layer of it


def layer_kv_bytes_per_token(
    architecture: Countable[F], layer: AnyLayer[F], dtype: CacheDtype = "bf16", layout: CacheLayout = AS_SMALL
) -> F:
    """Bytes that one more token adds to one layer's cache while its window is not full yet."""
    cache = layer_cache(layer, architecture.hidden_size, layout)
    elements = (growing.per_token for growing in cache.growing)
    return total(elements, 0 * architecture.hidden_size) * CACHE_BYTES[dtype]


def kv_bytes_per_token(architecture: Countable[F], dtype: CacheDtype = "bf16", layout: CacheLayout = AS_SMALL) -> F:
    """Bytes that one more token adds to a sequence's cache while no window is full yet.

    A fraction where an entry stands for several tokens.

    >>> from moewright.hf import load_architecture
    >>> deepseek = load_architecture("examples/configs/deepseek-v3.json").architecture
    >>> kv_bytes_per_token(deepseek), kv_bytes_per_token(deepseek, layout=CacheLayout(latent="decompressed"))
    (70272.0, 4997120.0)
    """
    each = (
        times * layer_kv_bytes_per_token(architecture, layer, dtype, layout)
        for times, layer in architecture.layer_runs()
    )
    return total(each, 0 * architecture.hidden_size)


def kv_bytes_per_token_beyond_windows(
    architecture: Countable[F], dtype: CacheDtype = "bf16", layout: CacheLayout = AS_SMALL
) -> F:
    """Bytes that one more token adds once every window is full."""
    elements = (
        times * growing.per_token
        for times, cache in _layer_caches(architecture, layout)
        for growing in cache.growing
        if growing.limit is None
    )
    return total(elements, 0 * architecture.hidden_size) * CACHE_BYTES[dtype]


def state_bytes_per_sequence(architecture: Countable[N], dtype: CacheDtype = "bf16") -> N:
    """Bytes of the states that do not grow: convolution states in `dtype`, recurrent states in fp32."""
    each = (times * _state_bytes(cache, dtype) for times, cache in _layer_caches(architecture, AS_SMALL))
    return total(each, 0 * architecture.hidden_size)


def cache_bytes_per_sequence(
    architecture: Countable[N], tokens: int, dtype: CacheDtype = "bf16", layout: CacheLayout = AS_SMALL
) -> N:
    """Bytes of cache and state that a sequence of so many tokens holds, windows applied."""
    elements = (
        times * growing.at(tokens) for times, cache in _layer_caches(architecture, layout) for growing in cache.growing
    )
    grown = total(elements, 0 * architecture.hidden_size) * CACHE_BYTES[dtype]
    return grown + state_bytes_per_sequence(architecture, dtype)


def layer_cache_bytes_per_sequence(
    architecture: Countable[N],
    layer: AnyLayer[N],
    tokens: int,
    dtype: CacheDtype = "bf16",
    layout: CacheLayout = AS_SMALL,
) -> N:
    """Bytes of cache and state that one layer holds for a sequence of so many tokens."""
    cache = layer_cache(layer, architecture.hidden_size, layout)
    grown = total((growing.at(tokens) for growing in cache.growing), 0 * architecture.hidden_size)
    return grown * CACHE_BYTES[dtype] + _state_bytes(cache, dtype)


def layer_cache_bytes_of_device(
    architecture: Countable[F],
    layer: AnyLayer[F],
    tokens: int,
    tensor: Any,
    dtype: CacheDtype = "bf16",
    layout: CacheLayout = AS_SMALL,
) -> Any:
    """What the fullest of `tensor` devices that share a layer by heads holds of one sequence.

    No head is split. With more devices than key-value heads each head is on several, max(1, heads / devices) on each
    (vLLM, docs/serving/context_parallel_deployment.md), and what has no heads, as latents and an indexer's keys, is on
    every device. States are split evenly.
    """
    cache = layer_cache(layer, architecture.hidden_size, layout)
    grown = total(
        (growing.at(tokens) * head_share(growing.heads, tensor) for growing in cache.growing),
        0.0 * architecture.hidden_size,
    )
    return grown * CACHE_BYTES[dtype] + _state_bytes(cache, dtype) / tensor


def head_share(heads: F | int, devices: Any) -> Any:
    """The share of all heads that the fullest of some devices holds when each head is whole.

    >>> head_share(8, 4), head_share(2, 8), head_share(6, 4)
    (0.25, 0.5, 0.3333333333333333)
    """
    return -(-heads // devices) / heads


def layer_cache_bytes_moved_per_step(
    architecture: Countable[N],
    layer: AnyLayer[N],
    tokens: int,
    dtype: CacheDtype = "bf16",
    layout: CacheLayout = AS_SMALL,
) -> N:
    """Bytes that generating the token at position `tokens` reads and writes in one layer's cache.

    Entries are read (of sparse attention only the chosen ones, and its index), the new one counted among them; states
    are read and written back.
    """
    cache = layer_cache(layer, architecture.hidden_size, layout)
    read = total((growing.read_at(tokens) for growing in cache.growing), 0 * architecture.hidden_size)
    return read * CACHE_BYTES[dtype] + 2 * _state_bytes(cache, dtype)


def layer_cache_bytes_moved_of_device(
    architecture: Countable[F],
    layer: AnyLayer[F],
    tokens: int,
    tensor: Any,
    dtype: CacheDtype = "bf16",
    layout: CacheLayout = AS_SMALL,
) -> Any:
    """`layer_cache_bytes_moved_per_step` of the fullest of `tensor` devices (or a column of them) that share a layer by
    heads, as `layer_cache_bytes_of_device` has them.
    """
    cache = layer_cache(layer, architecture.hidden_size, layout)
    read = sum(growing.read_at(tokens) * head_share(growing.heads, tensor) for growing in cache.growing)
    return read * CACHE_BYTES[dtype] + 2 * _state_bytes(cache, dtype) / tensor


def _layer_caches(architecture: Countable[N], layout: CacheLayout) -> Sequence[tuple[N, LayerCache[N]]]:
    d = architecture.hidden_size
    return [(times, layer_cache(layer, d, layout)) for times, layer in architecture.layer_runs()]


def _state_bytes(cache: LayerCache[N], dtype: CacheDtype) -> N | int:
    return cache.convolution_state * CACHE_BYTES[dtype] + cache.recurrent_state * STATE_BYTES
