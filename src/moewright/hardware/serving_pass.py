"""What one pass through a served model takes, by component, under columns of layouts.

`served_work` says what a pass has to do: FLOPs and bytes of every product on the busiest device, and what it sends. It
knows no coefficient. `pass_seconds` turns that into seconds with the named coefficients of `serving_coefficients.yaml`:

- products (attention's, dense and shared parts, vocabulary) and routed experts: the longer of their bytes over the
  fraction of the memory's bandwidth and their FLOPs over the fraction of the format's peak that such kernels reach.
  A pass reads the experts that its tokens touch; the busiest of several expert-parallel devices has more of them.
  Weights of 4 bits take longer where a device has no such products and they are widened first.
- cache: read once for each pass, by each device what it holds; prefill computes scores instead.
- gaps: between kernels, for each mixer and mixture, more where an indexer chooses tokens (projections, scores, top-k,
  gathering) or a prompt passes a linear mixer's scan in chunks, and for a pass as a whole (scheduler, sampling).
- tensor: an all-reduce after each half of a layer, its latency and its bytes.
- dispatch: where groups have sequences of their own, every choice of a token goes to the device of its expert and comes
  back (in low-latency kernels once for each choice: DeepEP's README, 2025), near ones by the domain's links, far ones
  by the network.
- host: routed experts that are in another device's memory (llama.cpp's --n-cpu-moe) are computed there, or for long
  prompts copied; what they need is handed over twice a layer.

Software comes in two classes, each with coefficients of its own. "server": vLLM, SGLang and TensorRT-LLM. "local":
llama.cpp and MLX. A device without a network, in nodes of at most four, is taken to run the second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from moewright.architecture.cache import (
    AS_SMALL,
    CacheDtype,
    CacheLayout,
    layer_cache_bytes_moved_of_device,
    layer_cache_bytes_of_device,
)
from moewright.architecture.counts import mixing_flops, scoring_flops
from moewright.architecture.feed_forwards import MoE, routed_width
from moewright.architecture.inventory import Component, Weight, layer_weights, outer_weights, part_weights
from moewright.architecture.mixers import LINEAR_MIXERS, AnyLatentAttention, AnyMixer, NoMixer
from moewright.architecture.spec import AnyLayer, Architecture, passed_layers, sublayers
from moewright.architecture.weight_formats import WeightFormat
from moewright.hardware.devices import ComputeDtype, Device
from moewright.hardware.placement import ON_EVERY_DEVICE, distinct_experts, most_loaded, weight_share
from moewright.hardware.roofline import COMPUTE_DTYPES, DTYPE_BYTES

if TYPE_CHECKING:
    from moewright.architecture.sizes import Column

ServingSoftware = Literal["server", "local"]
PassComponent = Literal[
    "attention", "dense", "experts", "vocabulary", "cache", "gaps", "tensor", "dispatch", "pipeline", "host"
]
PASS_COMPONENTS: tuple[PassComponent, ...] = get_args(PassComponent)
_KINDS: dict[Component, PassComponent] = {
    "embedding": "vocabulary",
    "lm_head": "vocabulary",
    "attention": "attention",
    "linear_mixer": "attention",
    "routed_experts": "experts",
    "router": "experts",
}
_STATE_BYTES = 2  # of a number that is sent between devices
_LARGEST_LOCAL_NODE = 4


@dataclass(frozen=True)
class ServingColumns:
    """Layouts of an instance, one entry each: tensor x data x pipeline devices."""

    tensor: Column
    """Devices that share the attention of the same sequences."""
    data: Column
    """Groups of them with sequences of their own, which share the experts."""
    expert: Column
    """Devices over which whole experts are spread; what is left of tensor x data splits each expert."""
    pipeline: Column
    batch: Column
    """Sequences under way in an instance."""

    def __len__(self) -> int:
        return len(self.tensor)

    def take(self, chosen: Any) -> ServingColumns:
        """Some of them, by a mask or by indices."""
        return ServingColumns(**{name: values[chosen] for name, values in vars(self).items()})

    @property
    def sharing(self) -> Column:
        """Devices that share a layer's experts."""
        return self.tensor * self.data

    @property
    def sequences(self) -> Column:
        """Of the busiest group in one pass: a pipeline passes its sequences in as many turns as it has stages."""
        sequences: Column = np.ceil(self.batch / (self.data * self.pipeline))
        return sequences


@dataclass(frozen=True)
class Pass:
    """`computed` tokens of each sequence, which end at position `context`."""

    computed: int
    context: int
    generates: bool
    """Whether each of them gives logits, from a cache that is read (decoding); else only the last of a prompt does."""


@dataclass(frozen=True)
class ServedOperation:
    """One product on the busiest device."""

    component: PassComponent
    dtype: ComputeDtype
    flops: Column
    bytes: Column
    rows: Any = np.inf
    """Of each expert of a prompt's pass: products with few are slower. Decoding is bound by the weights anyway."""


@dataclass
class ServedWork:
    """What one pass has to do, on the busiest device; bytes and FLOPs as columns."""

    operations: list[ServedOperation] = field(default_factory=list)
    host: list[ServedOperation] = field(default_factory=list)
    """Of the experts that are in the host's memory."""
    host_weights: Any = 0.0
    """Bytes of them that the pass touches."""
    generates: bool = True
    mixers: int = 0
    indexers: int = 0
    """Of the mixers, those that choose tokens with an indexer of their own."""
    scans: int = 0
    """Of the mixers, those that keep a state."""
    mixtures: int = 0
    reductions: Any = 0.0
    reduced_bytes: Any = 0.0
    dispatches: Any = 0.0
    near_bytes: Any = 0.0
    far_bytes: Any = 0.0
    handed_bytes: Any = 0.0
    """Between pipeline stages."""
    handovers: Any = 0.0
    host_handovers: Any = 0.0
    host_handed_bytes: Any = 0.0


def software_of(device: Device) -> ServingSoftware:
    """Which class of software a device is taken to run."""
    return "local" if device.network is None and device.node.devices <= _LARGEST_LOCAL_NODE else "server"


def served_work(
    architecture: Architecture,
    layouts: ServingColumns,
    one: Pass,
    stored: WeightFormat,
    *,
    domain: int,
    kv_dtype: CacheDtype = "bf16",
    layout: CacheLayout = AS_SMALL,
    host_share: float = 0.0,
) -> ServedWork:
    """What one pass has to do, without a device's speed in it. `domain`: devices that fast links join.

    `host_share` of the mixtures has its routed experts in the host's memory.
    """
    work = ServedWork(generates=one.generates)
    sequences, tensor = layouts.sequences, layouts.tensor
    tokens = sequences * one.computed
    all_tokens = np.ceil(layouts.batch / layouts.pipeline) * one.computed
    logits = tokens if one.generates else sequences
    width = stored.rest_bytes
    d = architecture.hidden_size
    for weight in outer_weights(architecture):
        passed = logits if weight.component == "lm_head" else tokens
        shards: Any = 1 if weight.component in ("embedding", *ON_EVERY_DEVICE) else tensor
        work.operations.append(_product(weight, 1, passed, shards, stored))
    if architecture.tie_embeddings:
        head: Weight[Any] = Weight("lm_head", "lm_head", architecture.vocab_size, d)
        work.operations.append(_product(head, 1, logits, tensor, stored))
    for layers, layer in architecture.layer_runs():
        times = layers * layer.passes
        in_mixer = len(part_weights(layer.mixer, d))
        weights: list[Weight[Any]] = [*layer_weights(architecture, layer)]
        for number, weight in enumerate(weights):
            if weight.component == "routed_experts":
                _add_experts(work, weight, times, all_tokens, layouts, stored, host_share)
            elif number < in_mixer:
                shards = 1 / weight_share(weight, layer.mixer, tensor)
                work.operations.append(_product(weight, times, tokens, shards, stored))
            else:
                shards = 1 if weight.component in ON_EVERY_DEVICE else tensor
                work.operations.append(_product(weight, times, tokens, shards, stored))
        if not isinstance(layer.mixer, NoMixer):
            work.mixers += times
            work.indexers += times * _has_indexer(layer.mixer)
            work.scans += times * isinstance(layer.mixer, LINEAR_MIXERS)
            work.operations.append(_mixing(architecture, layer, layers, layouts, one, kv_dtype, layout))
    state = tokens * d * width
    reduced = sum(times * sublayers(layer) for times, layer in passed_layers(architecture))
    shares_experts = layouts.data > 1
    for times, run in passed_layers(architecture):
        moe = run.feed_forward
        if not isinstance(moe, MoE):
            continue
        work.mixtures += times
        sent_width = routed_width(moe, d) * _STATE_BYTES
        # A group's devices share the sending of its tokens.
        sent = tokens / tensor * sum(group.top_k for group in moe.groups) * sent_width
        places = layouts.sharing
        near = np.minimum(places, domain) - 1
        far = np.maximum(places - domain, 0)
        work.dispatches = work.dispatches + 2 * times * shares_experts
        work.near_bytes = work.near_bytes + 2 * times * shares_experts * sent * near / places
        work.far_bytes = work.far_bytes + 2 * times * shares_experts * sent * far / places
        work.host_handovers = work.host_handovers + 2 * times * host_share
        work.host_handed_bytes = work.host_handed_bytes + 2 * times * host_share * tokens * sent_width
    split = tensor > 1
    work.reductions = reduced * split
    work.reduced_bytes = reduced * split * 2 * (tensor - 1) / tensor * state
    work.handovers = layouts.pipeline - 1
    work.handed_bytes = (layouts.pipeline - 1) * state / tensor
    return work


def _product(weight: Weight[Any], times: int, tokens: Column, shards: Any, stored: WeightFormat) -> ServedOperation:
    """A weight that every device of a group has a share of."""
    flops, moved = _flops_and_operands(weight, tokens, stored)
    if weight.use == "lookup":  # one row for each token
        moved = 2 * tokens * weight.inputs * stored.rest_bytes
        read: Any = 0.0
    else:
        read = stored.weight_bytes(weight.one) * distinct_experts(weight.copies, weight.active, tokens)
    dtype = _dtype(weight, stored)
    return ServedOperation(
        _KINDS.get(weight.component, "dense"), dtype, times * flops / shards, times * (read + moved) / shards
    )


def _add_experts(
    work: ServedWork,
    weight: Weight[Any],
    times: int,
    tokens: Column,
    layouts: ServingColumns,
    stored: WeightFormat,
    host_share: float,
) -> None:
    flops, moved = _flops_and_operands(weight, tokens, stored)
    touched: Any = distinct_experts(weight.copies, weight.active, tokens)
    each = stored.weight_bytes(weight.one)
    places = layouts.expert
    busiest = np.where(places > 1, _most(touched, weight.copies, places), touched)
    skew = busiest * places / np.maximum(touched, 1e-9)
    skew = np.where(places > 1, np.maximum(skew, 1.0), 1.0)
    dtype = _dtype(weight, stored)
    here = times * (1 - host_share) / layouts.sharing
    rows = np.inf if work.generates else tokens * weight.active / weight.copies
    work.operations.append(
        ServedOperation("experts", dtype, here * flops, here * (each * touched * skew + moved), rows)
    )
    if host_share:
        there = times * host_share
        work.host.append(ServedOperation("host", dtype, there * flops, there * (each * touched + moved), rows))
        work.host_weights = work.host_weights + there * each * touched


def _most(touched: Column, experts: int, places: Column) -> Column:
    """`most_loaded` for columns of places; half of what it adds to the mean, since it bounds the expectation."""
    mean = touched / places
    bounds: Column = np.array([most_loaded(t, experts, int(p)) for t, p in zip(touched, places, strict=True)])
    return (mean + bounds) / 2


def _flops_and_operands(weight: Weight[Any], tokens: Column, stored: WeightFormat) -> tuple[Column, Column]:
    each = weight.inputs * DTYPE_BYTES[_dtype(weight, stored)] + weight.outputs * stored.rest_bytes
    return 2.0 * tokens * weight.products, tokens * weight.active * each


def _dtype(weight: Weight[Any], stored: WeightFormat) -> ComputeDtype:
    if stored.quantizes(weight):
        return COMPUTE_DTYPES[stored.name]
    return "fp32" if stored.name == "fp32" else "bf16"


def _mixing(
    architecture: Architecture,
    layer: AnyLayer[int],
    times: int,
    layouts: ServingColumns,
    one: Pass,
    kv_dtype: CacheDtype,
    layout: CacheLayout,
) -> ServedOperation:
    """Scores, values and states. Decoding reads the cache once for all tokens of a sequence that it computes.

    Latent attention is absorbed (roofline.py) where it decodes, and where a prompt is longer than what an indexer
    chooses of it: then all heads share each chosen latent (DeepSeek-V3.2-Exp report, 2025, section 2.1). The indexer's
    scores are made on every device: its weights are on all of them.
    """
    mixer = layer.mixer
    alone: Any = 0.0
    before = one.context - one.computed
    if isinstance(mixer, AnyLatentAttention):
        indexer = mixer.indexer
        absorbed = one.generates or (indexer is not None and one.context > indexer.top_k)
        if absorbed and layout.latent == "latent":
            latent = mixer.kv_lora_rank
            mixer = mixer.model_copy(update={"qk_nope_head_dim": latent, "v_head_dim": latent})
        if indexer is not None:
            alone = _between(partial(scoring_flops, indexer), before, one.context)
    flops = _between(partial(mixing_flops, mixer), before, one.context) - alone
    # A prompt's entries are written.
    bytes_of_device = layer_cache_bytes_moved_of_device if one.generates else layer_cache_bytes_of_device
    moved = bytes_of_device(architecture, layer, one.context, layouts.tensor, kv_dtype, layout)
    # The cache has entries of every pass of a token through the layer already.
    sequences = layouts.sequences * float(times)
    of_device = flops / layouts.tensor + alone
    return ServedOperation("cache", "bf16", sequences * layer.passes * of_device, sequences * moved)


def _between(mean_flops: Callable[[int], float], before: int, context: int) -> float:
    """FLOPs of the tokens after position `before` up to `context`, from those of a token on average of a sequence."""
    return context * mean_flops(context) - (before * mean_flops(before) if before else 0.0)


def _has_indexer(mixer: AnyMixer[int]) -> bool:
    indexer = getattr(mixer, "indexer", None)
    return indexer is not None and not getattr(indexer, "shared", False)


def pass_seconds(
    work: ServedWork,
    device: Device,
    software: ServingSoftware,
    at: Mapping[str, float],
    host: Device | None = None,
) -> dict[PassComponent, Column]:
    """Seconds of one pass by component, for the middle of what tuned public software reaches; they sum to the pass."""
    local = software == "local"
    dense, grouped, cached = (
        at["local_memory" if local else name] * device.memory_bandwidth for name in ("memory", "experts", "cache")
    )
    bandwidths: dict[PassComponent, float] = {"experts": grouped, "cache": cached}
    zero = 0.0 * work.operations[0].bytes
    seconds: dict[PassComponent, Any] = dict.fromkeys(PASS_COMPONENTS, zero)
    for operation in work.operations:
        dtype = device.compute_dtype(operation.dtype)
        reached = "local_products" if local else f"products_{_COEFFICIENT_OF[dtype]}"
        if operation.component == "cache":
            reached = "local_mixing" if local else "mixing"
        computing = operation.flops / (device.peak_flops[dtype] * at[reached]) * _slower(operation, at)
        if operation.dtype == "fp4" != dtype and not local:
            computing = computing / at["widened"]
        moving = operation.bytes / bandwidths.get(operation.component, dense)
        seconds[operation.component] = seconds[operation.component] + np.maximum(computing, moving)
    if work.host:
        assert host is not None, "experts in a host's memory need a host"
        seconds["host"] = zero + _host_seconds(work, device, host, at)
    seconds["gaps"] = zero + _gaps(work, local, at)
    links = device.node.bandwidth * at["links"]
    network = (device.network or device.node).bandwidth * at["network"]
    seconds["tensor"] = zero + work.reductions * at["latency_of_a_reduction"] + work.reduced_bytes / links
    seconds["dispatch"] = (
        zero + work.dispatches * at["latency_of_a_dispatch"] + work.near_bytes / links + work.far_bytes / network
    )
    seconds["pipeline"] = zero + work.handovers * at["latency_of_a_reduction"] + work.handed_bytes / links
    return seconds


def _gaps(work: ServedWork, local: bool, at: Mapping[str, float]) -> float:
    halves = work.mixers + work.mixtures
    if local:
        return halves * at["local_gap"] + at["local_gap_of_a_pass"]
    if not work.generates:  # no captured graph
        more = work.scans * at["gap_of_a_prompt_scan"] + work.indexers * at["gap_of_a_prompt_indexer"]
        return halves * at["gap_of_a_prompt_layer"] + more + at["gap_of_a_pass"]
    mixers = work.mixers * at["gap_of_a_mixer"] + work.indexers * at["gap_of_an_indexer"]
    return mixers + work.mixtures * at["gap_of_a_mixture"] + at["gap_of_a_pass"]


def _slower(operation: ServedOperation, at: Mapping[str, float]) -> Any:
    """How much longer a product takes than one of many rows (training_step.py has the same form)."""
    return 1 + at["rows_half"] / operation.rows


_COEFFICIENT_OF: dict[ComputeDtype, str] = {"fp32": "bf16", "bf16": "bf16", "fp8": "fp8", "int8": "fp8", "fp4": "fp4"}


def _host_seconds(work: ServedWork, device: Device, host: Device, at: Mapping[str, float]) -> Column:
    """Experts on the host, or, where that is quicker (long prompts), copied over the link and computed here."""
    link = device.node.bandwidth * at["links"]
    there: Any = 0.0
    here: Any = work.host_weights / link
    for operation in work.host:
        dtype, device_dtype = host.compute_dtype(operation.dtype), device.compute_dtype(operation.dtype)
        moving = operation.bytes / (host.memory_bandwidth * at["local_memory"])
        there = there + np.maximum(operation.flops / (host.peak_flops[dtype] * at["local_products"]), moving)
        reached = device.peak_flops[device_dtype] * at["local_products"]
        here = here + operation.flops / reached * _slower(operation, at)
    handed = work.host_handovers * at["latency_of_a_handover"] + work.host_handed_bytes / link
    seconds: Column = handed + np.minimum(there, here)
    return seconds
