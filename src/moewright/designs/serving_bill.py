"""The bill of serving: device-hours for the tokens of a model's life, on servers that are kept full."""

from typing import TYPE_CHECKING, Any

import numpy as np

from moewright.architecture.spec import Countable
from moewright.designs.budgets import Budgets
from moewright.designs.served_as import ServedAs
from moewright.laws.variable import Array, Mask

if TYPE_CHECKING:
    from moewright.hardware.devices import Hardware


def serving_device_hours(
    architecture: Countable[Any], budgets: Budgets, hardware: "Hardware", devices: int, how: ServedAs
) -> tuple[tuple[Array, Array], Array]:
    """(low, high) device-hours of generating `budgets.serve_tokens`, and the sequences at a time; numbers or columns.

    Each sequence has the budgets' context in the cache. As many are generated together as gives the most tokens: the
    budgets' batch times a power of two, within the devices' memory and at least at the speed that the budgets ask for.
    Where the budgets' batch does not fit or is too slow, half of it is tried, and half of that. What reaches the speed
    at no batch (a baseline may) counts the largest that fits, at most the budgets'. Where not one sequence fits, the
    hours are infinite and the sequences 0. Prompts are not counted, nor hours in which nobody asks.
    """
    from moewright.hardware import decode_tokens_per_second, load_device, memory_per_device
    from moewright.hardware.serving_plan import MOST_SEQUENCES

    device = load_device(hardware)
    assert budgets.serve_tokens is not None
    shape = np.shape(architecture.hidden_size)
    floor = budgets.decode_tokens_per_second or 0.0

    def served(batch: int) -> tuple[Array, Array, Mask]:
        """Slow and fast tokens a second of all sequences together, and whether they fit; 0 where they do not."""
        load: dict[str, Any] = {
            "devices": devices,
            "batch": batch,
            "context": budgets.context,
            **how.formats,
        }
        rates = decode_tokens_per_second(architecture, device, **load, speculation=how.speculation)
        slow, fast = (batch * np.asarray(rate) for rate in rates)
        held = memory_per_device(architecture, device, **load, with_blocks=how.with_blocks)
        fits = np.broadcast_to(held.fits, shape)
        return np.where(fits, slow, 0.0), np.where(fits, fast, 0.0), fits

    low = high = batches = np.zeros(shape)
    any_low = any_high = any_batch = np.zeros(shape)  # of the largest batch that fits, whatever its speed
    batch = budgets.batch
    while batch:  # downwards while something has no batch yet
        slow, fast, fits = served(batch)
        new = fits & (slow >= batch * floor) & (batches == 0)
        low, high, batches = (np.where(new, a, b) for a, b in ((slow, low), (fast, high), (batch, batches)))
        new = fits & (any_batch == 0)
        any_low, any_high, any_batch = (
            np.where(new, a, b) for a, b in ((slow, any_low), (fast, any_high), (batch, any_batch))
        )
        if np.all(batches):
            break
        batch //= 2
    none = batches == 0
    low, high, batches = (np.where(none, a, b) for a, b in ((any_low, low), (any_high, high), (any_batch, batches)))
    batch = 2 * budgets.batch
    while batch <= MOST_SEQUENCES * devices:
        slow, fast, fits = served(batch)
        better = fits & (slow >= batch * floor) & (slow > low)
        if not better.any():
            break
        low, high, batches = (np.where(better, a, b) for a, b in ((slow, low), (fast, high), (batch, batches)))
        batch *= 2
    device_hours = budgets.serve_tokens * devices / 3600  # at one token a second
    with np.errstate(divide="ignore"):
        return (device_hours / high, device_hours / low), batches
