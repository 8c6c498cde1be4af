"""Every design that is undecided somewhere near the asked budgets: what answers at other budgets can be made of.

The budgets may each be tighter or wider by a factor, in any combination, and the training takes one of a few amounts.
A design is left out only if it is beaten at all of these settings. That is decided without trying them all: the
settings under which a design is within the budgets are those above what it takes, so it is undecided somewhere if and
only if it is at the tightest of them. And the set is closed: what beats a design within some budgets has a design on
the front of these budgets at least as good, which is undecided there and so in the set. Within any of the settings the
set alone therefore has the undecided designs of the whole space, no more and no less; also when fewer laws are asked,
for a design that some rival beats under all laws is beaten under a part of them.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from moewright.designs.branch_and_bound import (
    ROUNDING_NATS,
    THREADS,
    FeasibleSet,
    SearchProblem,
    SizeRanges,
    branch,
    promising,
    search_problem,
)
from moewright.designs.budgets import Budgets
from moewright.designs.candidates import Candidates, distinct, empty, join
from moewright.designs.hearing import Hearing, hear
from moewright.designs.undecided import beaten, front, undecided_set
from moewright.laws.judging.verdicts import TOLERANCE
from moewright.laws.variable import Array, Mask
from moewright.progress import track

REACHES = (1.5, 1.35, 1.25, 1.15, 1.1)
"""Factors by which every budget may be tighter or wider; the first one that leaves few enough designs is taken."""
AMOUNTS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of the asked training."""
MOST_CARRIED = 80_000
"""Designs: two thirds of a megabyte."""
# The tightest setting of a design is rounded down to one of so many over all budgets: what is kept besides is harmless.
_CELLS = 64
# The first sieve, by the tightest budgets alone, leaves up to half as many designs again as are left in the end.
_SIFTED = 2


@dataclass(frozen=True)
class NearbyTraining:
    """What is carried for one amount of training."""

    amount: float
    """Of the budgets' own field."""
    hearing: Hearing
    """At the tightest budgets: nowhere nearby are more laws heard."""
    falls_silent: Mapping[str, Array]
    """By law that is not heard everywhere: (budgets, n), the law is silent where all of a column are within."""


@dataclass(frozen=True)
class Vicinity:
    """All designs that are undecided at some setting near the asked one."""

    problem: SearchProblem
    """As asked."""
    reach: float
    low: tuple[float, ...]
    """The tightest of each bound of the problem, as a limit of cost."""
    high: tuple[float, ...]
    trainings: tuple[NearbyTraining, ...]
    designs: Candidates


def find_vicinity(problem: SearchProblem) -> Vicinity | None:
    """The widest vicinity with few enough designs; None if even the narrowest that is tried has too many."""
    asked = getattr(problem.budgets, problem.budgets.training)
    for reach in REACHES:
        low, high = (_moved(problem, factor) for factor in (1 / reach, reach))
        ends = (low, FeasibleSet(low)), (high, FeasibleSet(high))

        def part(factor: float, ends: tuple[_End, _End] = ends) -> tuple[NearbyTraining, Candidates]:
            return _open_somewhere(*(_with_training(end, factor * asked) for end in ends))

        try:
            parts = {1.0: part(1.0)}
            others = [factor for factor in AMOUNTS if factor not in parts]
            with ThreadPoolExecutor(THREADS) as pool:
                found = track("searching near the budgets", pool.map(part, others), len(others), "amounts of training")
                parts |= zip(others, found, strict=True)
        except _TooManyError:
            continue
        designs = distinct(join([parts[factor][1] for factor in AMOUNTS]))
        if len(designs) <= MOST_CARRIED:
            tightest, widest = (tuple(limit.most for limit in end.bounds) for end in (low, high))
            return Vicinity(problem, reach, tightest, widest, tuple(parts[factor][0] for factor in AMOUNTS), designs)
    return None


class _TooManyError(Exception):
    """More designs are left than a page carries."""


def _moved(problem: SearchProblem, factor: float) -> SearchProblem:
    budgets = problem.budgets
    for limit in problem.bounds:
        budgets = budgets.relaxed(limit.name, factor)
    return search_problem(problem.groups, budgets, problem.judges)


_End = tuple[SearchProblem, FeasibleSet]


def _with_training(end: _End, amount: float) -> _End:
    problem, within = end
    other = replace(problem, budgets=trained_with(problem.budgets, amount))
    return other, within.under(other)


def trained_with(budgets: Budgets, amount: Any) -> Budgets:
    """The same with another amount of their own kind of training."""
    return budgets.model_copy(update={budgets.training: amount})


def _open_somewhere(tight: _End, wide: _End) -> tuple[NearbyTraining, Candidates]:
    """Designs within the widest budgets that nothing beats within the tightest budgets that they are within."""
    (low, within_low), (high, within_high) = tight, wide
    hearing = hear(low, within_low)
    heard = replace(high, judges=hearing.readings)
    rivals = np.empty((len(hearing.readings), 0))
    if within_low.designs:
        of_low = undecided_set(low, within_low, hearing).losses
        rivals = of_low[:, front(of_low)]
    kept: list[Candidates] = [empty()]
    losses = [rivals[:, :0]]

    def may_hold(ranges: SizeRanges) -> Mask:
        return ~beaten(heard.least_losses(ranges) - ROUNDING_NATS, rivals)

    def offer(designs: Candidates, single: bool) -> None:
        if single:
            found = heard.losses(designs)
            left = ~beaten(found, rivals)
            kept.append(designs.take(left))
            losses.append(found[:, left])
            if sum(map(len, kept)) > _SIFTED * MOST_CARRIED:
                raise _TooManyError

    for ranges in promising(within_high, may_hold):
        branch(ranges, high.space.expert_size_step, may_hold, offer)
    designs = join(kept)
    costs = _taken(high, designs)
    low_most, high_most = (np.array([limit.most for limit in problem.bounds]) for problem in (low, high))
    left = _open_in_cells(costs, low_most, high_most, np.concatenate(losses, axis=1))
    if left.sum() > MOST_CARRIED:
        raise _TooManyError
    amount = getattr(high.budgets, high.budgets.training)
    return NearbyTraining(amount, hearing, _falls_silent(hearing, wide)), designs.take(left)


def _taken(problem: SearchProblem, designs: Candidates) -> Array:
    """(budgets, n): what designs take of each budget."""
    taken = (limit.taken(designs, problem.budgets, problem.space.vocab_size) for limit in problem.bounds)
    return np.stack([np.asarray(column, dtype=np.float64) for column in taken])


def _open_in_cells(costs: Array, low: Array, high: Array, found: Array) -> Mask:
    """Which designs nothing beats within the grid's next tighter budgets; (budgets, n), (budgets,) twice, (laws, n)."""
    steps = max(round(_CELLS ** (1 / len(low))), 1)
    edges = np.geomspace(low, high, steps + 1, axis=1)
    edges[:, 0], edges[:, -1] = low, high
    cell = np.stack([np.searchsorted(*each, side="left") for each in zip(edges, costs, strict=True)])
    left = np.zeros(costs.shape[1], dtype=bool)
    fronts: dict[tuple[int, ...], Array] = {}
    for place in np.ndindex(*(steps + 1,) * len(low)):
        own = np.flatnonzero((cell == np.array(place)[:, None]).all(axis=0))
        tighter = [(*place[:axis], at - 1, *place[axis + 1 :]) for axis, at in enumerate(place) if at]
        known = np.unique(np.concatenate([own, *(fronts[each] for each in tighter)]))
        fronts[place] = known[front(found[:, known])]
        floor = fronts[tuple(max(at - 1, 0) for at in place)]
        left[own] = ~beaten(found[:, own], found[:, floor])
    return left


def _falls_silent(hearing: Hearing, wide: _End) -> dict[str, Array]:
    high, within = wide
    still = hear(high, within)
    if not hearing.may_judge:  # nor anywhere nearby: all are heard as they are
        return {}
    lost = set(hearing.laws) - set(still.laws if still.may_judge else ())
    return {
        judge.name: _least_costs_of_few_tokens(high, within, judge.law.judges.least_tokens_per_param * (1 - TOLERANCE))
        for judge in high.judges
        if judge.name in lost
    }


def _least_costs_of_few_tokens(problem: SearchProblem, within: FeasibleSet, least: float) -> Array:
    """(budgets, n): the least that designs with fewer training tokens for each active parameter take of the budgets.

    Wider experts get fewer, so only the narrowest such experts of each group are counted.
    """
    step, found = problem.space.expert_size_step, []

    def too_few(designs: Candidates) -> Mask:
        at = problem.variables(designs)
        return np.asarray(at.train_tokens / at.size() < least)

    for ranges in within:
        ranges = ranges.take(too_few(ranges.widest))
        first, last = ranges.groups.expert_size, ranges.last
        while (first < last).any():
            middle = first + (last - first) // (2 * step) * step
            enough = ~too_few(ranges.groups.with_expert_size(middle))
            first, last = np.where(enough, middle + step, first), np.where(enough, last, middle)
        costs = _taken(problem, ranges.groups.with_expert_size(first))
        found.append(costs[:, front(costs)])
    costs = np.concatenate(found, axis=1)
    return costs[:, front(costs)]
