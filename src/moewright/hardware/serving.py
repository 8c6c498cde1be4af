"""The figures of serving that budgets are made of: tokens per second, time to first token, memory on each device.

Each takes a single architecture or one of columns, and gives numbers or columns accordingly. A device is its name, a
file or a Device; a range is (low, high).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from moewright.architecture.cache import CACHE_BYTES, CacheDtype, layer_cache_bytes_per_sequence
from moewright.architecture.inventory import Weight, layer_weights, outer_weights, part_weights
from moewright.architecture.sizes import F, total
from moewright.architecture.spec import Countable, WeightFormatName
from moewright.architecture.weight_formats import WEIGHT_FORMATS
from moewright.complaints import check_integer, one_of
from moewright.hardware.devices import Hardware, load_device
from moewright.hardware.placement import ON_EVERY_DEVICE, Placement, cache_shards, place, splits_by_sequence
from moewright.hardware.roofline import Load, pass_times

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
) -> tuple[F, F]:
    """Tokens per second of each sequence while `batch` sequences, each `context` tokens long, are generated together.

    Returns (low, high) from the device's efficiency ranges; times `batch` it is the total. Whether the model fits is
    `memory_per_device`'s question. Raises UserError for an unknown device and impossible numbers.

    >>> from moewright.hf import load_architecture
    >>> qwen = load_architecture("examples/configs/qwen3-30b-a3b.json").architecture
    >>> low, high = decode_tokens_per_second(qwen, "H100", devices=2, batch=16, context=32768)
    >>> f"{low:.0f} to {high:.0f}"
    '24 to 63'
    """
    fast, slow = _pass_seconds(architecture, device, devices, Load("decode", batch, context, weights_dtype, kv_dtype))
    return 1 / slow, 1 / fast


def time_to_first_token(
    architecture: Countable[F],
    device: Hardware,
    *,
    devices: int = 1,
    batch: int = 1,
    context: int,
    weights_dtype: WeightFormatName = "bf16",
    kv_dtype: CacheDtype = "bf16",
) -> tuple[F, F]:
    """Seconds until `batch` prompts of `context` tokens each, computed in one pass, give their first token.

    Returns (low, high) from the device's efficiency ranges; waiting in a queue is not counted. Raises UserError for an
    unknown device and impossible numbers.
    """
    return _pass_seconds(architecture, device, devices, Load("prefill", batch, context, weights_dtype, kv_dtype))


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
) -> DeviceMemory[F]:
    """Bytes of weights and cache on the fullest device, placed by the rules of `placement`.

    `context` tokens of each of `batch` sequences are in the cache. A tenth of the device is kept free. Raises UserError
    for an unknown device and impossible numbers.
    """
    check_load(Load("decode", batch, context, weights_dtype, kv_dtype))
    found = load_device(device)
    placement = place(found, devices)
    return DeviceMemory(
        weights=_weights_per_device(architecture, placement, weights_dtype),
        cache=_cache_per_device(architecture, placement, batch, context, kv_dtype),
        reserve=RESERVE * found.memory,
        capacity=found.memory,
    )


def _weights_per_device(architecture: Countable[F], placement: Placement, dtype: WeightFormatName) -> F:
    stored = WEIGHT_FORMATS[dtype]
    tensor, devices = placement.tensor, placement.devices

    def share(weight: Weight[F], whole: bool) -> F | float:
        size = stored.weight_bytes(weight)
        if weight.component == "routed_experts" and weight.use == "matmul":
            # Whole experts: the fullest device has the quotient rounded up.
            return size * (-(-weight.copies // devices) / weight.copies)
        return size if whole or weight.component in ON_EVERY_DEVICE else size / tensor

    none = 0 * architecture.hidden_size
    held = total((share(weight, whole=False) for weight in outer_weights(architecture)), none)
    for times, layer in architecture.layer_runs():
        in_mixer = len(part_weights(layer.mixer, architecture.hidden_size))
        whole_mixer = splits_by_sequence(layer.mixer)
        shares = (
            share(weight, whole=whole_mixer and number < in_mixer)
            for number, weight in enumerate(layer_weights(architecture, layer))
        )
        held = held + times * total(shares, none)
    return held


def _cache_per_device(
    architecture: Countable[F], placement: Placement, batch: int, context: int, dtype: CacheDtype
) -> F:
    sequences = placement.sequences(batch)
    each = (
        times
        * layer_cache_bytes_per_sequence(architecture, layer, context, dtype)
        * float(sequences)  # products of whole columns would pass 2^63
        / cache_shards(layer.mixer, placement, sequences)
        for times, layer in architecture.layer_runs()
    )
    return total(each, 0.0 * architecture.hidden_size)
