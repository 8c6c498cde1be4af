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
from moewright.designs.candidates import Candidates, IntColumn, by_plan, columns
from moewright.designs.groups import Groups
from moewright.designs.rules import sizes_by_rules
from moewright.designs.served_as import ServedAs
from moewright.designs.space import PLAIN_LAYERS, SWITCHED_OFF, LayerPlan, Space
from moewright.errors import UserError
from moewright.quantities import format_bytes, format_count, format_figure

# Sums of int64 columns below this are exact with room to spare; above, float64 has to do.
_EXACT = 2**62


@dataclass(frozen=True)
class Limit:
    """One budget as an upper bound on a cost that grows with the expert size."""

    name: str
    """Field of Budgets."""
    option: str
    most: float
    cost: Callable[[Countable[Any], ServedAs], Any]
    is_line: bool = True
    """An exact straight line of whole numbers in the expert size; block formats round, and times have corners."""

    def taken(self, candidates: Candidates, budgets: Budgets, vocab_size: int) -> Any:
        """What candidates take of it, a column: each as its plan has it served."""
        return by_plan(candidates, lambda some, plan: self.cost(columns(some, vocab_size), plan.served(budgets.served)))


def limits(budgets: Budgets, plans: tuple[LayerPlan, ...] = (PLAIN_LAYERS,)) -> tuple[Limit, ...]:
    """The budgets that bound a model, cheapest to count first; `plans`: those of the space."""
    b = budgets
    load: dict[str, Any] = {"batch": b.batch, "context": b.context}
    formats = {plan.served(b.served).weights_dtype for plan in plans}
    plain = all(weight_formats.WEIGHT_FORMATS[name].quantized == "nothing" for name in formats)
    found = []
    if b.total_params is not None:
        found.append(Limit("total_params", "total-params", b.total_params, lambda a, _: counts.total_params(a)))
    if b.active_params is not None:
        found.append(Limit("active_params", "active-params", b.active_params, lambda a, _: counts.active_params(a)))
    if b.memory_bytes is not None:
        found.append(
            Limit("memory_bytes", "memory", b.memory_bytes, lambda a, served: memory_bytes(a, b, served), plain)
        )
    if b.hardware is not None:
        # Imported when a device is named: the device file is YAML, which is slow to load.
        from moewright.hardware import decode_tokens_per_second, load_device, memory_per_device, time_to_first_token

        device, n = load_device(b.hardware), b.devices

        def on_fullest(a: Countable[Any], served: ServedAs) -> Any:
            held = memory_per_device(a, device, devices=n, **load, **served.formats, with_blocks=served.with_blocks)
            return held.weights + held.cache

        def seconds_per_token(a: Countable[Any], served: ServedAs) -> Any:
            guess = served.speculation
            return 1 / decode_tokens_per_second(a, device, devices=n, **load, **served.formats, speculation=guess)[0]

        def seconds_to_first(a: Countable[Any], served: ServedAs) -> Any:
            return time_to_first_token(a, device, devices=n, **load, **served.formats)[1]

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
        return f"{format_figure(1 / value, 4)} a second"
    if limit.name == "time_to_first_token":
        return f"{format_figure(value, 4, letters=False)} s"
    return format_count(value) if limit.name.endswith("params") else format_bytes(value)


def memory_bytes(architecture: Countable[N], budgets: Budgets, served: ServedAs | None = None) -> N:
    """Bytes of the weights and of the cache of all sequences, as the budgets ask for them or as they are served.

    With prediction blocks and their caches where something is proposed.
    """
    served = served or budgets.served
    sequence: Any = cache.cache_bytes_per_sequence(architecture, budgets.context, served.kv_dtype)
    held: Any = weight_formats.weights_bytes(architecture, served.weights_dtype)
    if served.with_blocks:
        stored = weight_formats.WEIGHT_FORMATS[served.weights_dtype]
        for weight in counts.mtp_weights(architecture):
            held = held + architecture.mtp_layers * stored.weight_bytes(weight)
        for layer in counts.prediction_layers(architecture):
            of_layer = cache.layer_cache_bytes_per_sequence(architecture, layer, budgets.context, served.kv_dtype)
            sequence = sequence + architecture.mtp_layers * of_layer
    most = int(np.max(sequence)) if np.size(sequence) else 0
    batch: Any = budgets.batch if budgets.batch * most < _EXACT else float(budgets.batch)
    found: N = held + batch * sequence
    return found


def sizes_within(
    groups: Candidates, bounds: tuple[Limit, ...], space: Space, budgets: Budgets
) -> tuple[Candidates, IntColumn]:
    """The groups (at their narrowest size) with any size within rules and bounds, and the widest of each that is."""
    narrowest, widest = sizes_by_rules(groups, space)
    groups = groups.with_expert_size(narrowest)
    for limit in bounds:
        possible = widest >= groups.expert_size
        if not possible.all():
            groups, widest = groups.take(possible), widest[possible]
        find = _widest_of_exact_line if limit.is_line else _widest_by_bracket
        widest = find(groups, limit, widest, space, budgets)
    possible = widest >= groups.expert_size
    return groups.take(possible), widest[possible]


def _widest_of_exact_line(
    groups: Candidates, limit: Limit, widest: IntColumn, space: Space, budgets: Budgets
) -> IntColumn:
    """The widest size within the limit, in whole numbers; a size below the narrowest means that none is."""
    step, least = space.expert_size_step, groups.expert_size
    if limit.name in groups.lines:
        low, per_step = groups.count(limit.name), groups.lines[limit.name][1] * step
    else:
        low = _cost(groups, least, limit, space, budgets)
        per_step = _cost(groups, least + step, limit, space, budgets) - low
    assert low is not None
    steps = np.floor_divide(limit.most - low, per_step)
    # Before they become whole numbers: a budget may allow more steps than int64 has numbers.
    return np.asarray(least + np.clip(steps, -1, (widest - least) // step).astype(np.int64) * step)


def _widest_by_bracket(
    groups: Candidates, limit: Limit, widest: IntColumn, space: Space, budgets: Budgets
) -> IntColumn:
    """The widest size within the limit: straight lines through the ends of a shrinking bracket, halved where they fail.

    A size below the narrowest means that none is.
    """
    step, least = space.expert_size_step, groups.expert_size
    low = _cost(groups, least, limit, space, budgets)
    inside = least - step
    some = np.flatnonzero(low <= limit.most)  # times are dear to count: the others need no more
    high = _cost(groups.take(some), widest[some], limit, space, budgets)
    inside[some] = np.where(high <= limit.most, widest[some], least[some])
    rows = some[high > limit.most]
    ends = np.stack([least[rows], widest[rows]])
    costs = np.stack([low[rows], high[high > limit.most]]).astype(np.float64)
    rounds = 0
    while len(rows):
        steps = (ends[1] - ends[0]) // step
        share = (limit.most - costs[0]) / (costs[1] - costs[0]) if rounds % 4 < 3 else 0.5
        guess = ends[0] + np.clip(np.floor(share * steps).astype(np.int64), 1, np.maximum(steps - 1, 1)) * step
        taken = _cost(groups.take(rows), guess, limit, space, budgets)
        side = (taken > limit.most).astype(np.int64)
        # A guess at the outer end (a bracket of one step) changes nothing, and the bracket is then done.
        ends[side, np.arange(len(rows))], costs[side, np.arange(len(rows))] = guess, taken
        done = ends[1] - ends[0] <= step
        inside[rows[done]] = ends[0, done]
        rows, ends, costs = rows[~done], ends[:, ~done], costs[:, ~done]
        rounds += 1
    return inside


def _cost(groups: Candidates, size: Any, limit: Limit, space: Space, budgets: Budgets) -> npt.NDArray[Any]:
    sized = groups.with_expert_size(size)
    known = sized.count(limit.name)
    return known if known is not None else np.asarray(limit.taken(sized, budgets, space.vocab_size))


def infeasible(groups: Groups, budgets: Budgets) -> UserError:
    """Why no design is within the budgets, in one line: which they are, and the nearest value of each that is met."""
    space = groups.space
    bounds = limits(budgets, space.layer_plans)
    if not np.isfinite(_least(groups, bounds[0], (), budgets)):
        return UserError(
            f"space: {_excluding_rules(groups, bounds[0], budgets)} leaves no design; widen it, or take --space wide"
        )

    def least_beside(limit: Limit) -> float:
        return _least(groups, limit, tuple(other for other in bounds if other is not limit), budgets)

    reachable = {limit: least_beside(limit) for limit in bounds}
    alone = next((limit for limit in bounds if _least(groups, limit, (), budgets) > limit.most), bounds[0])
    given = " and ".join(f"{limit.option} {show_budget(limit, limit.most)}" for limit in bounds)
    nearest = [
        f"{limit.option} {show_budget(limit, least, nearest=True)}"
        for limit, least in reachable.items()
        if np.isfinite(least)
    ]
    conditions = f"a vocabulary of {space.vocab_size:,}"
    if budgets.memory_bytes is not None:
        names = dict.fromkeys(plan.served(budgets.served).weights_dtype for plan in space.layer_plans)
        conditions += f", weights in {' or '.join(names)} and a cache of {budgets.batch} x {budgets.context:,} tokens"
    hope = f"nearest feasible: {' or '.join(nearest)}" if nearest else "no single budget can mend it; raise all of them"
    return UserError(f"{alone.option}: no design of the space is within {given} ({conditions}); {hope}")


def _excluding_rules(groups: Groups, limit: Limit, budgets: Budgets) -> str:
    """The rules without one of which something would be left; all of them if it takes more than one."""
    alone = [
        name
        for name, value in SWITCHED_OFF.items()
        if np.isfinite(_least(replace(groups, space=groups.space.model_copy(update={name: value})), limit, (), budgets))
    ]
    return " or ".join(f"{name} {getattr(groups.space, name):g}" for name in alone or SWITCHED_OFF)


def _least(groups: Groups, limit: Limit, bounds: tuple[Limit, ...], budgets: Budgets) -> float:
    """The least that any design within the bounds takes of a budget; infinite if there is none.

    Costs grow with the expert size, so only the narrowest of each group is counted.
    """
    least = np.inf
    for chunk in groups.chunks():
        within = sizes_within(chunk, bounds, groups.space, budgets)[0]
        if len(within):
            least = min(least, float(np.min(limit.taken(within, budgets, groups.space.vocab_size))))
    return least
