"""What one optimizer step takes, by component, of one model under columns of layouts.

Named coefficients (`training_coefficients.yaml`, each with its source) turn FLOPs and bytes into seconds. The terms:

- products: FLOPs over the fraction of the format's peak that large products reach.
- experts: the same, times (1 + rows_half / rows) (1 + width_half / width) for products with few rows and of narrow
  experts, where rows = tokens x K / E of an expert, and width is the harmonic mean of the expert's and of what it reads
  (the model's, or a latent's); and no faster than its weights are read.
- attention: the scores and values (or states) of mixers, in bf16 whatever the format.
- elementwise: norms, activations and permutation move each kept byte several times through the memory, casts to 8 or
  4 bits and back some more.
- gaps: between kernels, for each layer and micro-batch; more where a scan of a linear mixer is done in chunks, for each
  expert that a device holds, and where products have kernels of casts beside them.
- dispatch: each copy of a token crosses once to every other device that holds one of its experts (inside a domain of
  fast links) or to every other domain (by its network card), and back, forward and backward.
- tensor: an all-gather and a reduce-scatter around attention and around a dense feed-forward, both ways (sequence
  parallelism, arXiv 2205.05198); context: keys and values pass around the ring.
- data: gradients summed in their format and bf16 weights gathered once a step; ZeRO 3 gathers weights twice for every
  micro-batch.
- optimizer: the states of the owned parameters are read and written, in the formats that the optimizer keeps; Muon
  orthogonalises each matrix besides.
- recomputation: forward passes of modules that are done again (`activations.RECOMPUTED_MODULES`), at the speed of the
  first, with what they send; what they keep is written again.
- pipeline: each part of the model hands its activations to the next, and gradients come back; stages are outermost, so
  that neighbours are inside one domain only where all devices are.
- bubble: of everything that is done for each micro-batch, (p - 1) / (v m) (arXiv 2104.04473, section 2.2).

Of communication, a fraction is exposed (a coefficient each); the rest hides behind products.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from moewright.architecture.counts import BACKWARD_FACTOR, mixing_flops_per_token, product_flops
from moewright.architecture.feed_forwards import Dense, routed_width
from moewright.architecture.inventory import Component, inventory
from moewright.architecture.mixers import LINEAR_MIXERS, AnyAttention, NoMixer
from moewright.architecture.spec import Architecture, passed_layers, passed_mixtures
from moewright.hardware.activations import FROM_LATENTS, RecomputedModule, kept_bytes, modules_of, recompute_of
from moewright.hardware.devices import ComputeDtype, Device
from moewright.hardware.placement import distinct_experts
from moewright.hardware.pretraining import (
    BYTES,
    GRADIENT_BYTES,
    OPTIMIZER_BYTES,
    GradientDtype,
    OptimizerName,
    has_halved_copy,
    params_per_device,
    share_of_layers,
)
from moewright.hardware.roofline import DTYPE_BYTES
from moewright.hardware.training_coefficients import StepCoefficients

if TYPE_CHECKING:
    from moewright.architecture.sizes import Column

TrainingPrecision = Literal["bf16", "fp8", "mxfp8", "nvfp4"]
PRECISIONS: tuple[TrainingPrecision, ...] = get_args(TrainingPrecision)
PRODUCT_FORMATS: dict[TrainingPrecision, ComputeDtype] = {"bf16": "bf16", "fp8": "fp8", "mxfp8": "fp8", "nvfp4": "fp4"}
KEPT_BYTES: dict[TrainingPrecision, float | None] = {
    "bf16": None,
    "fp8": 1,
    "mxfp8": 1 + 1 / 32,
    "nvfp4": 1 / 2 + 1 / 16,
}
"""What a product keeps of each number of its input, a scale for each 32 or 16 of them included; None: as it is."""
StepComponent = Literal[
    "attention",
    "dense",
    "experts",
    "vocabulary",
    "elementwise",
    "gaps",
    "recomputation",
    "dispatch",
    "tensor",
    "context",
    "pipeline",
    "bubble",
    "data",
    "optimizer",
]
STEP_COMPONENTS: tuple[StepComponent, ...] = get_args(StepComponent)
_DENSE: tuple[Component, ...] = (
    "attention",
    "linear_mixer",
    "shared_experts",
    "dense_ffn",
    "latent_projections",
    "other",
)
_PASSES = 1 + BACKWARD_FACTOR
_ORTHOGONALISING_STEPS = 5
"""Of Newton and Schulz in each of Muon's updates (arXiv 2502.16982, section 2.1)."""


@dataclass(frozen=True)
class LayoutColumns:
    """Layouts, one entry each. Devices are tensor x pipeline x data x context; experts are spread over `expert`."""

    tensor: Column
    pipeline: Column
    expert: Column
    data: Column
    context: Column
    chunks: Column
    micro_batch: Column
    """Sequences that one data-parallel group passes at a time."""
    micro_batches: Column
    """Of a step, one after the other."""
    zero_stage: Column
    recompute: Column
    """`activations.recompute_code`: a bit for each module."""

    @property
    def expert_devices(self) -> Column:
        """`expert`."""
        return self.expert

    def __len__(self) -> int:
        return len(self.tensor)

    def take(self, chosen: Any) -> LayoutColumns:
        """Some of them, by a mask or by indices."""
        return LayoutColumns(**{name: values[chosen] for name, values in vars(self).items()})


def domain_devices(device: Device, devices: int) -> int:
    """How many of so many devices a domain of fast links joins: the most that divide them.

    256 devices of a rack of 72 work as four domains of 64.
    """
    inside = range(1, min(device.node.devices, devices) + 1)
    return max(size for size in inside if devices % size == 0)


def step_seconds(
    architecture: Architecture,
    device: Device,
    devices: int,
    layouts: LayoutColumns,
    *,
    tokens_per_sequence: int,
    precision: TrainingPrecision = "bf16",
    optimizer: OptimizerName = "adamw",
    gradient_dtype: GradientDtype = "fp32",
    coefficients: StepCoefficients,
) -> dict[StepComponent, Column]:
    """Seconds of one optimizer step by component, for the middle of what tuned public software reaches.

    Coefficients were fitted with AdamW's fp32 states and fp32 gradients, whatever a source's recipe has. Prediction
    blocks of a model are left out. The sum of the components is the step.
    """
    at = coefficients.values()
    dtype = device.compute_dtype(PRODUCT_FORMATS[precision])
    share = share_of_layers(architecture, layouts)
    tokens = layouts.micro_batch * float(tokens_per_sequence) / layouts.context  # that a tensor group passes
    local = tokens / layouts.tensor
    domain = domain_devices(device, devices)
    in_bf16 = _products_per_second(device, "bf16", at)

    flops = product_flops(architecture)
    products = sum(flops[name] for name in _DENSE) / _products_per_second(device, dtype, at)
    mixing = mixing_flops_per_token(architecture, tokens_per_sequence) / (device.peak_flops["bf16"] * at["mixing"])
    head = 2.0 * architecture.vocab_size * architecture.hidden_size / in_bf16
    dense = _PASSES * local * share * products
    attention = _PASSES * local * share * mixing
    routers = _PASSES * local * share * flops["router"] / in_bf16
    experts = share * _experts(architecture, device, dtype, layouts, local, at) + routers

    kept = sum(times * kept_bytes(architecture, run)[0] for times, run in passed_layers(architecture))
    memory = device.memory_bandwidth * at["memory"]
    casts = dtype != "bf16"
    elementwise = local * share * (at["elementwise"] + at["casts"] * casts) * kept / memory
    mixers = sum(times for times, run in passed_layers(architecture) if not isinstance(run.mixer, NoMixer))
    mixtures = sum(times for times, _ in passed_mixtures(architecture))
    scans = sum(times for times, run in passed_layers(architecture) if isinstance(run.mixer, LINEAR_MIXERS))
    experts_here = sum(times * moe.num_experts for times, moe in passed_mixtures(architecture)) / layouts.expert
    gap = mixers * at["gap_of_a_mixer"] + scans * at["gap_of_a_scan"] + mixtures * at["gap_of_a_mixture"]
    gaps = share * (gap + experts_here * at["gap_of_an_expert"]) * (at["casting_gaps"] if casts else 1.0)
    dispatch = at["exposed_dispatch"] * share * _dispatch(architecture, device, domain, layouts, local, at)
    tensor, context = (
        at["exposed_tensor"] * share * seconds
        for seconds in _tensor_and_context(architecture, device, domain, layouts, tokens, at)
    )
    each_product = local * share / _products_per_second(device, dtype, at)
    latents = sum(
        2.0 * times * weight.products
        for times, weight in inventory(architecture, passed=True)
        if weight.name in FROM_LATENTS
    )
    # Forward passes alone, with what they send: half of dispatch and of tensor traffic, a third of the ring's.
    modules: dict[RecomputedModule, Column] = {
        "core_attn": attention / _PASSES,
        "mla_up_proj": each_product * latents,
        "mlp": each_product * flops["dense_ffn"],
        "shared_experts": each_product * flops["shared_experts"],
        "moe": experts / _PASSES
        + dispatch / 2
        + each_product * (flops["shared_experts"] + flops["latent_projections"]),
        "layers": (attention + dense + experts) / _PASSES + dispatch / 2 + tensor / 2 + context / 3,
    }
    again = 0 * local
    for code in np.unique(layouts.recompute):
        recompute = recompute_of(int(code))
        chosen = modules_of(recompute)
        written = sum(times * kept_bytes(architecture, run, recompute)[1] for times, run in passed_layers(architecture))
        seconds = elementwise / _PASSES * written / kept
        for module in sorted(chosen - ({"shared_experts"} if "moe" in chosen else set())):
            seconds = seconds + modules.get(module, 0.0)
        again = np.where(layouts.recompute == code, seconds, again)

    between = _network(device) * at["network"] if devices > domain else device.node.bandwidth * at["links"]
    handed = np.where(
        layouts.pipeline > 1, 2 * BYTES * local * architecture.hidden_size * layouts.chunks / between, 0.0
    )
    common, routed = params_per_device(architecture, layouts)
    copies = layouts.data * layouts.context
    outside = layouts.tensor * copies > domain
    link = np.where(outside, _network(device) * at["network"], device.node.bandwidth * at["links"])
    copies_of_experts = copies * layouts.tensor // layouts.expert
    exchanged = common * (copies > 1) + routed * (copies_of_experts > 1)
    gathered = np.where(layouts.zero_stage >= 3, 2 * BYTES * exchanged / link, 0.0)
    gradient_bytes = GRADIENT_BYTES[gradient_dtype]
    data = at["exposed_data"] * (gradient_bytes + BYTES) * exchanged / link
    sharing = layouts.zero_stage >= 1
    owned = common / copies**sharing + routed / copies_of_experts**sharing
    updating = update_traffic(optimizer, gradient_dtype) * owned / memory
    if optimizer == "muon":
        of_common, of_routed = orthogonalising_flops(architecture)
        shared = of_common * common / copies**sharing + of_routed * routed / copies_of_experts**sharing
        updating = updating + shared / in_bf16

    count = layouts.micro_batches
    passes: dict[StepComponent, Column] = {
        "attention": attention,
        "dense": dense,
        "experts": experts,
        "vocabulary": _PASSES * local * head / layouts.pipeline,
        "elementwise": elementwise,
        "gaps": gaps,
        "recomputation": again,
        "dispatch": dispatch,
        "tensor": tensor,
        "context": context,
        "pipeline": at["exposed_data"] * handed,
    }
    whole: dict[StepComponent, Column] = {name: count * seconds for name, seconds in passes.items()}
    bubble = (layouts.pipeline - 1) / (layouts.chunks * count)
    whole["bubble"] = bubble * sum(whole.values())
    whole["data"] = data + at["exposed_data"] * count * gathered
    whole["optimizer"] = updating
    return whole


def update_traffic(optimizer: OptimizerName, gradient_dtype: GradientDtype) -> int:
    """Bytes that move for each owned parameter of an update: gradient and states read, states and bf16 weight written.

    Where the weight is the upper half of the fp32 copy, it is read too.

    >>> update_traffic("adamw", "fp32"), update_traffic("adamw_precision_aware", "bf16")
    (30, 18)
    """
    halved = BYTES if has_halved_copy(optimizer) else 0
    return GRADIENT_BYTES[gradient_dtype] + 2 * OPTIMIZER_BYTES[optimizer] + BYTES + halved


def orthogonalising_flops(architecture: Architecture) -> tuple[float, float]:
    """Of Muon, for each parameter outside of routed experts and in them: vectors, embedding and head have none.

    A step for a matrix of m x n, m <= n, is X X^T, its square, and one product with X: 4 m^2 n + 2 m^3.
    """
    flops, params = {False: 0.0, True: 0.0}, {False: 0.0, True: 0.0}
    for times, weight in inventory(architecture):
        routed = weight.component == "routed_experts"
        params[routed] += times * weight.params
        if weight.use == "matmul" and weight.component not in ("embedding", "lm_head"):
            small, large = sorted((weight.outputs, weight.inputs))
            each = 4.0 * small**2 * large + 2.0 * small**3
            flops[routed] += _ORTHOGONALISING_STEPS * times * weight.copies * each * weight.held
    return flops[False] / params[False], flops[True] / max(params[True], 1.0)


def _network(device: Device) -> float:
    return device.network.bandwidth if device.network is not None else device.node.bandwidth


def _experts(
    architecture: Architecture,
    device: Device,
    dtype: ComputeDtype,
    layouts: LayoutColumns,
    local: Column,
    at: Mapping[str, float],
) -> Column:
    """Seconds of all layers, forward and backward, for one micro-batch."""
    seconds = 0.0 * local
    peak = _products_per_second(device, dtype, at)
    for times, moe in passed_mixtures(architecture):
        width = routed_width(moe, architecture.hidden_size)
        for group in moe.groups:
            weights = (3 if moe.gated else 2) * width * group.expert_size
            rows = local * layouts.expert * group.top_k / group.count
            narrow = (1 / group.expert_size + 1 / width) / 2
            slower = (1 + at["rows_half"] / rows) * (1 + at["width_half"] * narrow)
            products = 2 * local * group.top_k * weights / peak * slower
            held = DTYPE_BYTES[dtype] * weights * group.count / layouts.expert
            seconds = seconds + times * _PASSES * np.maximum(products, held / (device.memory_bandwidth * at["memory"]))
    return seconds


def _dispatch(
    architecture: Architecture,
    device: Device,
    domain: int,
    layouts: LayoutColumns,
    local: Column,
    at: Mapping[str, float],
) -> Column:
    """Seconds of all layers for one micro-batch: there and back, forward and backward, in bf16."""
    seconds = 0.0 * local
    domains = np.maximum(layouts.expert / domain, 1.0)
    for times, moe in passed_mixtures(architecture):
        choices = sum(group.top_k for group in moe.groups)
        sent = BYTES * local * routed_width(moe, architecture.hidden_size)
        near = sent * _others_reached(layouts.expert, choices) / (device.node.bandwidth * at["links"])
        far = sent * _others_reached(domains, choices) / (_network(device) * at["network"])
        seconds = seconds + times * 4 * (near + far)
    return seconds


def _others_reached(places: Column, choices: int) -> Column:
    """Of so many places, how many but its own a token's choices fall on, each as likely."""
    return distinct_experts(places, 1.0, choices) * (1 - 1 / places)


def _tensor_and_context(
    architecture: Architecture,
    device: Device,
    domain: int,
    layouts: LayoutColumns,
    tokens: Column,
    at: Mapping[str, float],
) -> tuple[Column, Column]:
    """Seconds of all layers for one micro-batch, forward and backward."""
    split = 0
    keys = 0.0
    for times, layer in passed_layers(architecture):
        mixes = not isinstance(layer.mixer, NoMixer)
        is_dense = isinstance(layer.feed_forward, Dense)
        split += times * (mixes + is_dense)
        if isinstance(layer.mixer, AnyAttention):
            keys += times * layer.mixer.num_kv_heads * (layer.mixer.head_dim + layer.mixer.value_channels)
        elif mixes:
            keys += times * architecture.hidden_size
    sent = BYTES * tokens * architecture.hidden_size * (layouts.tensor - 1) / layouts.tensor
    tensor = split * 4 * sent / (device.node.bandwidth * at["links"])
    around = np.where(
        layouts.tensor * layouts.context > domain, _network(device) * at["network"], device.node.bandwidth * at["links"]
    )
    # Forward passes keys and values on, backward these and their gradients.
    context = 3 * BYTES * tokens * keys / layouts.tensor * (layouts.context - 1) / around
    return tensor, context


def _products_per_second(device: Device, dtype: ComputeDtype, at: Mapping[str, float]) -> float:
    return device.peak_flops[dtype] * at[f"products_{dtype}"]
