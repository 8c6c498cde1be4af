"""What a sequence keeps in memory while it is generated: keys and values, latents, states."""

from dataclasses import dataclass
from functools import singledispatch
from typing import Literal

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
    Window,
)
from moewright.architecture.spec import Architecture, Layer
from moewright.records import Record

LatentCache = Literal["latent", "decompressed"]
"""What a runtime stores for multi-head latent attention: the latent and the rotary key (transformers 5, vLLM, SGLang),
or every head's keys and values."""

CacheDtype = Literal["fp32", "bf16", "fp16", "fp8", "int8"]
CACHE_BYTES: dict[str, int] = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1, "int8": 1}

# Runtimes keep recurrent states in fp32, because errors in them accumulate (transformers 5.23's linear-attention cache;
# vLLM's default for Mamba and gated delta net states).
STATE_BYTES = 4


@dataclass(frozen=True)
class Growing:
    """Cache entries of `elements` numbers, one for every `tokens_per_entry` tokens, kept for `limit` tokens at most."""

    elements: int
    tokens_per_entry: int = 1
    limit: int | None = None
    most_read: int | None = None
    """Entries that one token reads at most, where an indexer chooses them; None: all that are kept."""

    def at(self, tokens: int) -> int:
        """Elements kept after so many tokens."""
        return self.elements * self._entries(tokens)

    def read_at(self, tokens: int) -> int:
        """Elements that the last of so many tokens reads."""
        entries = self._entries(tokens)
        return self.elements * (entries if self.most_read is None else min(entries, self.most_read))

    def _entries(self, tokens: int) -> int:
        kept = tokens if self.limit is None else min(tokens, self.limit)
        return kept // self.tokens_per_entry


@dataclass(frozen=True)
class LayerCache:
    """One layer's cache for one sequence, in elements."""

    growing: tuple[Growing, ...] = ()
    convolution_state: int = 0
    recurrent_state: int = 0


@singledispatch
def layer_cache(mixer: Record, d: int, latent_cache: LatentCache = "latent") -> LayerCache:
    """What a mixer in a model of width d keeps for one sequence."""
    raise NotImplementedError(type(mixer).__name__)


@layer_cache.register
def _attention(mixer: Attention, d: int, latent_cache: LatentCache = "latent") -> LayerCache:
    return LayerCache((Growing(2 * mixer.num_kv_heads * mixer.head_dim, limit=_limit(mixer.window)),))


def _limit(window: Window | None) -> int | None:
    return window.size if window else None


@layer_cache.register
def _latent_attention(mixer: LatentAttention, d: int, latent_cache: LatentCache = "latent") -> LayerCache:
    rope = mixer.qk_rope_head_dim
    if latent_cache == "latent":
        elements = mixer.kv_lora_rank + rope
    else:
        elements = mixer.num_heads * (mixer.qk_nope_head_dim + rope + mixer.v_head_dim)
    most_read = mixer.indexer.top_k if mixer.indexer else None
    growing = [Growing(elements, limit=_limit(mixer.window), most_read=most_read)]
    if mixer.indexer is not None and not mixer.indexer.shared:
        growing.append(Growing(mixer.indexer.head_dim))
    return LayerCache(tuple(growing))


@layer_cache.register
def _compressed_attention(mixer: CompressedAttention, d: int, latent_cache: LatentCache = "latent") -> LayerCache:
    # Keys and values are one tensor. The at most compress_rate tokens that wait for their entry are left out.
    growing = [Growing(mixer.head_dim, limit=mixer.window.size)]
    if mixer.compress_rate is not None:
        most_read = mixer.indexer.top_k if mixer.indexer else None
        growing.append(Growing(mixer.head_dim, tokens_per_entry=mixer.compress_rate, most_read=most_read))
        if mixer.indexer is not None:
            growing.append(Growing(mixer.indexer.head_dim, tokens_per_entry=mixer.compress_rate))
    return LayerCache(tuple(growing))


@layer_cache.register
def _mixture_of_attention(mixer: MixtureOfAttention, d: int, latent_cache: LatentCache = "latent") -> LayerCache:
    return LayerCache((Growing(2 * mixer.num_kv_heads * mixer.head_dim),))


@layer_cache.register
def _gated_delta_net(mixer: GatedDeltaNet, d: int, latent_cache: LatentCache = "latent") -> LayerCache:
    keys, values = mixer.num_key_heads * mixer.key_head_dim, mixer.num_value_heads * mixer.value_head_dim
    return LayerCache(
        convolution_state=(2 * keys + values) * mixer.conv_kernel, recurrent_state=values * mixer.key_head_dim
    )


@layer_cache.register
def _kimi_delta_attention(mixer: KimiDeltaAttention, d: int, latent_cache: LatentCache = "latent") -> LayerCache:
    width = mixer.num_heads * mixer.head_dim
    return LayerCache(convolution_state=3 * width * mixer.conv_kernel, recurrent_state=width * mixer.head_dim)


@layer_cache.register
def _lightning_attention(mixer: LightningAttention, d: int, latent_cache: LatentCache = "latent") -> LayerCache:
    return LayerCache(recurrent_state=mixer.num_heads * mixer.head_dim * mixer.head_dim)


@layer_cache.register
def _mamba(mixer: Mamba, d: int, latent_cache: LatentCache = "latent") -> LayerCache:
    inner = mixer.inner_size
    return LayerCache(convolution_state=inner * mixer.conv_kernel, recurrent_state=inner * mixer.state_size)


@layer_cache.register
def _mamba2(mixer: Mamba2, d: int, latent_cache: LatentCache = "latent") -> LayerCache:
    inner = mixer.num_heads * mixer.head_dim
    convolved = inner + 2 * mixer.num_groups * mixer.state_size
    return LayerCache(convolution_state=convolved * mixer.conv_kernel, recurrent_state=inner * mixer.state_size)


@layer_cache.register
def _short_convolution(mixer: ShortConvolution, d: int, latent_cache: LatentCache = "latent") -> LayerCache:
    return LayerCache(convolution_state=d * mixer.kernel)


def _layer_caches(architecture: Architecture, latent_cache: LatentCache) -> list[tuple[int, LayerCache]]:
    d = architecture.hidden_size
    return [(times, layer_cache(layer.mixer, d, latent_cache)) for times, layer in architecture.layer_runs()]


def layer_kv_bytes_per_token(
    architecture: Architecture, layer: Layer, dtype: CacheDtype = "bf16", latent_cache: LatentCache = "latent"
) -> float:
    """Bytes that one more token adds to one layer's cache while its window is not full yet."""
    cache = layer_cache(layer.mixer, architecture.hidden_size, latent_cache)
    return sum(growing.elements / growing.tokens_per_entry for growing in cache.growing) * CACHE_BYTES[dtype]


def kv_bytes_per_token(
    architecture: Architecture, dtype: CacheDtype = "bf16", latent_cache: LatentCache = "latent"
) -> float:
    """Bytes that one more token adds to a sequence's cache while no window is full yet.

    A fraction where an entry stands for several tokens.
    """
    return sum(
        times * layer_kv_bytes_per_token(architecture, layer, dtype, latent_cache)
        for times, layer in architecture.layer_runs()
    )


def kv_bytes_per_token_beyond_windows(
    architecture: Architecture, dtype: CacheDtype = "bf16", latent_cache: LatentCache = "latent"
) -> float:
    """Bytes that one more token adds once every window is full."""
    elements = sum(
        times * growing.elements / growing.tokens_per_entry
        for times, cache in _layer_caches(architecture, latent_cache)
        for growing in cache.growing
        if growing.limit is None
    )
    return elements * CACHE_BYTES[dtype]


def state_bytes_per_sequence(architecture: Architecture, dtype: CacheDtype = "bf16") -> int:
    """Bytes of the states that do not grow: convolution states in `dtype`, recurrent states in fp32."""
    return sum(times * _state_bytes(cache, dtype) for times, cache in _layer_caches(architecture, "latent"))


def cache_bytes_per_sequence(
    architecture: Architecture, tokens: int, dtype: CacheDtype = "bf16", latent_cache: LatentCache = "latent"
) -> int:
    """Bytes of cache and state that a sequence of so many tokens holds, windows applied."""
    elements = sum(
        times * growing.at(tokens)
        for times, cache in _layer_caches(architecture, latent_cache)
        for growing in cache.growing
    )
    return elements * CACHE_BYTES[dtype] + state_bytes_per_sequence(architecture, dtype)


def layer_cache_bytes_per_sequence(
    architecture: Architecture, layer: Layer, tokens: int, dtype: CacheDtype = "bf16"
) -> int:
    """Bytes of cache and state that one layer holds for a sequence of so many tokens, latents stored as such."""
    cache = layer_cache(layer.mixer, architecture.hidden_size)
    return sum(growing.at(tokens) for growing in cache.growing) * CACHE_BYTES[dtype] + _state_bytes(cache, dtype)


def layer_cache_bytes_moved_per_step(
    architecture: Architecture, layer: Layer, tokens: int, dtype: CacheDtype = "bf16"
) -> int:
    """Bytes that generating the token at position `tokens` reads and writes in one layer's cache.

    Entries are read (of sparse attention only the chosen ones, and its index), the new one counted among them; states
    are read and written back.
    """
    cache = layer_cache(layer.mixer, architecture.hidden_size)
    read = sum(growing.read_at(tokens) for growing in cache.growing) * CACHE_BYTES[dtype]
    return read + 2 * _state_bytes(cache, dtype)


def _state_bytes(cache: LayerCache, dtype: CacheDtype) -> int:
    return cache.convolution_state * CACHE_BYTES[dtype] + cache.recurrent_state * STATE_BYTES
