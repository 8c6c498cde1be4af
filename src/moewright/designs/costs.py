"""What designs cost: training, decoding, first token and cache, on the budgets' device or on a usual one."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from moewright.architecture import cache
from moewright.architecture.spec import Countable
from moewright.architecture.weight_formats import WEIGHT_FORMATS
from moewright.designs.budgets import Budgets
from moewright.laws.variable import Array

# Named where the budgets name none: what most published mixtures of the catalogue were trained on.
USUAL_DEVICE = "H100"
MOST_ASSUMED = 512
"""Devices that are assumed where none was named: they hold 41 TB, more than any model takes."""
# Devices of one node, in powers of two; beyond, whole nodes.
NODE = 8

CostName = Literal["train_device_hours", "decode_tokens_per_second", "time_to_first_token"]


@dataclass(frozen=True)
class CostedOn:
    """Where costs are counted."""

    hardware: str
    devices: int
    assumed: bool
    """Whether the budgets named no device."""


@dataclass(frozen=True)
class Costs:
    """Of one design (numbers) or of many (columns); times are (low, high) of the roofline's range."""

    train_device_hours: tuple[Any, Any]
    decode_tokens_per_second: tuple[Any, Any]
    """For each sequence of the batch."""
    time_to_first_token: tuple[Any, Any]
    """Seconds, for the batch's prompts of the context's length."""
    kv_bytes_per_token: Any


def costed_on(budgets: Budgets) -> CostedOn:
    """The budgets' device, or as many H100s as the size budget fills."""
    if budgets.hardware is not None:
        return CostedOn(budgets.hardware, budgets.devices, assumed=False)
    from moewright.hardware import load_device

    number = math.ceil(bytes_wanted(budgets) / load_device(USUAL_DEVICE).memory)
    return CostedOn(USUAL_DEVICE, _whole(min(number, MOST_ASSUMED)), assumed=True)


def bytes_wanted(budgets: Budgets) -> float:
    """The size that the budgets allow, as bytes of weights."""
    if budgets.memory_bytes is not None:
        return budgets.memory_bytes
    if budgets.total_params is not None:
        return budgets.total_params * bytes_per_param(budgets)
    assert budgets.device_memory_bytes is not None
    return budgets.device_memory_bytes * budgets.devices


def bytes_per_param(budgets: Budgets) -> float:
    """Of a matrix in the budgets' weight format."""
    stored = WEIGHT_FORMATS[budgets.weights_dtype]
    return stored.bits / 8 if stored.quantized != "nothing" else float(stored.rest_bytes)


def design_costs(architecture: Countable[Any], train_tokens: Any, budgets: Budgets, on: CostedOn) -> Costs:
    """The costs of an architecture, or of columns of them."""
    from moewright.hardware import decode_tokens_per_second, time_to_first_token, training_device_hours

    load: dict[str, Any] = {
        "devices": on.devices,
        "batch": budgets.batch,
        "context": budgets.context,
        "weights_dtype": budgets.weights_dtype,
        "kv_dtype": budgets.kv_dtype,
    }
    hours = training_device_hours(architecture, 1.0, on.hardware, tokens_per_sequence=budgets.tokens_per_sequence)
    return Costs(
        train_device_hours=(hours[0] * train_tokens, hours[1] * train_tokens),
        decode_tokens_per_second=decode_tokens_per_second(architecture, on.hardware, **load),
        time_to_first_token=time_to_first_token(architecture, on.hardware, **load),
        kv_bytes_per_token=cache.kv_bytes_per_token(architecture, budgets.kv_dtype),
    )


def middle(ends: tuple[Any, Any]) -> Array:
    """The geometric mean of the ends of a range, numbers or columns."""
    return np.sqrt(np.asarray(ends[0], dtype=np.float64) * np.asarray(ends[1], dtype=np.float64))


def _whole(number: int) -> int:
    if number > NODE:
        return -(-number // NODE) * NODE
    return next(power for power in (1, 2, 4, NODE) if power >= number)
