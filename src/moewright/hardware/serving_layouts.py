"""Every way to serve a model on some devices: which divide and fit, what they hold, the largest batch of each.

An instance has tensor x data x pipeline devices, and as many instances as fill the devices work apart. Rules, in the
order in which a layout is refused:

- degrees: tensor x data x pipeline divide the devices; tensor stays inside a domain of fast links and is at most eight.
- heads: tensor divides the heads of every attention.
- stages: no stage of a pipeline is without a layer.
- experts: whole experts are spread over all devices that share a layer, which divide their number, or each expert is
  split over them, its width in whole multiples of 16.
- memory: weights and one sequence leave a tenth of the fullest device free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from moewright.architecture.cache import AS_SMALL, CacheDtype, CacheLayout, layer_cache_bytes_of_device
from moewright.architecture.inventory import inventory, outer_weights
from moewright.architecture.spec import WeightFormatName
from moewright.architecture.weight_formats import WEIGHT_FORMATS
from moewright.hardware.layout_search import LayoutJob, divisors, splits_heads
from moewright.hardware.placement import LARGEST_GROUP, weight_share
from moewright.hardware.serving import weights_of_device
from moewright.hardware.serving_pass import ServingColumns

if TYPE_CHECKING:
    from moewright.architecture.sizes import Column

LARGEST_SERVED_PIPELINE = 8
LARGEST_DATA = 512
"""Groups that share experts; beyond some three hundred devices nobody has published."""
_NARROWEST_SLICE = 16  # of an expert: what tensor cores multiply at a time
ServingRefusal = Literal["degrees", "heads", "stages", "experts", "memory"]
SERVING_REASONS: dict[ServingRefusal, str] = {
    "degrees": "tensor x data x pipeline do not divide the devices, or tensor leaves a domain of fast links",
    "heads": "the tensor degree does not divide the attention heads",
    "stages": "a stage of the pipeline would have no layer",
    "experts": "the devices that share a layer divide neither its experts nor their width",
    "memory": "weights and one sequence do not fit on the fullest device",
}


@dataclass(frozen=True)
class ServingJob(LayoutJob):
    """What is to be served, on what."""

    context: int
    """Tokens of the longest sequence, prompt and answer together."""
    weights_dtype: WeightFormatName = "bf16"
    kv_dtype: CacheDtype = "bf16"
    layout: CacheLayout = AS_SMALL
    host_share: float = 0.0
    """Of the mixtures, those whose routed experts are in another device's memory."""


def serving_grid(job: ServingJob) -> ServingColumns:
    """Every combination of degrees, one sequence each."""
    tensors = divisors(job.devices, min(LARGEST_GROUP, job.domain))
    pipelines = divisors(job.devices, min(LARGEST_SERVED_PIPELINE, job.architecture.num_layers))
    axes = (tensors, divisors(job.devices, LARGEST_DATA), pipelines, [0, 1])
    tensor, data, pipeline, whole = (values.ravel() for values in np.meshgrid(*map(np.array, axes), indexing="ij"))
    expert = np.where(whole == 1, tensor * data, 1)
    once = (whole == 0) | (tensor * data > 1)
    grid = ServingColumns(tensor, data, expert, pipeline, np.ones_like(tensor))
    return grid.take(once if job.architecture.moe_layers() else whole == 0)


def broken_serving_rules(job: ServingJob, layouts: ServingColumns) -> dict[ServingRefusal, Column]:
    """Which layouts break which rule, memory apart."""
    tensor = layouts.tensor
    size = layouts.sharing * layouts.pipeline
    layers = job.architecture.num_layers
    each = -(-layers // layouts.pipeline)
    experts = np.zeros(len(layouts), dtype=bool)
    for _, moe in job.architecture.moe_layers():
        for group in moe.groups:
            slices = layouts.sharing // layouts.expert
            experts |= (group.count % layouts.expert != 0) | (group.expert_size % (_NARROWEST_SLICE * slices) != 0)
    if not job.architecture.moe_layers():
        experts |= layouts.data > 1  # nothing to share: those are instances of their own
    return {
        "degrees": (job.devices % size != 0) | (tensor > min(LARGEST_GROUP, job.domain)),
        "heads": splits_heads(job.architecture, tensor),
        "stages": each * (layouts.pipeline - 1) >= layers,
        "experts": experts,
    }


@dataclass(frozen=True)
class ServingMemory:
    """Bytes on the fullest device."""

    weights: Column
    cache_of_sequence: Column
    """Of one sequence at its longest."""

    def with_sequences(self, layouts: ServingColumns) -> Column:
        """Weights, and the cache of all sequences under way."""
        held: Column = self.weights + self.cache_of_sequence * np.ceil(layouts.batch / layouts.data)
        return held

    def take(self, chosen: Any) -> ServingMemory:
        """Of some layouts, by a mask or by indices."""
        return ServingMemory(self.weights[chosen], self.cache_of_sequence[chosen])


def serving_memory(job: ServingJob, layouts: ServingColumns) -> ServingMemory:
    """What each layout holds."""
    a, stored = job.architecture, WEIGHT_FORMATS[job.weights_dtype]
    tensor, pipeline = layouts.tensor, layouts.pipeline
    share = np.where(pipeline > 1, np.ceil(a.num_layers / pipeline) / a.num_layers, 1.0)
    every: Any = weights_of_device(
        a, tensor, 1, job.weights_dtype, lambda weight, mixer: weight_share(weight, mixer, tensor)
    )
    routed = sum(
        times * stored.weight_bytes(weight)
        for times, weight in inventory(a)
        if weight.component == "routed_experts" and weight.use == "matmul"
    )
    # Whole or in slices, the devices that share a layer hold its experts once.
    every = every - routed * (1 - (1 - job.host_share) / layouts.sharing)
    outer: list[Any] = [stored.weight_bytes(weight) for weight in outer_weights(a)]
    ends = np.where(pipeline > 1, max(outer), sum(outer)) / tensor
    cache: Any = sum(
        times * layer_cache_bytes_of_device(a, layer, job.context, tensor, job.kv_dtype, job.layout)
        for times, layer in a.layer_runs()
    )
    return ServingMemory(ends + (every - sum(outer) / tensor) * share, cache * share)


def largest_batches(job: ServingJob, layouts: ServingColumns, held: ServingMemory, most: int) -> Column:
    """Sequences of an instance that fit beside the weights, at most `most` for each device; 0: not even one."""
    free = job.usable_memory - held.weights
    each = np.floor(free / np.maximum(held.cache_of_sequence, 1.0))
    fitting: Column = np.clip(np.minimum(each * layouts.data, most * layouts.sharing * layouts.pipeline), 0, None)
    return fitting
