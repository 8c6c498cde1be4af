"""What a design takes of each budget, and which expert sizes of a group are within all of them.

Every cost grows with the expert size, so the sizes within the budgets are those up to a widest one, found exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from moewright.architecture import Architecture, cache, counts, storage
from moewright.design.budgets import Budgets
from moewright.design.candidates import Candidates, Column, columns
from moewright.design.space import Space
from moewright.quantities import format_bytes, format_count


@dataclass(frozen=True)
class Limit:
    """One budget as an upper bound on a cost that grows with the expert size."""

    name: str
    """Field of Budgets."""
    option: str
    most: float
    cost: Callable[[Architecture], Any]
    line: Literal["exact", "rounded", "none"] = "exact"
    """In the expert size a straight line, one up to the rounding of block formats, or only growing."""


def limits(budgets: Budgets) -> tuple[Limit, ...]:
    """The budgets that bound a model, cheapest to count first."""
    b = budgets
    load = {"batch": b.batch, "context": b.context, "weights_dtype": b.weights_dtype, "kv_dtype": b.kv_dtype}
    plain: Literal["exact", "rounded"] = "rounded" if storage.WEIGHT_FORMATS[b.weights_dtype].bits else "exact"
    found = []
    if b.total_params is not None:
        found.append(Limit("total_params", "total-params", b.total_params, counts.total_params))
    if b.active_params is not None:
        found.append(Limit("active_params", "active-params", b.active_params, counts.active_params))
    if b.memory_bytes is not None:
        found.append(Limit("memory_bytes", "memory", b.memory_bytes, lambda a: memory_bytes(a, b), plain))
    if b.hardware is not None:
        # Imported when a device is named: the device file is YAML, which is slow to load.
        from moewright.hardware import decode_tokens_per_second, load_device, memory_per_device, time_to_first_token

        device, n = load_device(b.hardware), b.devices

        def on_fullest(a: Architecture) -> Any:
            held = memory_per_device(a, device, devices=n, **load)  # type: ignore[arg-type]
            return held.weights + held.cache

        def seconds_per_token(a: Architecture) -> Any:
            return 1 / decode_tokens_per_second(a, device, devices=n, **load)[0]  # type: ignore[arg-type]

        def seconds_to_first(a: Architecture) -> Any:
            return time_to_first_token(a, device, devices=n, **load)[1]  # type: ignore[arg-type]

        if b.device_memory_bytes is not None:
            found.append(Limit("device_memory_bytes", "memory", b.device_memory_bytes, on_fullest, "rounded"))
        if b.decode_tokens_per_second is not None:
            most = 1 / b.decode_tokens_per_second
            found.append(
                Limit("decode_tokens_per_second", "decode-tokens-per-second", most, seconds_per_token, "none")
            )
        if b.time_to_first_token is not None:
            found.append(
                Limit("time_to_first_token", "time-to-first-token", b.time_to_first_token, seconds_to_first, "none")
            )
    return tuple(found)


def show_budget(limit: Limit, value: float, nearest: bool = False) -> str:
    """A value of a budget for people; `nearest` rounds up, so that what is shown suffices."""
    value = value * 1.0005 if nearest else value
    if limit.name == "decode_tokens_per_second":
        return f"{1 / value:.4g} a second"
    if limit.name == "time_to_first_token":
        return f"{value:.4g} s"
    return format_count(value) if limit.name.endswith("params") else format_bytes(value)


def memory_bytes(architecture: Architecture, budgets: Budgets) -> int:
    """Bytes of the weights and of the cache of all sequences, under the budgets' conditions."""
    sequence = cache.cache_bytes_per_sequence(architecture, budgets.context, budgets.kv_dtype)
    return storage.weights_bytes(architecture, budgets.weights_dtype) + budgets.batch * sequence


def sizes_within(groups: Candidates, bounds: tuple[Limit, ...], space: Space) -> tuple[Candidates, Column]:
    """The groups (at their narrowest size) with any size within the bounds, and the widest size of each that is."""
    find = {"exact": _widest_of_exact_line, "rounded": _widest_of_line, "none": _widest_by_halving}
    widest = np.asarray(space.widest_size(groups.hidden_size))
    for limit in bounds:
        possible = widest >= groups.expert_size
        if not possible.all():
            groups, widest = groups.take(possible), widest[possible]
        widest = find[limit.line](groups, limit, widest, space)
    possible = widest >= groups.expert_size
    return groups.take(possible), widest[possible]


def _widest_of_exact_line(groups: Candidates, limit: Limit, widest: Column, space: Space) -> Column:
    """The widest size within the limit, in whole numbers; a size below the narrowest means that none is."""
    step, least = space.expert_size_step, groups.expert_size
    if limit.name in groups.lines:
        low, per_step = groups.count(limit.name), groups.lines[limit.name][1] * step
    else:
        low = _cost(groups, least, limit, space.vocab_size)
        per_step = _cost(groups, least + step, limit, space.vocab_size) - low
    assert low is not None
    steps = np.floor_divide(limit.most - low, per_step).astype(np.int64)
    return np.minimum(least + steps * step, widest)


def _widest_of_line(groups: Candidates, limit: Limit, widest: Column, space: Space) -> Column:
    """The widest size within the limit: where a straight line meets it, then step by step until it is exact.

    A size below the narrowest means that none is.
    """
    least, step, vocab_size = groups.expert_size, space.expert_size_step, space.vocab_size
    low, high = _cost(groups, least, limit, vocab_size), _cost(groups, widest, limit, vocab_size)
    slope = np.where(high > low, (high - low) / np.maximum(widest - least, step), 1.0)
    # The line is met at least + (most - low) / slope; groups beyond either end need no more looking.
    meets = np.clip((limit.most - low) / slope, -float(step), (widest - least).astype(np.float64))
    found = least + np.floor(meets / step).astype(np.int64) * step
    found = np.where(high <= limit.most, widest, np.where(low > limit.most, least - step, np.maximum(found, least)))
    open_rows = np.flatnonzero((high > limit.most) & (low <= limit.most))
    while len(open_rows):
        too_wide = _exceeds(groups, open_rows, found, limit, vocab_size)
        found[open_rows[too_wide]] -= step
        fits = open_rows[~too_wide]
        next_fits = ~_exceeds(groups, fits, found + step, limit, vocab_size)
        found[fits[next_fits]] += step
        open_rows = np.concatenate([open_rows[too_wide], fits[next_fits]])
    return found


def _widest_by_halving(groups: Candidates, limit: Limit, widest: Column, space: Space) -> Column:
    """The widest size within the limit by bisection; a size below the narrowest means that none is."""
    least, step = groups.expert_size, space.expert_size_step
    inside, outside = least - step, widest + step
    while len(open_rows := np.flatnonzero(outside - inside > step)):
        middle = inside + (outside - inside) // (2 * step) * step
        too_wide = _exceeds(groups, open_rows, middle, limit, space.vocab_size)
        outside[open_rows[too_wide]] = middle[open_rows[too_wide]]
        inside[open_rows[~too_wide]] = middle[open_rows[~too_wide]]
    return inside


def _exceeds(
    groups: Candidates, rows: Column, sizes: Column, limit: Limit, vocab_size: int
) -> npt.NDArray[np.bool_]:
    return np.asarray(_cost(groups.take(rows), sizes[rows], limit, vocab_size) > limit.most)


def _cost(groups: Candidates, size: Any, limit: Limit, vocab_size: int) -> npt.NDArray[Any]:
    sized = groups.with_expert_size(size)
    known = sized.count(limit.name)
    return known if known is not None else np.asarray(limit.cost(columns(sized, vocab_size)))
