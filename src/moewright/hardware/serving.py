"""The figures of serving that budgets are made of: tokens per second, time to first token, memory on each device.

Each takes a single architecture or one of columns, and gives numbers or columns accordingly. A device is its name, a
file or a Device; a range is (low, high).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic

from moewright.architecture.cache import (
    AS_SMALL,
    CACHE_BYTES,
    CacheDtype,
    CacheLayout,
    head_share,
    layer_cache,
    layer_cache_bytes_of_device,
    layer_cache_bytes_per_sequence,
)
from moewright.architecture.counts import mtp_outer_weights, prediction_block, prediction_layers
from moewright.architecture.inventory import Weight, layer_weights, outer_weights, part_weights
from moewright.architecture.mixers import AnyMixer
from moewright.architecture.sizes import F, total
from moewright.architecture.spec import AnyLayer, Architecture, Countable, WeightFormatName
from moewright.architecture.weight_formats import WEIGHT_FORMATS
from moewright.complaints import check_integer, one_of
from moewright.hardware.devices import Hardware, load_device
from moewright.hardware.placement import (
    ON_EVERY_DEVICE,
    Placement,
    mixer_shards,
    place,
    splits_by_sequence,
    weight_share,
)
from moewright.hardware.roofline import Load, pass_times
from moewright.hardware.speculation import NO_SPECULATION, Speculation

if TYPE_CHECKING:
    from moewright.architecture.sizes import Column

# What a runtime leaves free for activations, buffers and fragments: vLLM's gpu_memory_utilization is 0.9 by default
# (its documentation, 2024).
RESERVE = 0.1


def decode_tokens_per_second(
    architecture: Countable[F],
    device: Hardware,
    *,
    devices: int = 1,
    batch: int = 1,
    context: int,
    weights_dtype: WeightFormatName = "bf16",
    kv_dtype: CacheDtype = "bf16",
    layout: CacheLayout = AS_SMALL,
    speculation: Speculation = NO_SPECULATION,
) -> tuple[F, F]:
    """Tokens per second of each sequence while `batch` sequences, each `context` tokens long, are generated together.

    Returns (low, high) from the device's efficiency ranges; times `batch` it is the total. With `speculation` a step
    checks what the prediction blocks propose, the cache read once, and passes through a block for each proposal (its
    projection left out). Whether the model fits is `memory_per_device`'s question. Raises UserError for an unknown
    device and impossible numbers.

    >>> from moewright.hf import load_architecture
    >>> qwen = load_architecture("examples/configs/qwen3-30b-a3b.json").architecture
    >>> low, high = decode_tokens_per_second(qwen, "H100", devices=2, batch=16, context=32768)
    >>> f"{low:.0f} to {high:.0f}"
    '24 to 63'
    """
    load = Load("decode", batch, context, weights_dtype, kv_dtype, layout, proposed=speculation.draft)
    fast, slow = _pass_seconds(architecture, device, devices, load)
    if speculation.draft:
        block = _pass_seconds(prediction_block(architecture), device, devices, replace(load, proposed=0))
        fast, slow = fast + speculation.draft * block[0], slow + speculation.draft * block[1]
    return speculation.tokens_per_step / slow, speculation.tokens_per_step / fast


def time_to_first_token(
    architecture: Countable[F],
    device: Hardware,
    *,
    devices: int = 1,
    batch: int = 1,
    context: int,
    weights_dtype: WeightFormatName = "bf16",
    kv_dtype: CacheDtype = "bf16",
    layout: CacheLayout = AS_SMALL,
) -> tuple[F, F]:
    """Seconds until `batch` prompts of `context` tokens each, computed in one pass, give their first token.

    Returns (low, high) from the device's efficiency ranges; waiting in a queue is not counted. Raises UserError for an
    unknown device and impossible numbers.
    """
    return _pass_seconds(
        architecture, device, devices, Load("prefill", batch, context, weights_dtype, kv_dtype, layout)
    )


def _pass_seconds(architecture: Countable[F], hardware: Hardware, devices: int, load: Load) -> tuple[F, F]:
    check_load(load)
    device = load_device(hardware)
    fast, slow = pass_times(architecture, device, load, place(device, devices))
    return fast.total, slow.total


def check_load(load: Load) -> None:
    """Raise UserError for sizes and formats that make no sense."""
    for name, value in (("batch", load.batch), ("context", load.context)):
        check_integer(value, name)
    one_of(load.weights_dtype, "weights-dtype", WEIGHT_FORMATS)
    one_of(load.kv_dtype, "kv-dtype", CACHE_BYTES)


@dataclass(frozen=True)
class DeviceMemory(Generic[F]):
    """Bytes on the fullest device."""

    weights: F
    cache: F
    reserve: float
    """Kept free for activations and buffers."""
    capacity: float

    @property
    def needed(self) -> F:
        """Weights, cache and reserve."""
        return self.weights + self.cache + self.reserve

    @property
    def spare(self) -> F:
        """What is left; negative where it does not fit."""
        return self.capacity - self.needed

    @property
    def fits(self) -> bool | Column:
        """Whether everything fits."""
        return self.spare >= 0


def memory_per_device(
    architecture: Countable[F],
    device: Hardware,
    *,
    devices: int = 1,
    batch: int = 1,
    context: int,
    weights_dtype: WeightFormatName = "bf16",
    kv_dtype: CacheDtype = "bf16",
    layout: CacheLayout = AS_SMALL,
    with_blocks: bool = False,
) -> DeviceMemory[F]:
    """Bytes of weights and cache on the fullest device, placed by the rules of `placement`.

    `context` tokens of each of `batch` sequences are in the cache; `with_blocks`: the model's prediction blocks are
    held too, with caches of their own. A tenth of the device is kept free. Raises UserError for an unknown device and
    impossible numbers.
    """
    check_load(Load("decode", batch, context, weights_dtype, kv_dtype, layout))
    found = load_device(device)
    placement = place(found, devices)
    return DeviceMemory(
        weights=_weights_per_device(architecture, placement, weights_dtype, layout, with_blocks),
        cache=_cache_per_device(architecture, placement, batch, context, kv_dtype, layout, with_blocks),
        reserve=RESERVE * found.memory,
        capacity=found.memory,
    )


def _weights_per_device(
    architecture: Countable[F],
    placement: Placement,
    dtype: WeightFormatName,
    layout: CacheLayout,
    with_blocks: bool,
) -> F:
    def mixer_share(weight: Weight[F], mixer: AnyMixer[F]) -> Any:
        return 1 if splits_by_sequence(mixer, layout) else weight_share(weight, mixer, placement.tensor)

    return weights_of_device(architecture, placement.tensor, placement.devices, dtype, mixer_share, with_blocks)


def _held_runs(architecture: Countable[F], with_blocks: bool) -> list[tuple[Any, AnyLayer[F]]]:
    """How often each layer occurs, and the layer; those of prediction blocks too, if wanted."""
    runs: list[tuple[Any, AnyLayer[F]]] = list(architecture.layer_runs())
    if with_blocks and architecture.mtp_layers:
        runs += [(architecture.mtp_layers, layer) for layer in prediction_layers(architecture)]
    return runs


def weights_of_device(
    architecture: Countable[F],
    tensor: Any,
    devices: int,
    dtype: WeightFormatName,
    mixer_share: Callable[[Weight[F], AnyMixer[F]], Any],
    with_blocks: bool = False,
) -> F:
    """Bytes of weights on the fullest of `devices` in groups of `tensor`; `mixer_share`: what it holds of a mixer's."""
    stored = WEIGHT_FORMATS[dtype]

    def held_of(weight: Weight[F], share: Any) -> Any:
        size = stored.weight_bytes(weight)
        if weight.component == "routed_experts" and weight.use == "matmul":
            # Whole experts: the fullest device has the quotient rounded up.
            return size * (-(-weight.copies // devices) / weight.copies)
        return size if weight.component in ON_EVERY_DEVICE else size * share

    none = 0 * architecture.hidden_size
    held = total((held_of(weight, 1 / tensor) for weight in outer_weights(architecture)), none)
    if with_blocks and architecture.mtp_layers:
        apart = (held_of(weight, 1 / tensor) for weight in mtp_outer_weights(architecture))
        held = held + architecture.mtp_layers * total(apart, none)
    for times, layer in _held_runs(architecture, with_blocks):
        in_mixer = len(part_weights(layer.mixer, architecture.hidden_size))
        shares = (
            held_of(weight, mixer_share(weight, layer.mixer) if number < in_mixer else 1 / tensor)
            for number, weight in enumerate(layer_weights(architecture, layer))
        )
        held = held + times * total(shares, none)
    return held


def _cache_per_device(
    architecture: Countable[F],
    placement: Placement,
    batch: int,
    context: int,
    dtype: CacheDtype,
    layout: CacheLayout,
    with_blocks: bool,
) -> F:
    sequences = placement.sequences(batch)

    def sequence(layer: AnyLayer[F]) -> Any:
        if not splits_by_sequence(layer.mixer, layout):
            return layer_cache_bytes_of_device(architecture, layer, context, placement.tensor, dtype, layout)
        whole = layer_cache_bytes_per_sequence(architecture, layer, context, dtype, layout)
        return whole / mixer_shards(layer.mixer, placement, sequences)

    # float: products of whole columns would pass 2^63
    runs = _held_runs(architecture, with_blocks)
    each = (times * sequence(layer) * float(sequences) for times, layer in runs)
    return total(each, 0.0 * architecture.hidden_size)


@dataclass(frozen=True)
class TensorParallelShare:
    """Bytes on the fullest of some devices that share every layer, as runtimes do without further settings."""

    devices: int
    weights: float
    cache_per_token: float
    """Added by one more token of a sequence while no window is full."""
    cache: float
    """Of all sequences."""
    head_copies: int
    """Devices that hold the same key-value head, or the same latent, at most."""

    @property
    def total(self) -> float:
        """Weights and cache."""
        return self.weights + self.cache


def tensor_parallel_share(
    architecture: Architecture,
    devices: int,
    *,
    batch: int,
    context: int,
    weights_dtype: WeightFormatName = "bf16",
    kv_dtype: CacheDtype = "bf16",
    layout: CacheLayout = AS_SMALL,
) -> TensorParallelShare:
    """Weights and cache on the fullest of `devices` under tensor parallelism alone, the experts whole.

    Unlike `placement`'s groups no device has sequences of its own, so latents are on every device. Raises UserError for
    a number that is none.
    """
    check_integer(devices, "tensor-parallel", 1, 1024)
    runs = architecture.layer_runs()
    caches = [layer_cache(layer, architecture.hidden_size, layout) for _, layer in runs]
    grown = [growing for cache in caches for growing in cache.growing if growing.kept_here]

    def held_at(tokens: int) -> float:
        held: float = sum(
            times * layer_cache_bytes_of_device(architecture, layer, tokens, devices, kv_dtype, layout)
            for times, layer in runs
        )
        return held

    per_token = sum(
        times * growing.per_token * head_share(growing.heads, devices) * CACHE_BYTES[kv_dtype]
        for (times, _), cache in zip(runs, caches, strict=True)
        for growing in cache.growing
    )
    return TensorParallelShare(
        devices=devices,
        weights=weights_of_device(
            architecture,
            devices,
            devices,
            weights_dtype,
            lambda weight, mixer: weight_share(weight, mixer, devices),
        ),
        cache_per_token=per_token,
        cache=batch * held_at(context),
        head_copies=max((-(-devices // growing.heads) for growing in grown), default=1),
    )
