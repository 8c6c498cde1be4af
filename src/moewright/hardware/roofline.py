"""What one device does in one pass through a model, and how long it takes.

Decoding passes one token of each sequence, prefill a whole prompt of each. FLOPs, bytes from memory and bytes to other
devices all sum the inventory of `architecture/inventory.py`, so an architecture of columns gives columns. What a
product moves is its weights, read once, and its inputs and outputs.

Each operation needs the longer of its FLOPs over the peak and its bytes over the bandwidth (Williams, Waterman and
Patterson 2009, "Roofline"). Operations follow each other, so their times add. Communication hides behind them at the
fast end and does not at the slow end; gaps between kernels and latencies always add.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Literal

import numpy as np

from moewright.architecture import cache, counts
from moewright.architecture.cache import AS_SMALL, CacheDtype, CacheLayout
from moewright.architecture.feed_forwards import routed_width
from moewright.architecture.inventory import Component, Weight, layer_weights, outer_weights, part_weights
from moewright.architecture.mixers import AnyLatentAttention, AnyMixer
from moewright.architecture.sizes import F, N_co, total
from moewright.architecture.spec import AnyLayer, Countable, WeightFormatName, passed_layers, passed_mixtures, sublayers
from moewright.architecture.weight_formats import WEIGHT_FORMATS, WeightFormat
from moewright.hardware.devices import ENDS, ComputeDtype, Device, End, factors
from moewright.hardware.placement import (
    ON_EVERY_DEVICE,
    Placement,
    cache_shards,
    distinct_experts,
    mixer_shards,
    most_loaded,
    splits_by_sequence,
    weight_share,
)

InferencePhase = Literal["decode", "prefill"]
Bound = Literal["memory", "compute", "communication", "overhead"]

# The format that products with quantized weights run in where the device has it. int4 is for storage only: GPTQ and AWQ
# kernels (arXiv 2210.17323, 2306.00978) widen it to bf16 first.
COMPUTE_DTYPES: dict[WeightFormatName, ComputeDtype] = {
    "fp32": "fp32",
    "fp16": "bf16",
    "bf16": "bf16",
    "fp8": "fp8",
    "int8": "int8",
    "int4": "bf16",
    "mxfp4": "fp4",
    "nvfp4": "fp4",
}
DTYPE_BYTES: dict[ComputeDtype, float] = {"fp32": 4, "bf16": 2, "fp8": 1, "int8": 1, "fp4": 0.5}


@dataclass(frozen=True)
class Load:
    """What is asked of the model: `batch` sequences of `context` tokens, held in these formats."""

    stage: InferencePhase
    batch: int
    context: int
    weights_dtype: WeightFormatName = "bf16"
    kv_dtype: CacheDtype = "bf16"
    layout: CacheLayout = AS_SMALL
    proposed: int = 0
    """Tokens of each sequence that a step of decoding checks beside the next one."""

    @property
    def tokens_per_sequence(self) -> int:
        """Tokens of each sequence that one pass computes."""
        return 1 + self.proposed if self.stage == "decode" else self.context

    @property
    def heads_per_sequence(self) -> int:
        """Of these, how many the head is needed at: of a prompt the last one."""
        return self.tokens_per_sequence if self.stage == "decode" else 1

    @property
    def compute_dtype(self) -> ComputeDtype:
        """The format in which products with quantized weights run where the device has it."""
        return COMPUTE_DTYPES[self.weights_dtype]

    @property
    def rest_dtype(self) -> ComputeDtype:
        """The format of all other products."""
        return "fp32" if self.weights_dtype == "fp32" else "bf16"


@dataclass(frozen=True)
class Work(Generic[N_co]):
    """One operation, on the average device."""

    component: Component | Literal["cache"]
    flops: N_co | float
    bytes: N_co | float
    dtype: ComputeDtype
    skew: N_co | float = 1.0
    """How much more the most loaded device has to do than the average one, at worst."""


@dataclass(frozen=True)
class Traffic(Generic[N_co]):
    """What one device sends in a pass, and in how many collectives."""

    group_bytes: N_co
    between_bytes: N_co
    collectives: N_co


def pass_work(architecture: Countable[F], load: Load, placement: Placement) -> Iterator[Work[F]]:
    """Every operation of one pass."""
    stored = WEIGHT_FORMATS[load.weights_dtype]
    batch = placement.sequences(load.batch)
    tokens = float(batch) * load.tokens_per_sequence  # products of whole columns would pass 2^63
    ends = float(batch) * load.heads_per_sequence
    for weight in outer_weights(architecture):
        if weight.name != "lm_head":
            passed = ends if weight.component == "lm_head" else tokens
            yield _product(weight, 1, passed, _shards(weight, placement), stored, load)
    # The same product where the embedding is the head's matrix.
    rows = architecture.lm_head_rows or architecture.vocab_size
    head: Weight[F] = Weight("lm_head", "lm_head", rows, architecture.hidden_size)
    yield _product(head, 1, ends, placement.tensor, stored, load)
    for layers, layer in architecture.layer_runs():
        mixer, d, times = layer.mixer, architecture.hidden_size, layers * layer.passes
        mixer_weights = len(part_weights(mixer, d))
        for number, weight in enumerate(layer_weights(architecture, layer)):
            if weight.component == "routed_experts":
                yield _routed(weight, times, float(load.batch) * load.tokens_per_sequence, placement, stored, load)
            elif number < mixer_weights and splits_by_sequence(mixer, load.layout):
                share = tokens / mixer_shards(mixer, placement, batch, load.layout)
                yield _product(weight, times, share, 1, stored, load)
            elif number < mixer_weights:
                shards = 1 / weight_share(weight, mixer, placement.tensor)
                yield _product(weight, times, tokens, shards, stored, load)
            else:
                yield _product(weight, times, tokens, _shards(weight, placement), stored, load)
        yield _mixing(architecture, layer, layers, load, placement)


def _shards(weight: Weight[F], placement: Placement) -> int:
    return 1 if weight.component in ("embedding", *ON_EVERY_DEVICE) else placement.tensor


def _product(
    weight: Weight[F], times: F | float, tokens: float, shards: F | float, stored: WeightFormat, load: Load
) -> Work[F]:
    """A weight that every device of a group has a share of."""
    moved = _operand_bytes(weight, tokens, stored, load)
    if weight.use == "lookup":  # one row for each token
        read = tokens * weight.inputs * stored.rest_bytes
        moved = read
    else:
        touched = distinct_experts(weight.copies, weight.active, tokens)
        read = stored.weight_bytes(weight.one) * touched
    return Work(
        weight.component,
        times * _flops(weight, tokens) / shards,
        times * (read + moved) / shards,
        _compute_dtype(weight, stored, load),
    )


def _routed(
    weight: Weight[F], times: F, tokens: float, placement: Placement, stored: WeightFormat, load: Load
) -> Work[F]:
    """Routed experts, whole experts spread over all devices."""
    devices = placement.devices
    touched = distinct_experts(weight.copies, weight.active, tokens)
    read = stored.weight_bytes(weight.one) * touched
    moved = _operand_bytes(weight, tokens, stored, load)
    return Work(
        weight.component,
        times * _flops(weight, tokens) / devices,
        times * (read + moved) / devices,
        _compute_dtype(weight, stored, load),
        skew=most_loaded(touched, weight.copies, devices) / (touched / devices),
    )


def _operand_bytes(weight: Weight[F], tokens: float, stored: WeightFormat, load: Load) -> F | float:
    """Inputs in the format of the product, outputs in that of unquantized weights.

    None for an empty weight, as an absent part of a column is.
    """
    width = DTYPE_BYTES[_compute_dtype(weight, stored, load)]
    each = weight.inputs * width + weight.outputs * stored.rest_bytes
    return tokens * weight.active * each * (weight.one.params > 0)


def _flops(weight: Weight[F], tokens: float) -> F | float:
    return 2.0 * tokens * weight.products


def _compute_dtype(weight: Weight[F], stored: WeightFormat, load: Load) -> ComputeDtype:
    return load.compute_dtype if stored.quantizes(weight) else load.rest_dtype


def _mixing(architecture: Countable[F], layer: AnyLayer[F], times: F, load: Load, placement: Placement) -> Work[F]:
    """Between tokens: scores, values and states, with the cache read or written; bf16 unless the weights are fp32."""
    sequences = placement.sequences(load.batch)
    batch = float(sequences)
    work_shards = mixer_shards(layer.mixer, placement, sequences, load.layout)
    shards = cache_shards(layer.mixer, placement, sequences, load.layout)
    if load.stage == "decode":
        flops = batch * load.tokens_per_sequence * step_flops(layer.mixer, load.context, load.layout)
        moved = batch * cache.layer_cache_bytes_moved_per_step(
            architecture, layer, load.context, load.kv_dtype, load.layout
        )
    else:
        flops = batch * load.context * counts.mixing_flops(layer.mixer, load.context)
        moved = batch * cache.layer_cache_bytes_per_sequence(
            architecture, layer, load.context, load.kv_dtype, load.layout
        )
    return Work("cache", times * layer.passes * flops / work_shards, times * moved / shards, load.rest_dtype)


def step_flops(mixer: AnyMixer[F], position: int, layout: CacheLayout = AS_SMALL) -> F:
    """FLOPs that the token at `position` (from 1) spends on the tokens before it and itself.

    The difference between two sums over a sequence. Latent attention whose latents are stored is counted in its
    absorbed form, in which queries and outputs move to the latent space (DeepSeek-V2, arXiv 2405.04434, section 2.1.2):
    every head's key and value are then kv_lora_rank wide, besides the rotary key.
    """
    if isinstance(mixer, AnyLatentAttention) and layout.latent == "latent":
        latent = mixer.kv_lora_rank
        mixer = mixer.model_copy(update={"qk_nope_head_dim": latent, "v_head_dim": latent})
    before = (position - 1) * counts.mixing_flops(mixer, position - 1) if position > 1 else 0.0
    return position * counts.mixing_flops(mixer, position) - before


def pass_traffic(architecture: Countable[F], load: Load, placement: Placement) -> Traffic[F]:
    """What a device sends in one pass.

    Inside a group: an all-reduce of the hidden states a sublayer (Megatron-LM, arXiv 1909.08053, section 3), of which a
    ring sends 2 (t - 1)/t times their bytes (Patarasu and Yuan 2009). Between groups, for each MoE layer: every token
    goes to the other groups that hold one of its experts and comes back. Of m groups that is (m - 1)(1 - (1 - 1/m)^K)
    on average: a token crosses to a group once and is spread there by the inner link at the same time (DeepSeek-V3,
    arXiv 2412.19437, section 3.2.2). The hidden states, to latent experts their latents, are sent in the format of
    unquantized weights.
    """
    width = WEIGHT_FORMATS[load.weights_dtype].rest_bytes
    tokens = float(placement.sequences(load.batch)) * load.tokens_per_sequence
    state_bytes = tokens * architecture.hidden_size * width
    t, m = placement.tensor, placement.groups
    reduced = _num_sublayers(architecture)
    group_bytes = between_bytes = 0.0 * state_bytes * reduced
    collectives = 0 * reduced
    if t > 1:
        group_bytes = reduced * 2 * (t - 1) / t * state_bytes
        collectives = collectives + reduced
    if m > 1:
        for times, moe in passed_mixtures(architecture):
            crossings = (m - 1) * (1 - (1 - 1 / m) ** moe.top_k)
            sent = tokens * routed_width(moe, architecture.hidden_size) * width
            between_bytes = between_bytes + 2 * times * crossings * sent / t
            collectives = collectives + 2 * times
    return Traffic(group_bytes, between_bytes, collectives)


def _num_sublayers(architecture: Countable[F]) -> F:
    return total(
        (times * sublayers(layer) for times, layer in passed_layers(architecture)), 0 * architecture.hidden_size
    )


def touched_experts(architecture: Countable[F], load: Load, placement: Placement) -> F:
    """Distinct experts that one pass touches on one device, on average, summed over all layers."""
    tokens = float(load.batch) * load.tokens_per_sequence
    touched = (
        times * distinct_experts(group.count, group.top_k, tokens)
        for times, moe in passed_mixtures(architecture)
        for group in moe.groups
    )
    return total(touched, 0.0 * architecture.hidden_size) / placement.devices


@dataclass(frozen=True)
class PassTime(Generic[N_co]):
    """Seconds of one pass at one end of the efficiency ranges."""

    components: dict[str, tuple[N_co, N_co]]
    """By component: seconds in operations that memory bounds, seconds in operations that compute bounds."""
    communication: N_co
    """Seconds on the links, hidden or not."""
    overhead: N_co
    """Seconds of gaps between kernels and of latencies."""
    total: N_co

    def bound(self: PassTime[float]) -> Bound:
        """What takes most of the time, of a single architecture."""
        shares: dict[Bound, float] = {
            "memory": sum(memory for memory, _ in self.components.values()),
            "compute": sum(compute for _, compute in self.components.values()),
            "communication": self.communication,
            "overhead": self.overhead,
        }
        return max(shares, key=lambda name: shares[name])


def pass_times(
    architecture: Countable[F], device: Device, load: Load, placement: Placement
) -> tuple[PassTime[F], PassTime[F]]:
    """Seconds of one pass at the fast and at the slow end of the device's efficiency ranges."""
    ends = {end: factors(device.efficiency, end) for end in ENDS}
    none = 0.0 * architecture.hidden_size
    components: dict[End, dict[str, tuple[F, F]]] = {end: {} for end in ENDS}
    for work in pass_work(architecture, load, placement):
        peak = device.peak_flops[device.compute_dtype(work.dtype)]
        for end, reached in ends.items():
            skew = work.skew if end == "slow" else 1.0
            memory = skew * work.bytes / (device.memory_bandwidth * reached.memory)
            compute = skew * work.flops / (peak * reached.compute)
            in_memory, in_compute = components[end].get(work.component, (none, none))
            components[end][work.component] = (
                in_memory + memory * (memory >= compute),
                in_compute + compute * (memory < compute),
            )
    traffic = pass_traffic(architecture, load, placement)
    sending = traffic.group_bytes / placement.group_bandwidth
    sending = sending + traffic.between_bytes / placement.bandwidth_between_groups
    experts = touched_experts(architecture, load, placement)

    def at(end: End) -> PassTime[F]:
        reached = ends[end]
        busy = total((memory + compute for memory, compute in components[end].values()), none)
        communication = sending / reached.communication
        overhead = (
            _num_sublayers(architecture) / 2 * reached.seconds_per_layer  # a layer has two
            + traffic.collectives * reached.seconds_per_collective
            + experts * reached.seconds_per_expert
        )
        together: F = np.maximum(busy, communication) if end == "fast" else busy + communication
        return PassTime(components[end], communication, overhead, together + overhead)

    return at("fast"), at("slow")
