"""What training keeps on the fullest device: weights, gradients, optimizer state, activations.

States after ZeRO (arXiv 1910.02054, section 3): mixed-precision Adam keeps 2 bytes of weight, 2 of gradient and 12 of
optimizer state for each parameter; stage 1 shares the optimizer state over the data-parallel devices, stage 2 the
gradients too, stage 3 the weights too. Buffers of communication and fragments are not counted.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from moewright.architecture.part import Part, Size
from moewright.architecture.spec import Architecture
from moewright.architecture.weights import layer_weights, outer_weights
from moewright.errors import UserError
from moewright.hardware.activations import (
    FP32_BYTES,
    layer_activation_bytes_per_token,
    recomputed_layer_bytes_per_token,
)

Optimizer = Literal["adamw", "adamw_bf16_moments", "adamw_8bit", "muon"]
OPTIMIZER_BYTES: dict[Optimizer, int] = {
    "adamw": 12,  # fp32 copy of the weights and two fp32 moments (ZeRO, section 3.1)
    "adamw_bf16_moments": 8,  # fp32 copy, moments in bf16 (DeepSeek-V3, arXiv 2412.19437, section 3.3.3)
    "adamw_8bit": 6,  # fp32 copy, moments in 8 bits (arXiv 2110.02861); their block scales are left out
    "muon": 8,  # fp32 copy and one fp32 momentum (arXiv 2502.16982); the few AdamW parameters are counted alike
}
WEIGHT_BYTES = 2  # bf16


class Parallelism(Part):
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
    gradient_dtype: Literal["bf16", "fp32"] = "bf16",
    recompute: Literal["attention_scores", "layers"] = "attention_scores",
    imbalance: float = 1.0,
) -> TrainingMemory:
    """Bytes on the fullest device while one micro-batch (or, in a pipeline, one for each stage) is under way.

    `micro_batch` sequences of `tokens_per_sequence` tokens; `recompute` "layers" keeps only each layer's input and one
    layer's rest; `imbalance` is the share of expert copies on the fullest device over the mean. Raises UserError for
    degrees that do not divide.
    """
    spread = parallelism or Parallelism()
    if (spread.data * spread.tensor) % spread.expert_devices:
        raise UserError(f"expert: {spread.expert_devices} must divide data x tensor = {spread.data * spread.tensor}")
    if not imbalance >= 1:
        raise UserError(f"imbalance: expected at least 1, found {imbalance}")
    common, experts = _params_per_device(architecture, spread)
    gradient_bytes = WEIGHT_BYTES if gradient_dtype == "bf16" else FP32_BYTES

    def state(bytes_per_param: int, shared_from: int) -> Any:
        sharing = spread.zero_stage >= shared_from
        copies_of_experts = spread.data * spread.tensor // spread.expert_devices
        parts = (common / (spread.data if sharing else 1), experts / (copies_of_experts if sharing else 1))
        return bytes_per_param * (parts[0] + parts[1])

    activations, logits = _activations(architecture, spread, micro_batch * tokens_per_sequence, recompute, imbalance)
    return TrainingMemory(
        weights=state(WEIGHT_BYTES, shared_from=3),
        gradients=state(gradient_bytes, shared_from=2),
        optimizer=state(OPTIMIZER_BYTES[optimizer], shared_from=1),
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
    architecture: Architecture, spread: Parallelism, tokens: int, recompute: str, imbalance: float
) -> tuple[Any, Any]:
    """Bytes of activations of the first stage, and what the last stage's logits add to the fullest."""
    by_layer = [
        (times, layer_activation_bytes_per_token(architecture, layer, imbalance))
        for times, layer in architecture.layer_runs()
    ]
    if recompute == "layers":
        fullest: Any = 0
        for _, kept in by_layer:
            fullest = np.maximum(fullest, kept)
        held = architecture.num_layers * recomputed_layer_bytes_per_token(architecture)
        first, last = held + fullest, held / spread.pipeline + fullest
    else:
        held = sum(times * kept for times, kept in by_layer)
        first, last = held, held / spread.pipeline
    # A stage holds L/p layers; one-forward-one-backward keeps p micro-batches under way in the first stage and one in
    # the last (arXiv 2205.05198, section 4.2.3).
    share = tokens / spread.tensor
    logits = tokens * architecture.vocab_size * FP32_BYTES / spread.tensor
    return share * first, np.maximum(logits - share * (first - last), 0.0)
