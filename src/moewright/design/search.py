"""The complete search: branch and bound over ranges of expert sizes, whose result equals that of trying every design.

A stretch is a group (everything but the expert size) with a range of sizes. Each law bounds its loss over a stretch
from below (`witnesses.least_losses`); a stretch that cannot reach what is looked for is dropped whole, the others are
cut into four until single designs are left. Groups are worked on in chunks, so memory does not grow with the space.
"""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moewright.design.budgets import Budgets
from moewright.design.candidates import Candidates, Column, empty, join
from moewright.design.costs import Limit, limits, sizes_within
from moewright.design.groups import KEPT_GROUPS, Groups
from moewright.design.space import Space
from moewright.design.witnesses import Derived, Witness, least_losses, losses
from moewright.laws.variable import Array

Mask = npt.NDArray[np.bool_]

# Bounds and losses are the same formula in another order of rounding; a stretch is dropped only beyond this much.
ROUNDING_NATS = 1e-9
PIECES = 4
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
        """Every stretch in up to four of about equal length; single designs stay."""
        first = self.groups.expert_size
        count = (self.last - first) // step + 1
        parts = []
        for piece in range(PIECES):
            start = first + step * (count * piece // PIECES)
            end = first + step * (count * (piece + 1) // PIECES - 1)
            some = end >= start
            parts.append(Stretch(self.groups.take(some).with_expert_size(start[some]), end[some]))
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
        for chunk in self._question.groups.chunks():
            yield self._within(chunk)

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
    for chunk in space:
        ends = question.derived(chunk.groups), question.derived(chunk.widest)
        for number, witness in enumerate(question.witnesses):

            def reaches(stretch: Stretch, number: int = number, witness: Witness = witness) -> Mask:
                low = least_losses(witness, question.derived(stretch.groups), question.derived(stretch.widest))
                return np.asarray(low < best[number] + ROUNDING_NATS)

            def offer(designs: Candidates, single: bool, number: int = number, witness: Witness = witness) -> None:
                values = losses(witness, question.derived(designs))
                row = int(values.argmin())
                if values[row] < best[number]:
                    best[number], winners[number] = values[row], designs.take([row])

            worthy = least_losses(witness, *ends) < best[number] + ROUNDING_NATS
            descend(chunk.take(worthy), step, reaches, offer)
    return best, join(winners)


def descend(
    stretch: Stretch,
    step: int,
    reaches: Callable[[Stretch], Mask],
    offer: Callable[[Candidates, bool], None],
) -> None:
    """Cut a stretch that has been found worthy until it is single designs, and offer each of these once as single.

    Ends of what is worthy are offered on the way, as not single, to raise the bar.
    """
    while len(stretch):
        single = stretch.groups.expert_size == stretch.last
        if single.any():
            offer(stretch.groups.take(single), True)
        stretch = stretch.take(~single)
        if len(stretch):
            stretch = stretch.cut(step)
            stretch = stretch.take(reaches(stretch))
        if len(stretch):
            offer(stretch.widest, False)
