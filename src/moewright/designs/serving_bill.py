"""The bill of serving: device-hours for the tokens of a model's life, on servers that are kept full."""

from typing import TYPE_CHECKING, Any

import numpy as np

from moewright.architecture.spec import Countable
from moewright.designs.budgets import Budgets
from moewright.laws.variable import Array

if TYPE_CHECKING:
    from moewright.hardware.devices import Hardware


def serving_device_hours(
    architecture: Countable[Any], budgets: Budgets, hardware: "Hardware", devices: int
) -> tuple[tuple[Array, Array], Array]:
    """(low, high) device-hours of generating `budgets.serve_tokens`, and the sequences at a time; numbers or columns.

    Each sequence has the budgets' context in the cache. As many are generated together as gives the most tokens: the
    budgets' batch times a power of two, within the devices' memory and at least at the speed that the budgets ask for.
    The budgets' batch itself counts also where it does not fit: a budget of parameters asks no memory of it, and a
    baseline may be larger than the budgets. Prompts are not counted, nor hours in which nobody asks.
    """
    from moewright.hardware import decode_tokens_per_second, load_device, memory_per_device
    from moewright.hardware.serving_plan import MOST_SEQUENCES

    device = load_device(hardware)
    assert budgets.serve_tokens is not None
    low = high = batches = np.zeros(np.shape(architecture.hidden_size))
    batch = budgets.batch
    while batch == budgets.batch or batch <= MOST_SEQUENCES * devices:
        load: dict[str, Any] = {
            "devices": devices,
            "batch": batch,
            "context": budgets.context,
            "weights_dtype": budgets.weights_dtype,
            "kv_dtype": budgets.kv_dtype,
        }
        slow, fast = (np.asarray(rate) for rate in decode_tokens_per_second(architecture, device, **load))
        better = np.asarray(memory_per_device(architecture, device, **load).fits)
        better = better & (slow >= (budgets.decode_tokens_per_second or 0.0)) & (batch * slow > low)
        if batch == budgets.batch:
            better = np.ones_like(better)  # the budgets', whether it fits or not
        elif not better.any():
            break
        low, high = np.where(better, batch * slow, low), np.where(better, batch * fast, high)
        batches = np.where(better, batch, batches)
        batch *= 2
    device_hours = budgets.serve_tokens * devices / 3600  # at one token a second
    return (device_hours / high, device_hours / low), batches
