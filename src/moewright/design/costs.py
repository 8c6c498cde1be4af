"""What a design takes of each budget, and which expert sizes of a group are within all of them.

Every cost grows with the expert size, so the sizes within the budgets are those up to a widest one, found exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
    nearly_linear: bool = True
    """In the expert size, up to the rounding of block formats; otherwise only growing."""


def limits(budgets: Budgets) -> tuple[Limit, ...]:
    """The budgets that bound a model, cheapest to count first."""
    found = [
        Limit("total_params", "total-params", budgets.total_params or 0, counts.total_params),
        Limit("active_params", "active-params", budgets.active_params or 0, counts.active_params),
        Limit("memory_bytes", "memory", budgets.memory_bytes or 0, lambda a: memory_bytes(a, budgets)),
    ]
    return tuple(limit for limit in found if getattr(budgets, limit.name) is not None)


def show_budget(limit: Limit, value: float, nearest: bool = False) -> str:
    """A value of a budget for people; `nearest` rounds up, so that what is shown suffices."""
    form = format_bytes if limit.name == "memory_bytes" else format_count
    return form(value * 1.0005 if nearest else value)


def memory_bytes(architecture: Architecture, budgets: Budgets) -> int:
    """Bytes of the weights and of the cache of all sequences, under the budgets' conditions."""
    sequence = cache.cache_bytes_per_sequence(architecture, budgets.context, budgets.kv_dtype)
    return storage.weights_bytes(architecture, budgets.weights_dtype) + budgets.batch * sequence


def sizes_within(groups: Candidates, bounds: tuple[Limit, ...], space: Space) -> tuple[Candidates, Column]:
    """The groups (at their narrowest size) with any size within the bounds, and the widest size of each that is."""
    widest = np.asarray(space.widest_size(groups.hidden_size))
    for limit in bounds:
        possible = widest >= groups.expert_size
        groups, widest = groups.take(possible), widest[possible]
        widest = (_widest_of_line if limit.nearly_linear else _widest_by_halving)(groups, limit, widest, space)
    possible = widest >= groups.expert_size
    return groups.take(possible), widest[possible]


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
    return np.asarray(limit.cost(columns(groups.with_expert_size(size), vocab_size)))
