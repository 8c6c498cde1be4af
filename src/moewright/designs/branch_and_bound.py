"""The complete search: branch and bound over ranges of expert sizes, whose result equals that of trying every design.

A node is a group (everything but the expert size) with a range of sizes. Each law bounds its loss over the range
from below (`judges.least_losses`); a range that cannot reach what is looked for is dropped whole, the others are
cut into four until single designs are left. Groups are worked on in chunks, so memory does not grow with the space.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
import numpy.typing as npt

from moewright.designs.budgets import Budgets
from moewright.designs.candidates import Candidates, IntColumn, empty, join
from moewright.designs.groups import CHUNK_ROWS, KEPT_GROUPS, Groups
from moewright.designs.judges import DesignVariables, JudgingLaw, least_losses, losses
from moewright.designs.limits import Limit, limits, sizes_within
from moewright.designs.space import Space
from moewright.laws.judging.own_runs import ConditionedDesigns
from moewright.laws.variable import Array, Mask
from moewright.progress import track

# Bounds and losses are the same formula in another order of rounding; a range is dropped only beyond this much.
ROUNDING_NATS = 1e-9
PIECES = 4
# At the same time: more would wait for memory, and hold more of it.
THREADS = 2
# Chunks that are bounded before their best are looked into: few, so that memory does not grow with the space.
CHUNKS_AT_ONCE = 8
# Of every so many groups one is tried at a few sizes first, so that the search starts with good designs to beat.
SAMPLE_EVERY = 16


@dataclass(frozen=True)
class SizeRanges:
    """Groups with ranges of expert sizes, ends included; `groups.expert_size` is the lower end."""

    groups: Candidates
    last: IntColumn

    def __len__(self) -> int:
        return len(self.groups)

    def take(self, chosen: npt.NDArray[np.generic]) -> "SizeRanges":
        """The rows that an index or mask chooses."""
        return SizeRanges(self.groups.take(chosen), self.last[chosen])

    def designs(self, step: int) -> int:
        """How many they are, each size counted."""
        return int(((self.last - self.groups.expert_size) // step + 1).sum())

    def parts(self, step: int, most: int) -> Iterator["SizeRanges"]:
        """The same in pieces of about so many designs at most: single designs of many ranges fill the memory."""
        place = np.cumsum((self.last - self.groups.expert_size) // step + 1) // most
        for rows in np.split(np.arange(len(self)), np.flatnonzero(np.diff(place)) + 1):
            yield self.take(rows)

    @property
    def widest(self) -> Candidates:
        """The designs at the upper ends."""
        return self.groups.with_expert_size(self.last)

    def cut(self, step: int) -> "SizeRanges":
        """Every range in up to four; single designs stay.

        Pieces have about equal ratios of their ends, for most variables go with the size itself.
        """
        first = self.groups.expert_size
        count = (self.last - first) // step + 1
        ratio = np.maximum(self.last / first, 1 + 1e-9)
        share = [(ratio ** (piece / PIECES) - 1) / (ratio - 1) for piece in range(PIECES + 1)]
        edges = [np.rint(count * part).astype(np.int64) for part in share]
        parts = []
        for low, high in pairwise(edges):
            some = high > low
            start, end = first + step * low, first + step * (high - 1)
            parts.append(SizeRanges(self.groups.take(some).with_expert_size(start[some]), end[some]))
        return join_ranges(parts)


def join_ranges(parts: list[SizeRanges]) -> SizeRanges:
    """One table of the rows of several."""
    return SizeRanges(join([part.groups for part in parts]), np.concatenate([part.last for part in parts]))


@dataclass(frozen=True)
class SearchProblem:
    """A space, the budgets, and the laws that judge."""

    groups: Groups
    budgets: Budgets
    judges: tuple[JudgingLaw, ...]
    bounds: tuple[Limit, ...]
    own: ConditionedDesigns | None = None
    """What a user's own runs say of designs, where they are heard."""

    @property
    def space(self) -> Space:
        """The space of the groups."""
        return self.groups.space

    def variables(self, candidates: Candidates) -> DesignVariables:
        """The variables of designs."""
        return DesignVariables(candidates, self.budgets, self.space)

    def losses(self, candidates: Candidates) -> Array:
        """(laws, designs)."""
        at = self.variables(candidates)
        return np.stack([np.broadcast_to(losses(judge, at), len(candidates)) for judge in self.judges])

    def least_losses(self, ranges: SizeRanges) -> Array:
        """(laws, ranges): lower bounds of the losses of all designs of each range."""
        ends = self.variables(ranges.groups), self.variables(ranges.widest)
        return np.stack([np.broadcast_to(least_losses(judge, *ends), len(ranges)) for judge in self.judges])


def search_problem(
    groups: Groups, budgets: Budgets, judges: tuple[JudgingLaw, ...], own: ConditionedDesigns | None = None
) -> SearchProblem:
    """The search of a space under the budgets."""
    if budgets.train_flops is not None or budgets.leaves_active_open:  # then both constraint modes are answered
        groups = groups.with_flops(budgets.tokens_per_sequence)
    return SearchProblem(groups, budgets, judges, limits(budgets, groups.space.layer_plans), own)


class FeasibleSet:
    """What is within the budgets: groups with ranges of sizes, kept in memory if they are few, else found again."""

    def __init__(self, problem: SearchProblem) -> None:
        self._problem = problem
        self._kept: dict[int, SizeRanges] = {}
        self.designs = 0
        """Designs within the budgets."""
        kept_rows, step = 0, problem.space.expert_size_step
        for number, ranges in enumerate(self._all()):
            self.designs += ranges.designs(step)
            kept_rows += len(ranges)
            if kept_rows <= KEPT_GROUPS:
                self._kept[number] = ranges

    def __iter__(self) -> Iterator[SizeRanges]:
        for number, chunk in enumerate(self._chunks()):
            ranges = self._kept[number] if number in self._kept else self._within(chunk)
            if len(ranges):
                yield ranges

    def under(self, problem: SearchProblem) -> "FeasibleSet":
        """The same designs for a search that differs in the training only."""
        other = copy(self)
        other._problem = problem
        return other

    def sample(self, every: int = SAMPLE_EVERY) -> Candidates:
        """Some designs from all over, of every so many groups at a few sizes each."""
        step = self._problem.space.expert_size_step
        parts = [empty()]
        for chunk in self._kept.values():
            some = chunk.take(np.arange(0, len(chunk), every))
            first = some.groups.expert_size
            parts += [some.groups.with_expert_size(first + (some.last - first) // (n * step) * step) for n in (4, 2, 1)]
        return join(parts)

    def _all(self) -> Iterator[SizeRanges]:
        chunks = self._chunks()
        with ThreadPoolExecutor(THREADS) as pool:
            while some := list(islice(chunks, CHUNKS_AT_ONCE)):
                yield from pool.map(self._within, some)

    def _chunks(self) -> Iterator[Candidates]:
        """All groups of the space, counted as they pass."""
        groups = self._problem.groups
        return track("searching", groups.chunks(), len(groups), "shapes with mixtures", size=len)

    def _within(self, chunk: Candidates) -> SizeRanges:
        problem = self._problem
        return SizeRanges(*sizes_within(chunk, problem.bounds, problem.space, problem.budgets))


MayHold = Callable[[SizeRanges], Mask]
"""Which ranges a wanted design may lie in, by what is known so far."""


def best_of_each_law(
    problem: SearchProblem, feasible: FeasibleSet, known: Candidates | None = None
) -> tuple[Array, Candidates]:
    """The least loss of each law over every design within the budgets, (laws,), and a design that has it.

    `known` are designs within the budgets to start from.
    """
    start = feasible.sample() if known is None else join([feasible.sample(), known])
    found = problem.losses(start)
    best, winners = found.min(axis=1), [start.take([row]) for row in found.argmin(axis=1)]
    step = problem.space.expert_size_step

    def improve(number: int, chunks: list[SizeRanges], lows: list[Array]) -> None:
        judge = problem.judges[number]

        def reaches(low: Array) -> Mask:
            return np.asarray(low < best[number] + ROUNDING_NATS)

        def may_hold(ranges: SizeRanges) -> Mask:
            return reaches(least_losses(judge, problem.variables(ranges.groups), problem.variables(ranges.widest)))

        def offer(designs: Candidates, single: bool) -> None:
            values = losses(judge, problem.variables(designs))
            row = int(values.argmin())
            if values[row] < best[number]:
                best[number], winners[number] = values[row], designs.take([row])

        reaching = [chunk.take(reaches(low[number])) for chunk, low in zip(chunks, lows, strict=True)]
        branch(join_ranges(reaching), step, may_hold, offer)

    with ThreadPoolExecutor(THREADS) as pool:  # numpy lets other threads run while it works on a column
        chunks = iter(feasible)
        while some := list(islice(chunks, CHUNKS_AT_ONCE)):
            lows = list(pool.map(problem.least_losses, some))
            list(pool.map(lambda number, s=some, b=lows: improve(number, s, b), range(len(problem.judges))))
    return best, join(winners)


def _plan_of(ranges: SizeRanges) -> int:
    return int(ranges.groups.layer_plan[0])


def promising(chunks: Iterable[SizeRanges], may_hold: MayHold) -> Iterator[SizeRanges]:
    """What may hold a wanted design, a chunk's worth at a time: small columns cost more to handle than to compute.

    Each of one plan of layers, as chunks are: columns of several have the layers of all.
    """
    waiting: list[SizeRanges] = []
    for chunk in chunks:
        left = chunk.take(may_hold(chunk))
        if waiting and len(left) and _plan_of(left) != _plan_of(waiting[0]):
            yield join_ranges(waiting)
            waiting = []
        if len(left):
            waiting.append(left)
        if sum(map(len, waiting)) >= CHUNK_ROWS:
            yield join_ranges(waiting)
            waiting = []
    if waiting:
        yield join_ranges(waiting)


def branch(ranges: SizeRanges, step: int, may_hold: MayHold, offer: Callable[[Candidates, bool], None]) -> None:
    """Cut promising ranges until they are single designs, and offer each of these once as single.

    Ends of what is promising are offered on the way, as not single, so that `may_hold` drops more.
    """
    while len(ranges):
        offer(ranges.widest, False)
        single = ranges.groups.expert_size == ranges.last
        if single.any():
            offer(ranges.groups.take(single), True)
        ranges = ranges.take(~single)
        if len(ranges):
            ranges = ranges.cut(step)
            ranges = ranges.take(may_hold(ranges))
