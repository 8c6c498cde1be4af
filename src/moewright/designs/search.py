"""The complete search: branch and bound over ranges of expert sizes, whose result equals that of trying every design.

A stretch is a group (everything but the expert size) with a range of sizes. Each law bounds its loss over a stretch
from below (`witnesses.least_losses`); a stretch that cannot reach what is looked for is dropped whole, the others are
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
from moewright.designs.candidates import Candidates, Column, empty, join
from moewright.designs.costs import Limit, limits, sizes_within
from moewright.designs.groups import CHUNK_ROWS, KEPT_GROUPS, Groups
from moewright.designs.space import Space
from moewright.designs.witnesses import Derived, Witness, least_losses, losses
from moewright.laws.variable import Array

# Bounds and losses are the same formula in another order of rounding; a stretch is dropped only beyond this much.
ROUNDING_NATS = 1e-9
PIECES = 4
# At the same time: more would wait for memory, and hold more of it.
THREADS = 2
# Chunks that are bounded before their best are looked into: few, so that memory does not grow with the space.
CHUNKS_AT_ONCE = 8
# Of every so many groups one is tried at a few sizes first, so that the search starts with good designs to beat.
SAMPLE_EVERY = 16


@dataclass(frozen=True)
class Stretch:
    """Groups with ranges of expert sizes, ends included; `groups.expert_size` is the lower end."""

    groups: Candidates
    last: Column

    def __len__(self) -> int:
        return len(self.groups)

    def take(self, chosen: npt.NDArray[np.generic]) -> "Stretch":
        """The rows that an index or mask chooses."""
        return Stretch(self.groups.take(chosen), self.last[chosen])

    @property
    def widest(self) -> Candidates:
        """The designs at the upper ends."""
        return self.groups.with_expert_size(self.last)

    def cut(self, step: int) -> "Stretch":
        """Every stretch in up to four; single designs stay.

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
            parts.append(Stretch(self.groups.take(some).with_expert_size(start[some]), end[some]))
        return join_stretches(parts)


def join_stretches(parts: list[Stretch]) -> Stretch:
    """One table of the rows of several."""
    return Stretch(join([part.groups for part in parts]), np.concatenate([part.last for part in parts]))


@dataclass(frozen=True)
class Question:
    """A space, the budgets, and who judges."""

    groups: Groups
    budgets: Budgets
    witnesses: tuple[Witness, ...]
    bounds: tuple[Limit, ...]

    @property
    def space(self) -> Space:
        """The space of the groups."""
        return self.groups.space

    def derived(self, candidates: Candidates) -> Derived:
        """The variables of designs."""
        return Derived(candidates, self.budgets, self.space)

    def losses(self, candidates: Candidates) -> Array:
        """(laws, designs)."""
        at = self.derived(candidates)
        return np.stack([np.broadcast_to(losses(witness, at), len(candidates)) for witness in self.witnesses])


def ask(groups: Groups, budgets: Budgets, witnesses: tuple[Witness, ...]) -> Question:
    """A question about the space under the budgets."""
    if budgets.train_flops is not None or budgets.leaves_active_open:  # then both constraint modes are answered
        groups = groups.with_flops(budgets.tokens_per_sequence)
    return Question(groups, budgets, witnesses, limits(budgets))


class Feasible:
    """What is within the budgets: stretches of groups, kept in memory as far as they are few, else found again."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._kept: dict[int, Stretch] = {}
        self.designs = 0
        """Designs within the budgets."""
        kept_rows, step = 0, question.space.expert_size_step
        for number, stretch in enumerate(self._all()):
            self.designs += int(((stretch.last - stretch.groups.expert_size) // step + 1).sum())
            kept_rows += len(stretch)
            if kept_rows <= KEPT_GROUPS:
                self._kept[number] = stretch

    def __iter__(self) -> Iterator[Stretch]:
        for number, chunk in enumerate(self._question.groups.chunks()):
            stretch = self._kept[number] if number in self._kept else self._within(chunk)
            if len(stretch):
                yield stretch

    def under(self, question: Question) -> "Feasible":
        """The same designs for a question that differs in the training only."""
        other = copy(self)
        other._question = question
        return other

    def sample(self) -> Candidates:
        """Some designs from all over, at a few sizes each."""
        step = self._question.space.expert_size_step
        parts = [empty()]
        for chunk in self._kept.values():
            some = chunk.take(np.arange(0, len(chunk), SAMPLE_EVERY))
            first = some.groups.expert_size
            parts += [some.groups.with_expert_size(first + (some.last - first) // (n * step) * step) for n in (4, 2, 1)]
        return join(parts)

    def _all(self) -> Iterator[Stretch]:
        chunks = self._question.groups.chunks()
        with ThreadPoolExecutor(THREADS) as pool:
            while some := list(islice(chunks, CHUNKS_AT_ONCE)):
                yield from pool.map(self._within, some)

    def _within(self, chunk: Candidates) -> Stretch:
        return Stretch(*sizes_within(chunk, self._question.bounds, self._question.space))


def best_of_each_law(question: Question, space: Feasible, known: Candidates | None = None) -> tuple[Array, Candidates]:
    """The least loss of each law over every design within the budgets, (laws,), and a design that has it.

    `known` are designs within the budgets to start from.
    """
    start = space.sample() if known is None else join([space.sample(), known])
    found = question.losses(start)
    best, winners = found.min(axis=1), [start.take([row]) for row in found.argmin(axis=1)]
    step = question.space.expert_size_step

    def bounds_of_all(chunk: Stretch) -> Array:
        ends = question.derived(chunk.groups), question.derived(chunk.widest)
        return np.stack([least_losses(witness, *ends) for witness in question.witnesses])

    def improve(number: int, chunks: list[Stretch], lows: list[Array]) -> None:
        witness = question.witnesses[number]

        def bounds(stretch: Stretch) -> Array:
            return least_losses(witness, question.derived(stretch.groups), question.derived(stretch.widest))

        def bar(_: Stretch) -> float:
            return float(best[number]) + ROUNDING_NATS

        def offer(designs: Candidates, single: bool) -> None:
            values = losses(witness, question.derived(designs))
            row = int(values.argmin())
            if values[row] < best[number]:
                best[number], winners[number] = values[row], designs.take([row])

        reaching = [chunk.take(low[number] < bar(chunk)) for chunk, low in zip(chunks, lows, strict=True)]
        descend(join_stretches(reaching), step, bounds, bar, offer)

    with ThreadPoolExecutor(THREADS) as pool:  # numpy lets other threads run while it works on a column
        chunks = iter(space)
        while some := list(islice(chunks, CHUNKS_AT_ONCE)):
            lows = list(pool.map(bounds_of_all, some))
            list(pool.map(lambda number, s=some, b=lows: improve(number, s, b), range(len(question.witnesses))))
    return best, join(winners)


Bounds = Callable[[Stretch], Array]
Bar = Callable[[Stretch], Array | float]


def worthy(space: Iterable[Stretch], bounds: Bounds, bar: Bar) -> Iterator[Stretch]:
    """What is not beyond the bar, few chunks' worth at a time: small columns cost more to handle than to compute."""
    waiting: list[tuple[Stretch, Array]] = []
    for chunk in space:
        low = bounds(chunk)
        reaches = low < bar(chunk)
        if reaches.any():
            waiting.append((chunk.take(reaches), low[reaches]))
        if sum(len(stretch) for stretch, _ in waiting) >= CHUNK_ROWS:
            yield _still_worthy(waiting, bar)
            waiting = []
    if waiting:
        yield _still_worthy(waiting, bar)


def _still_worthy(waiting: list[tuple[Stretch, Array]], bar: Bar) -> Stretch:
    stretch = join_stretches([stretch for stretch, _ in waiting])
    return stretch.take(np.concatenate([low for _, low in waiting]) < bar(stretch))


def descend(stretch: Stretch, step: int, bounds: Bounds, bar: Bar, offer: Callable[[Candidates, bool], None]) -> None:
    """Cut a worthy stretch until it is single designs, and offer each of these once as single.

    Ends of what is worthy are offered on the way, as not single, to raise the bar.
    """
    while len(stretch):
        offer(stretch.widest, False)
        single = stretch.groups.expert_size == stretch.last
        if single.any():
            offer(stretch.groups.take(single), True)
        stretch = stretch.take(~single)
        if len(stretch):
            stretch = stretch.cut(step)
            stretch = stretch.take(bounds(stretch) < bar(stretch))
