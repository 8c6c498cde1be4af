"""Bytes that the weights take in memory, by storage format. All experts are resident, used or not."""

from __future__ import annotations

from typing import Literal, NamedTuple

from moewright.architecture.inventory import Weight, inventory, layer_weights
from moewright.architecture.sizes import N, total
from moewright.architecture.spec import AnyLayer, Countable, WeightFormatName


class WeightFormat(NamedTuple):
    """Which matrices are stored in how many bits, with a scale per block; the rest has `rest_bytes` an element."""

    name: WeightFormatName
    description: str
    quantized: Literal["nothing", "routed_experts", "layer_matrices"]
    rest_bytes: int
    bits: int = 0
    block: tuple[int, int] = (1, 1)
    """Outputs x inputs that share a scale; 0 stands for the whole side."""
    scale_bytes: int = 0

    def weight_bytes(self, weight: Weight[N]) -> N | int:
        """Bytes of all copies of a weight."""
        if not self.quantizes(weight):
            return self.rest_bytes * weight.params
        high, wide = self.block
        blocks = _blocks(weight.outputs, high) * _blocks(weight.inputs, wide)
        return weight.params * self.bits // 8 + weight.copies * blocks * self.scale_bytes * weight.held

    def quantizes(self, weight: Weight[N]) -> bool:
        """Whether a weight is stored in few bits."""
        if self.quantized == "routed_experts":
            return weight.component == "routed_experts" and weight.use == "matmul"
        # Embedding, head, router and small vectors stay in high precision in every published scheme.
        kept = ("embedding", "lm_head", "router", "norm", "other")
        return self.quantized == "layer_matrices" and weight.use == "matmul" and weight.component not in kept


def _blocks(side: N | int, size: int) -> N | int:
    """Blocks of `size` along a side, rounded up; size 0: one block for the whole side, none if that is empty."""
    return -(-side // size) if size else 1 * (side > 0)


WEIGHT_FORMATS: dict[WeightFormatName, WeightFormat] = {
    weight_format.name: weight_format
    for weight_format in (
        WeightFormat("fp32", "all weights fp32", "nothing", 4),
        WeightFormat("bf16", "all weights bf16", "nothing", 2),
        WeightFormat("fp16", "all weights fp16", "nothing", 2),
        # DeepSeek-V3 (arXiv 2412.19437, section 3.3; config: weight_block_size [128, 128]).
        WeightFormat(
            "fp8", "layer matrices fp8 + fp32 scale per 128x128, rest bf16", "layer_matrices", 2, 8, (128, 128), 4
        ),
        # LLM.int8 style, one scale per output channel (arXiv 2208.07339).
        WeightFormat("int8", "layer matrices int8 + bf16 scale per row, rest bf16", "layer_matrices", 2, 8, (1, 0), 2),
        # GPTQ and AWQ's usual group of 128 (arXiv 2210.17323, 2306.00978).
        WeightFormat(
            "int4", "layer matrices int4 + bf16 scale per 128, rest bf16", "layer_matrices", 2, 4, (1, 128), 2
        ),
        # gpt-oss model card (arXiv 2508.10925, section 2.1): 4.25 bits per MoE weight; OCP MX: one byte per 32.
        WeightFormat("mxfp4", "routed experts mxfp4 + scale per 32, rest bf16", "routed_experts", 2, 4, (1, 32), 1),
        # NVFP4: one fp8 scale per 16 elements (NVIDIA, arXiv 2509.25149).
        WeightFormat("nvfp4", "layer matrices fp4 + fp8 scale per 16, rest bf16", "layer_matrices", 2, 4, (1, 16), 1),
    )
}


def layer_weights_bytes(architecture: Countable[N], layer: AnyLayer[N], weight_format: WeightFormatName = "bf16") -> N:
    """Bytes of one layer's weights in the named format."""
    stored = WEIGHT_FORMATS[weight_format]
    each = (stored.weight_bytes(weight) for weight in layer_weights(architecture, layer))
    return total(each, 0 * architecture.hidden_size)


def weights_bytes(architecture: Countable[N], weight_format: WeightFormatName = "bf16") -> N:
    """Bytes of all weights in the named format, multi-token-prediction blocks apart.

    >>> from moewright.hf import load_architecture
    >>> deepseek = load_architecture("examples/configs/deepseek-v3.json").architecture
    >>> weights_bytes(deepseek), weights_bytes(deepseek, "fp8")
    (1342052808704, 673150552416)
    """
    stored = WEIGHT_FORMATS[weight_format]
    each = (times * stored.weight_bytes(weight) for times, weight in inventory(architecture))
    return total(each, 0 * architecture.hidden_size)
