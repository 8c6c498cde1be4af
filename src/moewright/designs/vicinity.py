"""Every design that is undecided somewhere near the asked budgets: what answers at other budgets can be made of.

The budgets may each be tighter or wider by a factor, in any combination, and the training takes one of a few amounts.
A design is left out only if it is beaten at all of these settings. That is decided without trying them all: the
settings under which a design is within the budgets are those above what it takes, so it is undecided somewhere if and
only if it is at the tightest of them. And the set is closed: what beats a design within some budgets has a design on
the front of these budgets at least as good, which is undecided there and so in the set. Within any of the settings the
set alone therefore has the undecided designs of the whole space, no more and no less; also when fewer laws are asked,
for a design that some rival beats under all laws is beaten under a part of them.

A rule of the space that is switched off is one more budget, of two amounts: a design that breaks it is within it where
the rule is off. So the same holds for any of the rules switched off together, near the budgets as well.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import Any

import numpy as np
import numpy.typing as npt

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
from moewright.designs.dominance import beaten, front
from moewright.designs.groups import groups_of
from moewright.designs.hearing import Hearing, hear
from moewright.designs.rules import rules_broken_by
from moewright.designs.space import SWITCHED_OFF
from moewright.designs.undecided import undecided_set
from moewright.errors import UserError
from moewright.laws.judging.verdicts import TOLERANCE
from moewright.laws.variable import Array, Mask
from moewright.progress import track

REACHES = (1.5, 1.35, 1.25, 1.15, 1.1)
"""Factors by which every budget may be tighter or wider; the first one that leaves few enough designs is taken."""
REACHES_WITHOUT_RULES = (1.25, 1.15, 1.1)
"""The same where rules are switched off, of which none is wider than the vicinity's own."""
AMOUNTS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of the asked training."""
MOST_CARRIED = 80_000
"""Designs: two thirds of a megabyte."""
MOST_BREAKING = 40_000
"""Designs more that break a rule."""
# The tightest setting of a design is rounded down to one of so many over all budgets: what is kept besides is harmless.
_CELLS = 64
# With rules that may be off there are two and more times as many cells, and these suffice: a third of the time.
_CELLS_OF_BUDGETS = 16
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
    without_rules: "WithoutRules | None" = None
    """The same where rules of the space are switched off; None where it has none, or too much is undecided then."""

    @property
    def all_designs(self) -> Candidates:
        """Those of the space, then those that break rules."""
        return join([self.designs, *([self.without_rules.designs] if self.without_rules else [])])


@dataclass(frozen=True)
class WithoutRules:
    """What a vicinity has besides where any of these rules of its space are switched off."""

    rules: tuple[str, ...]
    """Fields of the space, each with its value of `SWITCHED_OFF` where it is off."""
    reach: float
    low: tuple[float, ...]
    """As of the vicinity; within its own."""
    high: tuple[float, ...]
    designs: Candidates
    """Those that break a rule; of the same broken rules one after another."""
    breaks: npt.NDArray[np.int64]
    """(designs,): the rules that each breaks, as bits, the first rule's the lowest."""
    falls_silent: tuple[Mapping[str, Mapping[frozenset[str], Array]], ...]
    """For each training, by law, what `NearbyTraining.falls_silent` has besides where these rules are off."""


def find_vicinity(problem: SearchProblem) -> Vicinity | None:
    """The widest vicinity with few enough designs; None if even the narrowest that is tried has too many."""
    found = _by_the_rules(problem)
    return found and replace(found, without_rules=_without_rules(found))


def _by_the_rules(problem: SearchProblem) -> Vicinity | None:
    asked = getattr(problem.budgets, problem.budgets.training)
    for reach in REACHES:
        low, high = (_moved(problem, factor) for factor in (1 / reach, reach))
        ends = (low, FeasibleSet(low)), (high, FeasibleSet(high))

        def part(factor: float, ends: tuple[_End, _End] = ends) -> tuple[NearbyTraining, Candidates]:
            low, high = (_with_training(end, factor * asked) for end in ends)
            hearing, designs = _open_somewhere(low, high, ())
            return NearbyTraining(factor * asked, hearing, _falls_silent(hearing, high)), designs

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


def _without_rules(vicinity: Vicinity) -> WithoutRules | None:
    problem = vicinity.problem
    rules = tuple(name for name in SWITCHED_OFF if problem.space.bounds_by(name))
    if not rules:
        return None
    try:
        freed = _freed(problem, frozenset(rules))
    except UserError:  # larger than is searched
        return None
    for reach in (each for each in REACHES_WITHOUT_RULES if each <= vicinity.reach):
        low, high = _moved(problem, 1 / reach), _moved(freed, reach)
        ends = (low, FeasibleSet(low)), (high, FeasibleSet(high))

        def part(training: NearbyTraining, ends: tuple[_End, _End] = ends) -> Candidates:
            tight, wide = (_with_training(end, training.amount) for end in ends)
            return _open_somewhere(tight, wide, rules)[1]

        try:
            with ThreadPoolExecutor(THREADS) as pool:
                found = pool.map(part, vicinity.trainings)
                parts = list(track("searching without rules", found, len(AMOUNTS), "amounts of training"))
        except _TooManyError:
            continue
        designs = distinct(join(parts))
        if len(designs) > MOST_BREAKING:
            continue
        tightest, widest = (tuple(limit.most for limit in end.bounds) for end in (low, high))
        bits = [
            each.astype(np.int64) << bit for bit, each in enumerate(rules_broken_by(designs, problem.space).values())
        ]
        breaks = np.sum(bits, axis=0)
        order = np.argsort(breaks, kind="stable")
        silent = _falls_silent_without(vicinity, ends[1], rules, reach)
        return WithoutRules(rules, reach, tightest, widest, designs.take(order), breaks[order], silent)
    return None


def _freed(problem: SearchProblem, rules: frozenset[str]) -> SearchProblem:
    """The same search with these rules switched off."""
    space = problem.space.model_copy(update={name: SWITCHED_OFF[name] for name in rules})
    return search_problem(groups_of(space), problem.budgets, problem.judges)


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


def _open_somewhere(tight: _End, wide: _End, rules: tuple[str, ...]) -> tuple[Hearing, Candidates]:
    """Designs within the widest budgets that nothing beats within the tightest budgets that they are within.

    With the laws that are heard at the tightest of all. Where `rules` of the tight end's space are named the wide end's
    has them switched off, and the designs are those that break some.
    """
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
    breaks = np.zeros((0, len(designs)), dtype=bool)
    if rules:
        broken = rules_broken_by(designs, low.space)
        breaks = np.stack([broken[name] for name in rules])
    left = _open_in_cells(costs, low_most, high_most, np.concatenate(losses, axis=1), breaks[breaks.any(axis=1)])
    if rules:
        left &= breaks.any(axis=0)
    if left.sum() > MOST_CARRIED:
        raise _TooManyError
    return hearing, designs.take(left)


def _taken(problem: SearchProblem, designs: Candidates) -> Array:
    """(budgets, n): what designs take of each budget."""
    taken = (limit.taken(designs, problem.budgets, problem.space.vocab_size) for limit in problem.bounds)
    return np.stack([np.asarray(column, dtype=np.float64) for column in taken])


def _open_in_cells(costs: Array, low: Array, high: Array, found: Array, breaks: Mask) -> Mask:
    """Which designs nothing beats within the grid's next tighter budgets, with only the rules off that they break.

    (budgets, n), (budgets,) twice, (laws, n), (rules, n).
    """
    steps = max(round((_CELLS_OF_BUDGETS if len(breaks) else _CELLS) ** (1 / len(low))), 1)
    edges = np.geomspace(low, high, steps + 1, axis=1)
    edges[:, 0], edges[:, -1] = low, high
    cell = np.stack([*(np.searchsorted(*each, side="left") for each in zip(edges, costs, strict=True)), *breaks])
    left = np.zeros(costs.shape[1], dtype=bool)
    fronts: dict[tuple[int, ...], Array] = {}
    for place in np.ndindex(*(steps + 1,) * len(low), *(2,) * len(breaks)):
        own = np.flatnonzero((cell == np.array(place)[:, None]).all(axis=0))
        tighter = [(*place[:axis], at - 1, *place[axis + 1 :]) for axis, at in enumerate(place) if at]
        known = np.unique(np.concatenate([own, *(fronts[each] for each in tighter)]))
        fronts[place] = known[front(found[:, known])]
        if not len(breaks) or any(place[len(low) :]):
            floor = fronts[tuple(max(at - (axis < len(low)), 0) for axis, at in enumerate(place))]
            left[own] = ~beaten(found[:, own], found[:, floor])
    return left


def _falls_silent(hearing: Hearing, wide: _End) -> dict[str, Array]:
    high, within = wide
    lost = _lost(hearing, wide)
    return {
        judge.name: _least_costs_of_few_tokens(high, within, judge.law.judges.least_tokens_per_param * (1 - TOLERANCE))
        for judge in high.judges
        if judge.name in lost
    }


def _lost(hearing: Hearing, wide: _End) -> set[str]:
    """The laws that are heard at the tightest budgets and not at the widest."""
    if not hearing.may_judge:  # nor anywhere nearby: all are heard as they are
        return set()
    still = hear(*wide)
    return set(hearing.laws) - set(still.laws if still.may_judge else ())


def _falls_silent_without(
    vicinity: Vicinity, freed: _End, rules: tuple[str, ...], reach: float
) -> tuple[Mapping[str, Mapping[frozenset[str], Array]], ...]:
    """For each training, by law and rules that are off. `freed` is the widest end with all of them off."""
    lost = [_lost(each.hearing, _with_training(freed, each.amount)) for each in vicinity.trainings]
    found: tuple[dict[str, dict[frozenset[str], Array]], ...] = tuple({law: {} for law in laws} for laws in lost)
    for off in _subsets(rules) if any(lost) else ():
        high = _moved(_freed(vicinity.problem, off), reach)
        end = high, FeasibleSet(high)
        for training, laws in zip(vicinity.trainings, found, strict=True):
            silent = _falls_silent(training.hearing, _with_training(end, training.amount)) if laws else {}
            for law, costs in silent.items():
                laws[law][off] = costs
    return found


def _subsets(rules: tuple[str, ...]) -> Iterator[frozenset[str]]:
    """Of one rule and more."""
    return map(frozenset, chain.from_iterable(combinations(rules, number) for number in range(1, len(rules) + 1)))


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
