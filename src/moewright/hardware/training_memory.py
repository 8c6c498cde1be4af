"""What training keeps on the fullest device: weights, gradients, optimizer state, activations.

States after ZeRO (arXiv 1910.02054, section 3): mixed-precision Adam keeps 2 bytes of weight, 2 of gradient and 12 of
optimizer state for each parameter; stage 1 shares the optimizer state over the data-parallel devices, stage 2 the
gradients too, stage 3 the weights too. Buffers of communication and fragments are not counted.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from moewright.architecture.spec import Architecture
from moewright.architecture.weights import layer_weights, outer_weights
from moewright.complaints import number
from moewright.errors import UserError
from moewright.hardware.activations import (
    FP32_BYTES,
    layer_activation_bytes_per_token,
    recomputed_layer_bytes_per_token,
)
from moewright.records import Record, Size

Optimizer = Literal["adamw", "adamw_bf16_moments", "adamw_8bit", "muon"]
OPTIMIZER_BYTES: dict[Optimizer, int] = {
    "adamw": 12,  # fp32 copy of the weights and two fp32 moments (ZeRO, section 3.1)
    "adamw_bf16_moments": 8,  # fp32 copy, moments in bf16 (DeepSeek-V3, arXiv 2412.19437, section 3.3.3)
    "adamw_8bit": 6,  # fp32 copy, moments in 8 bits (arXiv 2110.02861); their block scales are left out
    "muon": 8,  # fp32 copy and one fp32 momentum (arXiv 2502.16982); the few AdamW parameters are counted alike
}
_MASTER_BYTES = 4  # of the fp32 copy that OPTIMIZER_BYTES includes

Recompute = Literal["attention_scores", "experts", "layers"]
Precision = Literal["bf16", "fp32", "bf16_products"]


@dataclass(frozen=True)
class _Widths:
    """Bytes of one number."""

    weight: int
    gradient: int
    activation: int
    has_master: bool
    """Whether the optimizer holds a wider copy of the weights."""


_WIDTHS: dict[Precision, _Widths] = {
    "bf16": _Widths(weight=2, gradient=2, activation=2, has_master=True),
    "fp32": _Widths(weight=4, gradient=4, activation=4, has_master=False),
    # fp32 weights, each with a bf16 copy that the backward pass reads again, as in automatic mixed precision
    "bf16_products": _Widths(weight=4 + 2, gradient=4, activation=2, has_master=False),
}


class Parallelism(Record):
    """How training is spread: data x tensor x pipeline devices."""

    data: Size = 1
    tensor: Size = 1
    """With sequence parallelism, so that norms' activations are split too (arXiv 2205.05198, section 4.2.2)."""
    pipeline: Size = 1
    expert: Size | None = None
    """Devices that share one copy of the experts, out of data x tensor; None: those of the tensor group."""
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 0

    @property
    def devices(self) -> int:
        """All devices."""
        return self.data * self.tensor * self.pipeline

    @property
    def expert_devices(self) -> int:
        """`expert`, or what stands for it."""
        return self.expert or self.tensor


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes on the fullest device. Numbers or columns."""

    weights: Any
    gradients: Any
    optimizer: Any
    activations: Any
    logits: Any
    """Of the last stage in fp32, as far as they are not hidden behind what the first stage holds."""

    @property
    def total(self) -> Any:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.logits


def training_memory(
    architecture: Architecture,
    parallelism: Parallelism | None = None,
    *,
    micro_batch: int = 1,
    tokens_per_sequence: int = 4096,
    optimizer: Optimizer = "adamw",
    precision: Precision = "bf16",
    gradient_dtype: Literal["bf16", "fp32"] | None = None,
    recompute: Recompute = "attention_scores",
    imbalance: float = 1.0,
    logit_rows: int | None = None,
) -> TrainingMemory:
    """Bytes on the fullest device while one micro-batch (or, in a pipeline, one for each stage) is under way.

    `micro_batch` sequences of `tokens_per_sequence` tokens. `precision`: bf16 is ZeRO's mixed precision; fp32 has no
    narrower copies; bf16_products keeps weights and gradients in fp32 and computes in bf16. `gradient_dtype` None
    follows the precision. `recompute` "experts" keeps only the first products of routed experts, "layers" only each
    layer's input and one layer's rest; `imbalance` is the share of expert copies on the fullest device over the mean.
    `logit_rows`: logits, and their gradient beside them, exist for so many tokens at a time; None: for all, as one
    tensor. Raises UserError for degrees that do not divide.
    """
    spread = parallelism or Parallelism()
    if (spread.data * spread.tensor) % spread.expert_devices:
        raise UserError(f"expert: {spread.expert_devices} must divide data x tensor = {spread.data * spread.tensor}")
    number(imbalance, "imbalance", at_least=1)
    common, experts = _params_per_device(architecture, spread)
    widths = _WIDTHS[precision]
    gradient_bytes = {None: widths.gradient, "bf16": 2, "fp32": FP32_BYTES}[gradient_dtype]

    def state(bytes_per_param: int, shared_from: int) -> Any:
        sharing = spread.zero_stage >= shared_from
        copies_of_experts = spread.data * spread.tensor // spread.expert_devices
        parts = (common / (spread.data if sharing else 1), experts / (copies_of_experts if sharing else 1))
        return bytes_per_param * (parts[0] + parts[1])

    tokens = micro_batch * tokens_per_sequence
    activations, spare = _activations(architecture, spread, tokens, recompute, imbalance, widths.activation)
    rows = tokens if logit_rows is None else 2 * min(tokens, logit_rows)
    logits = np.maximum(rows * architecture.vocab_size * FP32_BYTES / spread.tensor - spare, 0.0)
    return TrainingMemory(
        weights=state(widths.weight, shared_from=3),
        gradients=state(gradient_bytes, shared_from=2),
        optimizer=state(OPTIMIZER_BYTES[optimizer] - (0 if widths.has_master else _MASTER_BYTES), shared_from=1),
        activations=activations,
        logits=logits,
    )


def _params_per_device(architecture: Architecture, spread: Parallelism) -> tuple[Any, Any]:
    """Parameters on the fullest device before ZeRO: all but routed experts, routed experts.

    Layers are spread evenly over the stages; of embedding and head, which are on the first and the last, only one
    counts where there are several.
    """
    outer = sum(weight.params for weight in outer_weights(architecture))
    if spread.pipeline > 1:
        outer = architecture.vocab_size * architecture.hidden_size
    routed: Any = 0
    in_layers: Any = 0
    for times, layer in architecture.layer_runs():
        weights = layer_weights(layer, architecture.hidden_size, architecture.norm, architecture.hyper_connections)
        in_layers = in_layers + times * sum(weight.params for weight in weights)
        routed = routed + times * sum(weight.params for weight in weights if weight.component == "routed_experts")
    common = (outer + (in_layers - routed) / spread.pipeline) / spread.tensor
    return common, routed / (spread.pipeline * spread.expert_devices)


def _activations(
    architecture: Architecture,
    spread: Parallelism,
    tokens: int,
    recompute: Recompute,
    imbalance: float,
    number_bytes: int,
) -> tuple[Any, Any]:
    """Bytes of activations of the first stage, and how many fewer the last stage holds."""
    by_layer = [
        (
            times,
            layer_activation_bytes_per_token(
                architecture, layer, imbalance, number_bytes=number_bytes, recompute_experts=recompute == "experts"
            ),
        )
        for times, layer in architecture.layer_runs()
    ]
    if recompute == "layers":
        fullest: Any = 0
        for _, kept in by_layer:
            fullest = np.maximum(fullest, kept)
        held = architecture.num_layers * recomputed_layer_bytes_per_token(architecture, number_bytes)
        first, last = held + fullest, held / spread.pipeline + fullest
    else:
        held = sum(times * kept for times, kept in by_layer)
        first, last = held, held / spread.pipeline
    # A stage holds L/p layers; one-forward-one-backward keeps p micro-batches under way in the first stage and one in
    # the last (arXiv 2205.05198, section 4.2.3).
    share = tokens / spread.tensor
    return share * first, share * (first - last)
