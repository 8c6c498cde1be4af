"""What training takes: memory on the fullest device, and time.

States after ZeRO (arXiv 1910.02054, section 3): mixed-precision Adam keeps 2 bytes of weight, 2 of gradient and 12 of
optimizer state for each parameter; stage 1 shares the optimizer state over the data-parallel devices, stage 2 the
gradients too, stage 3 the weights too. Buffers of communication and fragments are not counted.

Activations: `moewright.hardware.activations`. A pipeline's first stage holds as many micro-batches as there are stages;
what is recomputed exists for one layer at a time, after the logits are gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, Protocol

import numpy as np
from pydantic import Field

from moewright.architecture.counts import DEFAULT_TOKENS_PER_SEQUENCE, training_flops
from moewright.architecture.inventory import layer_weights, outer_weights
from moewright.architecture.sizes import F, total
from moewright.architecture.spec import Countable, passed_layers
from moewright.complaints import check_number
from moewright.errors import UserError
from moewright.hardware.activations import FP32_BYTES, NOTHING, Keeping, kept_bytes
from moewright.hardware.devices import Hardware, load_device
from moewright.hardware.layout_record import TrainingMemoryRecord
from moewright.hardware.placement import place
from moewright.records import Record, Size

BYTES = 2  # bf16

OptimizerName = Literal["adamw", "adamw_bf16_moments", "adamw_precision_aware", "adamw_8bit", "muon"]
OPTIMIZER_BYTES: dict[OptimizerName, int] = {
    "adamw": 12,  # fp32 copy of the weights and two fp32 moments (ZeRO, section 3.1)
    "adamw_bf16_moments": 8,  # fp32 copy, moments in bf16 (DeepSeek-V3, arXiv 2412.19437, section 3.3.3)
    # bf16 moments, and of the fp32 copy the half that the bf16 weight lacks (Megatron-Core, store_param_remainders)
    "adamw_precision_aware": 6,
    "adamw_8bit": 6,  # fp32 copy, moments in 8 bits (arXiv 2110.02861); their block scales are left out
    "muon": 8,  # fp32 copy and one fp32 momentum (arXiv 2502.16982); the few AdamW parameters are counted alike
}
_MASTER_BYTES = {"adamw_precision_aware": 2}
"""Of the fp32 copy that OPTIMIZER_BYTES includes; 4 of all others."""

Precision = Literal["bf16", "fp32", "bf16_products"]
GradientDtype = Literal["bf16", "fp32"]
GRADIENT_BYTES: dict[GradientDtype, int] = {"bf16": 2, "fp32": FP32_BYTES}
Stage = Literal["fullest", "last"]


def has_halved_copy(optimizer: OptimizerName) -> bool:
    """Whether the fp32 copy of the weights lacks the half that the bf16 weights hold."""
    return optimizer in _MASTER_BYTES


@dataclass(frozen=True)
class _BytesPerValue:
    """Bytes of one number."""

    weight: int
    gradient: int
    activation: int
    has_master: bool
    """Whether the optimizer holds a wider copy of the weights."""


_WIDTHS: dict[Precision, _BytesPerValue] = {
    "bf16": _BytesPerValue(weight=2, gradient=2, activation=2, has_master=True),
    "fp32": _BytesPerValue(weight=4, gradient=4, activation=4, has_master=False),
    # fp32 weights, each with a bf16 copy that the backward pass reads again, as in automatic mixed precision
    "bf16_products": _BytesPerValue(weight=4 + 2, gradient=4, activation=2, has_master=False),
}


class Parallelism(Record):
    """How training is spread: data x tensor x pipeline devices."""

    data: Size = 1
    tensor: Size = 1
    """With sequence parallelism, so that norms' activations are split too (arXiv 2205.05198, section 4.2.2)."""
    pipeline: Size = 1
    expert: Size | None = None
    """Devices that share one copy of the experts, out of data x context x tensor; None: those of the tensor group."""
    context: Size = 1
    """Devices that share each sequence."""
    chunks: Size = 1
    """Parts of the model on each stage of the pipeline, passed in turn (interleaving, arXiv 2104.04473)."""
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 0

    @property
    def devices(self) -> int:
        """All devices."""
        return self.data * self.tensor * self.pipeline * self.context

    @property
    def expert_devices(self) -> int:
        """`expert`, or what stands for it."""
        return self.expert or self.tensor


@dataclass(frozen=True)
class TrainingMemory(Generic[F]):
    """Bytes on the fullest device."""

    weights: F
    gradients: F
    optimizer: F
    activations: F
    logits: F
    """Of the last stage in fp32, as far as they are not hidden behind what the first stage holds."""

    @property
    def total(self) -> F:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.logits

    def record(self) -> TrainingMemoryRecord:
        """Of one model, as files and answers have it."""
        return TrainingMemoryRecord(
            weights=float(self.weights),
            gradients=float(self.gradients),
            optimizer=float(self.optimizer),
            activations=float(self.activations),
            logits=float(self.logits),
            total=float(self.total),
        )


def training_memory(
    architecture: Countable[F],
    parallelism: Parallelism | None = None,
    *,
    micro_batch: int = 1,
    tokens_per_sequence: int = DEFAULT_TOKENS_PER_SEQUENCE,
    optimizer: OptimizerName = "adamw",
    precision: Precision = "bf16",
    gradient_dtype: GradientDtype | None = None,
    recompute: str = NOTHING,
    imbalance: float = 1.0,
    logit_rows: int | None = None,
    keeping: Keeping | None = None,
    stage: Stage = "fullest",
) -> TrainingMemory[F]:
    """Bytes on the fullest device while one micro-batch (or, in a pipeline, one for each stage) is under way.

    `micro_batch` sequences of `tokens_per_sequence` tokens. `precision`: bf16 is ZeRO's mixed precision; fp32 has no
    narrower copies; bf16_products keeps weights and gradients in fp32 and computes in bf16. `gradient_dtype` None
    follows the precision. `recompute`: modules that a backward pass computes again, joined by +
    (`activations.RECOMPUTED_MODULES`); `imbalance` is the share of expert copies on the fullest device over the mean.
    `keeping`: what kernels keep; None: modules of PyTorch in this precision. `stage`: of a pipeline the fullest, or the
    last.
    `logit_rows`: logits, and their gradient beside them, exist for so many tokens at a time; None: for all, as one
    tensor. Raises UserError for degrees that do not divide.

    >>> from moewright.hf import load_architecture
    >>> olmoe = load_architecture("examples/configs/olmoe-1b-7b.json").architecture
    >>> held = training_memory(olmoe, Parallelism(data=8, zero_stage=1), tokens_per_sequence=4096)
    >>> f"{held.total / 1e9:.1f} GB"
    '49.1 GB'
    """
    spread = parallelism or Parallelism()
    sharing_layers = spread.data * spread.tensor * spread.context
    if sharing_layers % spread.expert_devices:
        raise UserError(f"expert: {spread.expert_devices} must divide data x context x tensor = {sharing_layers}")
    check_number(imbalance, "imbalance", at_least=1)
    return memory_of(
        architecture,
        spread,
        tokens=micro_batch * tokens_per_sequence,
        optimizer=optimizer,
        precision=precision,
        gradient_dtype=gradient_dtype,
        recompute=recompute,
        imbalance=imbalance,
        logit_rows=logit_rows,
        keeping=keeping,
        stage=stage,
    )


class Degrees(Protocol):
    """What memory reads of a layout: the fields of `Parallelism`, as numbers or as columns of them."""

    @property
    def data(self) -> Any: ...
    @property
    def tensor(self) -> Any: ...
    @property
    def pipeline(self) -> Any: ...
    @property
    def context(self) -> Any: ...
    @property
    def chunks(self) -> Any: ...
    @property
    def expert_devices(self) -> Any: ...
    @property
    def zero_stage(self) -> Any: ...


def memory_of(
    architecture: Countable[Any],
    spread: Degrees,
    *,
    tokens: Any,
    optimizer: OptimizerName = "adamw",
    precision: Precision = "bf16",
    gradient_dtype: GradientDtype | None = None,
    recompute: str = NOTHING,
    imbalance: float = 1.0,
    logit_rows: int | None = None,
    keeping: Keeping | None = None,
    stage: Stage = "fullest",
) -> TrainingMemory[Any]:
    """`training_memory` of degrees that are known to divide, with `tokens` in a micro-batch.

    One architecture under columns of degrees and tokens, or columns of architectures under one layout.
    """
    common, experts = params_per_device(architecture, spread)
    widths = _WIDTHS[precision]
    gradient_bytes = widths.gradient if gradient_dtype is None else GRADIENT_BYTES[gradient_dtype]

    def state(bytes_per_param: int, shared_from: int) -> Any:
        shared = spread.zero_stage >= shared_from
        copies = spread.data * spread.context
        copies_of_experts = copies * spread.tensor // spread.expert_devices
        return bytes_per_param * (common / copies**shared + experts / copies_of_experts**shared)

    keeping = keeping or Keeping(number=widths.activation)
    activations, spare = _activations(architecture, spread, tokens, recompute, imbalance, keeping, stage)
    rows = tokens if logit_rows is None else 2 * np.minimum(tokens, logit_rows)
    sharing_logits = spread.tensor * spread.context
    logits = np.maximum(rows * architecture.vocab_size * keeping.logit / sharing_logits - spare, 0.0)
    master = 0 if widths.has_master else _MASTER_BYTES.get(optimizer, FP32_BYTES)
    return TrainingMemory(
        weights=state(widths.weight, shared_from=3),
        gradients=state(gradient_bytes, shared_from=2),
        optimizer=state(OPTIMIZER_BYTES[optimizer] - master, shared_from=1),
        activations=activations,
        logits=logits,
    )


def share_of_layers(architecture: Countable[Any], spread: Degrees) -> Any:
    """Of the fullest stage: even for a few layers that do not divide, each part of a stage has one more."""
    parts = spread.pipeline * spread.chunks
    return np.where(parts > 1, np.ceil(architecture.num_layers / parts) * spread.chunks / architecture.num_layers, 1.0)


def params_per_device(architecture: Countable[Any], spread: Degrees) -> tuple[Any, Any]:
    """Parameters on the fullest device before ZeRO: all but routed experts, routed experts.

    Layers are spread as evenly over the stages as they divide; of embedding and head, which are on the first and the
    last, only one counts where there are several.
    """
    none = 0 * architecture.hidden_size
    outer = total((weight.params for weight in outer_weights(architecture)), none)
    outer = np.where(np.asarray(spread.pipeline) > 1, architecture.vocab_size * architecture.hidden_size, outer)
    routed = in_layers = none
    for times, layer in architecture.layer_runs():
        weights = layer_weights(architecture, layer)
        in_layers = in_layers + times * total((weight.params for weight in weights), none)
        in_experts = (weight.params for weight in weights if weight.component == "routed_experts")
        routed = routed + times * total(in_experts, none)
    share = share_of_layers(architecture, spread)
    return (outer + (in_layers - routed) * share) / spread.tensor, routed * share / spread.expert_devices


def _activations(
    architecture: Countable[Any],
    spread: Degrees,
    tokens: Any,
    recompute: str,
    imbalance: float,
    keeping: Keeping,
    stage: Stage,
) -> tuple[Any, Any]:
    """Bytes of activations of a stage, and how many of them the last stage does not hold beside the logits."""
    held = rest = 0.0 * architecture.hidden_size
    for times, layer in passed_layers(architecture):
        kept, again = kept_bytes(architecture, layer, recompute, keeping, imbalance)
        held = held + times * kept
        if recompute != "experts":  # which the lab computes again one at a time
            rest = np.maximum(rest, again)
    # A stage holds L/p layers; one-forward-one-backward keeps p micro-batches under way in the first stage and one in
    # the last, with v chunks a stage p (1 + (p - 1) / (p v)) (arXiv 2205.05198, section 4.2.3) and, of the last, as
    # many chunks as it passes before its first backward pass, (v - 1) p + 1.
    in_stage = held * share_of_layers(architecture, spread)
    stages, chunks = spread.pipeline, spread.chunks
    first = np.where(np.asarray(chunks) > 1, stages + (stages - 1) / chunks, stages)
    last = ((chunks - 1) * stages + 1) / chunks
    under_way = first if stage == "fullest" else last
    share = tokens / (spread.tensor * spread.context)
    return share * (in_stage * under_way + rest), share * (in_stage * (under_way - last) + rest)


# Time

# Model FLOPs utilisation, of the bf16 peak. Computed from published runs by 6 N_a D over devices x hours x 989 TFLOP/s:
# OLMoE-1B-7B 0.18 (5.1T tokens in some 10 days on 256 H100, arXiv 2409.02060), DeepSeek-V3 0.34 (14.8T tokens in 2.664M
# H800 hours, with fp8 products, arXiv 2412.19437, table 1). Printed: dense Llama 3 405B 0.38 to 0.43 (arXiv 2407.21783,
# table 4). High: a little above the best of them, assumed.
MODEL_FLOPS_UTILISATION = (0.18, 0.45)


def training_seconds(
    architecture: Countable[F],
    train_tokens: float,
    device: Hardware,
    devices: int = 1,
    *,
    tokens_per_sequence: int = DEFAULT_TOKENS_PER_SEQUENCE,
    dtype: Literal["bf16", "fp32"] = "bf16",
    utilisation: tuple[float, float] = MODEL_FLOPS_UTILISATION,
) -> tuple[F, F]:
    """Seconds of wall time to train on so many tokens, (low, high) over the range of utilisation.

    FLOPs are those of `training_flops`; nothing that is recomputed is counted, as in the definition of utilisation
    (PaLM, arXiv 2204.02311, appendix B). Times `devices` it is device time. Numbers or columns. Raises UserError for an
    unknown device and impossible numbers.
    """
    check_number(train_tokens, "train-tokens", above=0)
    low, high = utilisation
    if not 0 < low <= high <= 1:
        raise UserError(f"utilisation: expected 0 < low <= high <= 1, found {low} and {high}")
    found = load_device(device)
    place(found, devices)  # only whole nodes, and no more than a network joins
    flops = training_flops(architecture, train_tokens, tokens_per_sequence)
    peak = devices * found.peak_flops[found.compute_dtype(dtype)]
    return flops / (peak * high), flops / (peak * low)


def device_hours(flops: float, device: Hardware) -> tuple[float, float]:
    """Hours of a device for training FLOPs, (low, high) over `MODEL_FLOPS_UTILISATION` of its bf16 peak.

    >>> [round(hours) for hours in device_hours(1e21, "H100")]
    [624, 1560]
    """
    found = load_device(device)
    low, high = MODEL_FLOPS_UTILISATION
    hours = flops / found.peak_flops[found.compute_dtype("bf16")] / 3600
    return hours / high, hours / low


def training_device_hours(
    architecture: Countable[F], train_tokens: float, device: Hardware, devices: int = 1, **settings: Any
) -> tuple[F, F]:
    """`training_seconds` (whose settings it takes) times the number of devices, in hours: (low, high)."""
    low, high = training_seconds(architecture, train_tokens, device, devices, **settings)
    return devices * low / 3600, devices * high / 3600
