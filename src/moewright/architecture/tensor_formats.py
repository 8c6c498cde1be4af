"""How single tensors are stored, and what a whole model takes when each tensor has a format of its own."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from moewright.architecture.inventory import COMPONENTS, Component, Weight


class TensorFormat(NamedTuple):
    """A matrix of outputs x inputs as stored: so many bits an element, and what goes with it.

    >>> TensorFormat("int4", 4, block=(1, 32), block_bits=16).matrix_bytes(64, 256)
    9216
    """

    name: str
    bits: int
    """Of one element."""
    block: tuple[int, int] = (1, 1)
    """Outputs x inputs that share scales and zero points; 0 stands for the whole side."""
    block_bits: int | Fraction = 0
    """Scales and zero points of a block, each row of blocks in whole bytes."""
    matrix_extra: int = 0
    """Bytes of what is there once for a matrix, such as a global scale."""
    input_extra: int = 0
    """Bytes of what is there once for an input, such as GPTQ's g_idx."""
    word_bits: int = 8
    """Rows are filled up to whole words."""

    def matrix_bytes(self, outputs: int, inputs: int) -> int:
        """Bytes of one matrix with all that belongs to it."""
        high, wide = self.block[0] or max(outputs, 1), self.block[1] or max(inputs, 1)
        row = -(-inputs * self.bits // self.word_bits) * self.word_bits // 8
        scales = -(-outputs // high) * -(-inputs // wide) * self.block_bits
        return outputs * row + int(-(-scales // 8)) + self.matrix_extra + inputs * self.input_extra


class UnknownStorageError(Exception):
    """Why the bytes of published weights cannot be told from a config."""


PLAIN_FORMATS: dict[str, TensorFormat] = {
    name: TensorFormat(name, bits) for name, bits in (("fp64", 64), ("fp32", 32), ("bf16", 16), ("fp16", 16))
}
"""Formats without scales."""


class StoredTensors(NamedTuple):
    """Equal tensors of one kind: parameters and bytes of all of them."""

    component: Component
    format: str
    params: int
    bytes: int


def plainly_stored(weight: Weight[int], stored: TensorFormat, times: int) -> StoredTensors:
    """So many of a weight in a format without scales.

    >>> plainly_stored(Weight("router", "router", 64, 2048), PLAIN_FORMATS["bf16"], 16)
    StoredTensors(component='router', format='bf16', params=2097152, bytes=4194304)
    """
    params = times * weight.params
    return StoredTensors(weight.component, stored.name, params, params * stored.bits // 8)


class StoredModel:
    """Parameters and bytes of a model as stored, by component and by format."""

    def __init__(self) -> None:
        self.params: dict[Component, int] = dict.fromkeys(COMPONENTS, 0)
        self.bytes: dict[Component, int] = dict.fromkeys(COMPONENTS, 0)
        self.params_by_format: dict[str, int] = {}
        self.bytes_by_format: dict[str, int] = {}

    def add(self, tensors: Iterable[StoredTensors]) -> None:
        """Count more tensors."""
        for each in tensors:
            self.params[each.component] += each.params
            self.bytes[each.component] += each.bytes
            self.params_by_format[each.format] = self.params_by_format.get(each.format, 0) + each.params
            self.bytes_by_format[each.format] = self.bytes_by_format.get(each.format, 0) + each.bytes

    @property
    def total_bytes(self) -> int:
        """Of all tensors."""
        return sum(self.bytes.values())

    def dtype(self) -> str | None:
        """The formats of the matrices by their parameters, the largest first; plain ones only where all are plain."""
        of_parameters = {name: count for name, count in self.params_by_format.items() if count}
        packed = {name: count for name, count in of_parameters.items() if name not in PLAIN_FORMATS}
        found = packed or of_parameters
        if not packed and found:
            return max(found, key=lambda name: found[name])
        return "+".join(sorted(found, key=lambda name: -found[name])) or None
