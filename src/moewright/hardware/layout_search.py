"""Every way to spread a training run over devices: which of them divide and fit, and which are fastest.

The grid has every divisor as tensor, context, pipeline and expert degree, chunks of a pipeline stage, micro-batches,
ZeRO stages and what is recomputed. Rules, in the order in which a layout is refused:

- degrees: tensor x pipeline x context divide the devices; tensor and context stay inside a domain of fast links.
- heads: tensor divides the heads of every attention.
- sequence: 2 x context divides the sequence (ring attention halves each share to even out the causal mask), and
  tensor the share (sequence parallelism).
- stages: no part of the pipeline is without a layer; interleaving only where there is a pipeline.
- experts: expert divides the experts of every group, and tensor x data x context.
- batch: data x micro-batch divide the sequences of a step, and with chunks the pipeline divides the micro-batches
  (Megatron-LM, schedules.py).
- memory: the fullest device keeps a tenth free, activations as Megatron-Core keeps them.

ZeRO 2 and 3 are tried without a pipeline only, as Megatron-LM and torchtitan advise: they would gather for each
micro-batch of each stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from moewright.architecture.mixers import AnyAttention, DifferentialAttention, LatentAttention, ParallelMixers
from moewright.architecture.spec import Architecture
from moewright.hardware.activations import NOTHING, megatron_keeping, recompute_code, recompute_of
from moewright.hardware.devices import Device
from moewright.hardware.pretraining import (
    GradientDtype,
    OptimizerName,
    TrainingMemory,
    has_halved_copy,
    memory_of,
)
from moewright.hardware.serving import RESERVE
from moewright.hardware.training_step import KEPT_BYTES, LayoutColumns, TrainingPrecision, domain_devices

if TYPE_CHECKING:
    from moewright.architecture.sizes import Column

LARGEST_TENSOR, LARGEST_CONTEXT, LARGEST_PIPELINE = 8, 16, 64
"""Beyond these no published run of a mixture goes; they bound the search."""
LARGEST_DEGREE = 10**6
"""Of any kind of parallelism: more than any cluster has devices."""
CHUNKS = (1, 2, 3, 4, 6, 8, 12)
MICRO_BATCHES = (1, 2, 4, 8, 16)
Refusal = Literal["degrees", "heads", "sequence", "stages", "experts", "batch", "memory"]
RuleName = TypeVar("RuleName", bound=str)
REFUSAL_REASONS: dict[Refusal, str] = {
    "degrees": "tensor x pipeline x context do not divide the devices, or leave a domain of fast links",
    "heads": "the tensor degree does not divide the attention heads",
    "sequence": "context and tensor degrees do not divide the sequence",
    "stages": "a part of the pipeline would have no layer",
    "experts": "the expert degree does not divide the experts, or tensor x data x context",
    "batch": "data x micro-batch do not divide the global batch",
    "memory": "the fullest device holds too much",
}


@dataclass(frozen=True)
class LayoutJob:
    """A model on so many devices."""

    architecture: Architecture
    device: Device
    devices: int

    @property
    def usable_memory(self) -> float:
        """Bytes of a device, a tenth kept free."""
        return (1 - RESERVE) * self.device.memory

    @property
    def domain(self) -> int:
        """Devices that fast links join."""
        return domain_devices(self.device, self.devices)


@dataclass(frozen=True)
class TrainingJob(LayoutJob):
    """One training run that layouts are for."""

    tokens_per_sequence: int
    sequences: int
    """Of a step."""
    optimizer: OptimizerName = "adamw"
    precision: TrainingPrecision = "bf16"
    gradient_dtype: GradientDtype = "fp32"


@dataclass(frozen=True)
class RefusedLayouts:
    """Layouts that do not work, by reason."""

    count: int
    nearest: LayoutColumns
    """One of them: the one that holds least, or the one with the smallest degrees."""
    bytes: float | None
    """What it would hold, where memory is the reason."""


def divisors(number: int, largest: int) -> list[int]:
    """Those up to a limit, ascending."""
    return [size for size in range(1, min(number, largest) + 1) if number % size == 0]


def layout_grid(job: TrainingJob) -> LayoutColumns:
    """Every combination of degrees, chunks and micro-batches, ZeRO 1 and nothing but scores recomputed."""
    domain = job.domain
    most_experts = max((group.count for _, moe in job.architecture.moe_layers() for group in moe.groups), default=1)
    axes = [
        divisors(job.devices, min(LARGEST_TENSOR, domain)),
        divisors(job.devices, min(LARGEST_PIPELINE, job.architecture.num_layers)),
        divisors(job.devices, most_experts),
        divisors(job.devices, min(LARGEST_CONTEXT, domain)),
        list(CHUNKS),
        list(MICRO_BATCHES),
    ]
    tensor, pipeline, expert, context, chunks, micro = (
        values.ravel() for values in np.meshgrid(*map(np.array, axes), indexing="ij")
    )
    data = np.maximum(job.devices // (tensor * pipeline * context), 1)
    count = np.maximum(job.sequences // (data * micro), 1)
    return LayoutColumns(
        tensor, pipeline, expert, data, context, chunks, micro, count, np.ones_like(tensor), np.zeros_like(tensor)
    )


def splits_heads(architecture: Architecture, tensor: Column) -> Column:
    """Which tensor degrees do not divide the heads of every attention."""
    split = np.zeros(len(tensor), dtype=bool)
    for _, layer in architecture.layer_runs():
        mixer = layer.mixer.attention if isinstance(layer.mixer, ParallelMixers) else layer.mixer
        if isinstance(mixer, AnyAttention | DifferentialAttention | LatentAttention):
            split |= mixer.num_heads % tensor != 0
    return split


def first_broken(rules: Mapping[RuleName, Column]) -> tuple[dict[RuleName, Column], Column]:
    """Masks of the layouts that break each rule and none before it, where there are such; and of those that keep all.

    >>> import numpy as np
    >>> first_broken({"heads": np.array([True, False]), "stages": np.array([True, False])})
    ({'heads': array([ True, False])}, array([False,  True]))
    """
    kept: Column = ~np.logical_or.reduce([*rules.values()])
    first: dict[RuleName, Column] = {}
    refused = np.zeros_like(kept)
    for reason, broken in rules.items():
        if (new := broken & ~refused).any():
            first[reason] = new
        refused = refused | broken
    return first, kept


def broken_rules(job: TrainingJob, layouts: LayoutColumns) -> dict[Refusal, Column]:
    """Which layouts break which rule, memory apart."""
    tensor, pipeline, context = layouts.tensor, layouts.pipeline, layouts.context
    parts = pipeline * layouts.chunks
    experts = (tensor * layouts.data * context) % layouts.expert != 0
    for _, moe in job.architecture.moe_layers():
        for group in moe.groups:
            experts |= group.count % layouts.expert != 0
    layers = job.architecture.num_layers
    each = -(-layers // parts)
    return {
        "degrees": (tensor * pipeline * context * layouts.data != job.devices) | (tensor * context > job.domain),
        "heads": splits_heads(job.architecture, tensor),
        "sequence": ((context > 1) & (job.tokens_per_sequence % (2 * context) != 0))
        | (job.tokens_per_sequence % (tensor * context) != 0),
        "stages": (each * (parts - 1) >= layers) & (parts > 1) | (layouts.chunks > 1) & (pipeline == 1),
        "experts": experts,
        "batch": (layouts.data * layouts.micro_batch * layouts.micro_batches != job.sequences)
        | (layouts.chunks > 1) & (layouts.micro_batches % pipeline != 0),
    }


def layout_memory(job: TrainingJob, layouts: LayoutColumns) -> TrainingMemory[Any]:
    """Bytes of the fullest device of each layout, by component."""
    parts = {name: np.zeros(len(layouts)) for name in ("weights", "gradients", "optimizer", "activations", "logits")}
    for code in np.unique(layouts.recompute):
        some = layouts.recompute == code
        chosen = layouts.take(some)
        held = memory_of(
            job.architecture,
            chosen,
            tokens=chosen.micro_batch * float(job.tokens_per_sequence),
            recompute=recompute_of(int(code)),
            optimizer=kept_states(job.optimizer, job.precision),
            gradient_dtype=job.gradient_dtype,
            keeping=megatron_keeping(KEPT_BYTES[job.precision]),
        )
        for name, values in parts.items():
            values[some] = getattr(held, name)
    return TrainingMemory(**parts)


def kept_states(optimizer: OptimizerName, precision: TrainingPrecision) -> OptimizerName:
    """What an optimizer keeps: 8-bit weights are not the upper half of their fp32 copy, so that it is kept whole.

    Weights are in 8 bits where `launch_flags` asks for --fp8-param-gather. With nvfp4 they stay in bf16.
    """
    if has_halved_copy(optimizer) and precision in ("fp8", "mxfp8"):
        return "adamw_bf16_moments"
    return optimizer


def recompute_menu(architecture: Architecture) -> tuple[str, ...]:
    """What the search tries, the cheapest first: nothing, outputs of norms and activations, mixtures, whole layers.

    >>> from moewright.hf import load_architecture
    >>> recompute_menu(load_architecture("examples/configs/deepseek-v3.json").architecture)[1:3]
    ('moe_act', 'layernorm+mla_up_proj+moe_act')
    """
    latent = any(isinstance(layer.mixer, LatentAttention) for _, layer in architecture.layer_runs())
    cheap = "layernorm+mla_up_proj" if latent else "layernorm"
    if not architecture.moe_layers():
        return (NOTHING, *([cheap] if latent else []), "mlp", "layers")
    return (NOTHING, "moe_act", f"{cheap}+moe_act", f"{cheap}+moe", "layers")


def with_stages(job: TrainingJob, layouts: LayoutColumns) -> LayoutColumns:
    """Each layout with every ZeRO stage and everything of `recompute_menu`."""
    recomputed = [recompute_code(text) for text in recompute_menu(job.architecture)]
    options = [(zero, code) for zero in range(4) for code in recomputed]
    zero, code = (np.repeat(values, len(layouts)) for values in np.array(options).T)
    tiled = {name: np.tile(values, len(options)) for name, values in vars(layouts).items()}
    every = LayoutColumns(**{**tiled, "zero_stage": zero, "recompute": code})
    # Without copies there is nothing to share; with a pipeline only optimizer states are shared.
    most = np.where(every.data * every.context * every.tensor // every.expert > 1, 3, 0)
    most = np.where(every.data * every.context > 1, 3, most)
    most = np.where(every.pipeline > 1, np.minimum(most, 1), most)
    return every.take(every.zero_stage <= most)


def search_layouts(job: TrainingJob) -> tuple[LayoutColumns, TrainingMemory[Any], dict[Refusal, RefusedLayouts]]:
    """Every layout that divides and fits, what it holds, and the others by reason."""
    refused: dict[Refusal, RefusedLayouts] = {}
    grid = layout_grid(job)
    first, keeping = first_broken(broken_rules(job, grid))
    for reason, broken in first.items():
        some = grid.take(broken)
        refused[reason] = RefusedLayouts(len(some), _smallest(some), None)
    left = with_stages(job, grid.take(keeping))
    held = layout_memory(job, left)
    total = np.asarray(held.total)
    fits = total <= job.usable_memory
    if not fits.all():
        over = np.flatnonzero(~fits)
        least = over[np.argmin(total[over])]
        refused["memory"] = RefusedLayouts(len(over), left.take([least]), float(total[least]))
    kept = TrainingMemory(**{name: values[fits] for name, values in vars(held).items()})
    return left.take(fits), kept, refused


def _smallest(layouts: LayoutColumns) -> LayoutColumns:
    degrees = (
        layouts.tensor * layouts.pipeline * layouts.context + layouts.expert + layouts.chunks + layouts.micro_batch
    )
    return layouts.take([int(np.argmin(degrees))])


TOLD_APART = 0.05
"""Shares of a step's time below which no two layouts are told apart: of measured pairs that differ by over a tenth one
in five is predicted the wrong way round (docs/hardware.md)."""


def fastest_layouts(layouts: LayoutColumns, seconds: Column, held: Column, top: int) -> Iterator[int]:
    """The fastest layouts, one of each set of degrees; of equally fast ones that which holds least.

    First comes the one that spreads a copy of the model over the fewest devices (tensor x pipeline x context), of those
    that are not told apart from the fastest; of equally spread ones that with the least context parallelism.
    """
    order = np.lexsort((held, np.round(seconds, 9)))
    spread = layouts.tensor * layouts.pipeline * layouts.context
    tied = order[seconds[order] <= (1 + TOLD_APART) * seconds.min()]
    simplest = tied[int(np.lexsort((layouts.context[tied], spread[tied]))[0])]
    seen: set[tuple[int, ...]] = set()
    for place in (simplest, *order):
        degrees = tuple(int(getattr(layouts, name)[place]) for name in ("tensor", "pipeline", "expert", "context"))
        if degrees not in seen:
            seen.add(degrees)
            yield int(place)
        if len(seen) == top:
            return
