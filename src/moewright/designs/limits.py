"""Budgets as limits: what a design takes of each, which expert sizes of a group are within all, or why none is.

Every cost grows with the expert size, so the sizes within the budgets are those up to a widest one, found exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from moewright.architecture import cache, counts, weight_formats
from moewright.architecture.sizes import N
from moewright.architecture.spec import Countable
from moewright.designs.budgets import Budgets
from moewright.designs.candidates import Candidates, IntColumn, columns
from moewright.designs.groups import Groups
from moewright.designs.rules import sizes_by_rules
from moewright.designs.space import SWITCHED_OFF, Space
from moewright.errors import UserError
from moewright.quantities import format_bytes, format_count

# Sums of int64 columns below this are exact with room to spare; above, float64 has to do.
_EXACT = 2**62


@dataclass(frozen=True)
class Limit:
    """One budget as an upper bound on a cost that grows with the expert size."""

    name: str
    """Field of Budgets."""
    option: str
    most: float
    cost: Callable[[Countable[Any]], Any]
    is_line: bool = True
    """An exact straight line of whole numbers in the expert size; block formats round, and times have corners."""


def limits(budgets: Budgets) -> tuple[Limit, ...]:
    """The budgets that bound a model, cheapest to count first."""
    b = budgets
    load = {"batch": b.batch, "context": b.context, "weights_dtype": b.weights_dtype, "kv_dtype": b.kv_dtype}
    plain = weight_formats.WEIGHT_FORMATS[b.weights_dtype].quantized == "nothing"
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

        def on_fullest(a: Countable[Any]) -> Any:
            held = memory_per_device(a, device, devices=n, **load)  # type: ignore[arg-type]
            return held.weights + held.cache

        def seconds_per_token(a: Countable[Any]) -> Any:
            return 1 / decode_tokens_per_second(a, device, devices=n, **load)[0]  # type: ignore[arg-type]

        def seconds_to_first(a: Countable[Any]) -> Any:
            return time_to_first_token(a, device, devices=n, **load)[1]  # type: ignore[arg-type]

        if b.device_memory_bytes is not None:
            found.append(Limit("device_memory_bytes", "memory", b.device_memory_bytes, on_fullest, False))
        if b.decode_tokens_per_second is not None:
            most = 1 / b.decode_tokens_per_second
            found.append(Limit("decode_tokens_per_second", "decode-tokens-per-second", most, seconds_per_token, False))
        if b.time_to_first_token is not None:
            found.append(
                Limit("time_to_first_token", "time-to-first-token", b.time_to_first_token, seconds_to_first, False)
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


def memory_bytes(architecture: Countable[N], budgets: Budgets) -> N:
    """Bytes of the weights and of the cache of all sequences, under the budgets' conditions."""
    sequence = cache.cache_bytes_per_sequence(architecture, budgets.context, budgets.kv_dtype)
    most = int(np.max(sequence)) if np.size(sequence) else 0
    batch: Any = budgets.batch if budgets.batch * most < _EXACT else float(budgets.batch)
    held: N = weight_formats.weights_bytes(architecture, budgets.weights_dtype) + batch * sequence
    return held


def sizes_within(groups: Candidates, bounds: tuple[Limit, ...], space: Space) -> tuple[Candidates, IntColumn]:
    """The groups (at their narrowest size) with any size within rules and bounds, and the widest of each that is."""
    narrowest, widest = sizes_by_rules(groups, space)
    groups = groups.with_expert_size(narrowest)
    for limit in bounds:
        possible = widest >= groups.expert_size
        if not possible.all():
            groups, widest = groups.take(possible), widest[possible]
        find = _widest_of_exact_line if limit.is_line else _widest_by_bracket
        widest = find(groups, limit, widest, space)
    possible = widest >= groups.expert_size
    return groups.take(possible), widest[possible]


def _widest_of_exact_line(groups: Candidates, limit: Limit, widest: IntColumn, space: Space) -> IntColumn:
    """The widest size within the limit, in whole numbers; a size below the narrowest means that none is."""
    step, least = space.expert_size_step, groups.expert_size
    if limit.name in groups.lines:
        low, per_step = groups.count(limit.name), groups.lines[limit.name][1] * step
    else:
        low = _cost(groups, least, limit, space.vocab_size)
        per_step = _cost(groups, least + step, limit, space.vocab_size) - low
    assert low is not None
    steps = np.floor_divide(limit.most - low, per_step)
    # Before they become whole numbers: a budget may allow more steps than int64 has numbers.
    return np.asarray(least + np.clip(steps, -1, (widest - least) // step).astype(np.int64) * step)


def _widest_by_bracket(groups: Candidates, limit: Limit, widest: IntColumn, space: Space) -> IntColumn:
    """The widest size within the limit: straight lines through the ends of a shrinking bracket, halved where they fail.

    A size below the narrowest means that none is.
    """
    step, least = space.expert_size_step, groups.expert_size
    low = _cost(groups, least, limit, space.vocab_size)
    inside = least - step
    some = np.flatnonzero(low <= limit.most)  # times are dear to count: the others need no more
    high = _cost(groups.take(some), widest[some], limit, space.vocab_size)
    inside[some] = np.where(high <= limit.most, widest[some], least[some])
    rows = some[high > limit.most]
    ends = np.stack([least[rows], widest[rows]])
    costs = np.stack([low[rows], high[high > limit.most]]).astype(np.float64)
    rounds = 0
    while len(rows):
        steps = (ends[1] - ends[0]) // step
        share = (limit.most - costs[0]) / (costs[1] - costs[0]) if rounds % 4 < 3 else 0.5
        guess = ends[0] + np.clip(np.floor(share * steps).astype(np.int64), 1, np.maximum(steps - 1, 1)) * step
        taken = _cost(groups.take(rows), guess, limit, space.vocab_size)
        side = (taken > limit.most).astype(np.int64)
        # A guess at the outer end (a bracket of one step) changes nothing, and the bracket is then done.
        ends[side, np.arange(len(rows))], costs[side, np.arange(len(rows))] = guess, taken
        done = ends[1] - ends[0] <= step
        inside[rows[done]] = ends[0, done]
        rows, ends, costs = rows[~done], ends[:, ~done], costs[:, ~done]
        rounds += 1
    return inside


def _cost(groups: Candidates, size: Any, limit: Limit, vocab_size: int) -> npt.NDArray[Any]:
    sized = groups.with_expert_size(size)
    known = sized.count(limit.name)
    return known if known is not None else np.asarray(limit.cost(columns(sized, vocab_size)))


def infeasible(groups: Groups, budgets: Budgets) -> UserError:
    """Why no design is within the budgets, in one line: which they are, and the nearest value of each that is met."""
    bounds, space = limits(budgets), groups.space
    if not np.isfinite(_least(groups, bounds[0], ())):
        return UserError(
            f"space: {_excluding_rules(groups, bounds[0])} leaves no design; widen it, or take --space wide"
        )

    def least_beside(limit: Limit) -> float:
        return _least(groups, limit, tuple(other for other in bounds if other is not limit))

    reachable = {limit: least_beside(limit) for limit in bounds}
    alone = next((limit for limit in bounds if _least(groups, limit, ()) > limit.most), bounds[0])
    given = " and ".join(f"{limit.option} {show_budget(limit, limit.most)}" for limit in bounds)
    nearest = [
        f"{limit.option} {show_budget(limit, least, nearest=True)}"
        for limit, least in reachable.items()
        if np.isfinite(least)
    ]
    conditions = f"a vocabulary of {space.vocab_size:,}"
    if budgets.memory_bytes is not None:
        conditions += (
            f", weights in {budgets.weights_dtype} and a cache of {budgets.batch} x {budgets.context:,} tokens"
        )
    hope = f"nearest feasible: {' or '.join(nearest)}" if nearest else "no single budget can mend it; raise all of them"
    return UserError(f"{alone.option}: no design of the space is within {given} ({conditions}); {hope}")


def _excluding_rules(groups: Groups, limit: Limit) -> str:
    """The rules without one of which something would be left; all of them if it takes more than one."""
    alone = [
        name
        for name, value in SWITCHED_OFF.items()
        if np.isfinite(_least(replace(groups, space=groups.space.model_copy(update={name: value})), limit, ()))
    ]
    return " or ".join(f"{name} {getattr(groups.space, name):g}" for name in alone or SWITCHED_OFF)


def _least(groups: Groups, limit: Limit, bounds: tuple[Limit, ...]) -> float:
    """The least that any design within the bounds takes of a budget; infinite if there is none.

    Costs grow with the expert size, so only the narrowest of each group is counted.
    """
    least = np.inf
    for chunk in groups.chunks():
        within = sizes_within(chunk, bounds, groups.space)[0]
        if len(within):
            least = min(least, float(np.min(limit.cost(columns(within, groups.space.vocab_size)))))
    return least
