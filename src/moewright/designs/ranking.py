"""The order of designs: by the largest regret over the laws, the best design of every mixture (E, K, shared).

A law's regret is its loss of a design above its own best design within the same budgets.
"""

from dataclasses import dataclass

import numpy as np

from moewright.designs.candidates import Candidates, Column, empty, join
from moewright.designs.search import ROUNDING_NATS, Feasible, Question, Stretch, descend, worthy
from moewright.designs.witnesses import least_losses
from moewright.laws.variable import Array

# Losses of repeated runs differ by .001 to .010 nats (arXiv 2605.11689's repeats); less is no difference.
ALIKE_NATS = 0.001


@dataclass(frozen=True)
class Ranking:
    """The best design of every mixture that has one, best first, and all designs that are as good as the first."""

    designs: Candidates
    regrets: Array
    """(laws, designs), nats."""
    alike: Candidates

    @property
    def worst_regret(self) -> Array:
        """(designs,)."""
        return np.asarray(self.regrets.max(axis=0))


def rank(question: Question, space: Feasible, best: Array, known: Candidates, top: int) -> Ranking:
    """Rank by the largest of each law's loss above `best` (laws,); `known` are designs to start from.

    Exact for the first `top` mixtures and for the designs within ALIKE_NATS of the first.
    """
    bar = _Bar(question, best, top)
    bar.offer(join([space.sample(), known]), single=False)
    for stretch in worthy(space, bar.bounds, bar.threshold):
        descend(stretch, question.space.expert_size_step, bar.bounds, bar.threshold, bar.offer)
    return bar.ranking(top)


class _Bar:
    """The best design of each mixture so far, and what a stretch must reach to matter."""

    def __init__(self, question: Question, best: Array, top: int) -> None:
        self._question, self._best, self._top = question, best, top
        mixtures = question.groups.mixtures
        self._kinds = np.unique((mixtures[:, 0] * 2**20 + mixtures[:, 1]) * 2**20 + mixtures[:, 2])
        self._worst = np.full(len(self._kinds), np.inf)
        self._leaders = empty()
        self._leader_worst = np.empty(0)
        self._alike: list[Candidates] = []
        self._alike_worst: list[Array] = []

    def bounds(self, stretch: Stretch) -> Array:
        """Lower bounds of the worst regret; infinite where a law already says that the stretch cannot matter."""
        threshold = self.threshold(stretch)
        found = np.full(len(stretch), np.inf)
        left, worst = np.arange(len(stretch)), np.full(len(stretch), -np.inf)  # rows that no law has dropped yet
        ends = self._question.derived(stretch.groups), self._question.derived(stretch.widest)
        for witness, best in zip(self._question.witnesses, self._best, strict=True):
            worst = np.maximum(worst, least_losses(witness, *ends) - best)
            keep = worst < threshold[left]
            if not keep.all():
                left, worst = left[keep], worst[keep]
                part = stretch.take(left)
                ends = self._question.derived(part.groups), self._question.derived(part.widest)
        found[left] = worst
        return found

    def threshold(self, stretch: Stretch) -> Array:
        """What a stretch must stay below to hold a listed design or one as good as the first."""
        worst = self._worst
        listed = np.partition(worst, self._top - 1)[self._top - 1] if self._top <= len(worst) else np.inf
        worthy = np.minimum(worst[self._place(stretch.groups)], listed)
        return np.asarray(np.maximum(worthy, worst.min() + ALIKE_NATS) + ROUNDING_NATS)

    def offer(self, designs: Candidates, single: bool) -> None:
        """Take designs into account."""
        worst = (self._question.losses(designs) - self._best[:, None]).max(axis=0)
        if single:
            near = worst <= min(self._worst.min(), worst.min()) + ALIKE_NATS
            if near.any():
                self._alike.append(designs.take(near))
                self._alike_worst.append(worst[near])
        improves = worst < self._worst[self._place(designs)]
        if improves.any():
            self._lead(join([self._leaders, designs.take(improves)]), np.append(self._leader_worst, worst[improves]))

    def ranking(self, top: int) -> Ranking:
        """The answer, once everything has been offered."""
        order = np.lexsort((self._leaders.num_layers, self._leaders.num_experts, self._leader_worst))
        designs = self._leaders.take(order)
        alike = join([empty(), *self._alike])
        near = np.concatenate([np.empty(0), *self._alike_worst]) <= self._worst.min() + ALIKE_NATS
        return Ranking(designs, self._question.losses(designs) - self._best[:, None], alike.take(near))

    def _place(self, designs: Candidates) -> Column:
        return np.searchsorted(self._kinds, designs.kind)

    def _lead(self, designs: Candidates, worst: Array) -> None:
        """Keep the best design of each mixture; ties go to fewer layers."""
        order = np.lexsort((designs.num_layers, worst, designs.kind))
        first = order[np.flatnonzero(np.diff(designs.kind[order], prepend=-1))]
        self._leaders, self._leader_worst = designs.take(first), worst[first]
        self._worst[self._place(self._leaders)] = self._leader_worst
