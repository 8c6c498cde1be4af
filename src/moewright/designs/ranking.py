"""The order of designs, and how sure it is: by the largest regret over the laws, the best design of every mixture.

A law's regret is its loss of a design above its own best design within the same budgets. A mixture is (E, K, shared).
A winner of noise is not a winner: designs within the noise of repeated runs are undecided, and each bootstrap draw of a
fitted law ranks the finalists anew.
"""

from dataclasses import dataclass

import numpy as np

from moewright.designs.branch_and_bound import ROUNDING_NATS, FeasibleSet, SearchProblem, SizeRanges, branch, promising
from moewright.designs.candidates import CANDIDATE_SIZES, Candidates, IntColumn, empty, join
from moewright.designs.design_record import BootstrapRecord, UndecidedRecord
from moewright.designs.judges import JudgingLaw, least_losses
from moewright.laws import FittedLaw
from moewright.laws.variable import Array

# Losses of repeated runs differ by .001 to .010 nats (arXiv 2605.11689's repeats); less is no difference.
UNDECIDED_NATS = 0.001
# Share of a fitted law's draws by which a finalist must be worse than the law's favourite to be told from it.
CONFIDENCE = 0.9
# Losses are computed for so many (draw, design) pairs at a time: 32 MB a column.
PAIRS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Ranking:
    """The best design of every mixture that has one, best first, and what cannot be told from the first."""

    designs: Candidates
    regrets: Array
    """(laws, designs), nats."""
    undecided: Candidates
    """All designs within UNDECIDED_NATS of the first."""

    @property
    def worst_regret(self) -> Array:
        """(designs,)."""
        return np.asarray(self.regrets.max(axis=0))


def rank(problem: SearchProblem, feasible: FeasibleSet, best: Array, known: Candidates, top: int) -> Ranking:
    """Rank by the largest of each law's loss above `best` (laws,); `known` are designs to start from.

    Exact for the first `top` mixtures and for the designs within UNDECIDED_NATS of the first.
    """
    incumbents = _Incumbents(problem, best, top)
    incumbents.offer(join([feasible.sample(), known]), single=False)
    for ranges in promising(feasible, incumbents.bounds, incumbents.threshold):
        branch(ranges, problem.space.expert_size_step, incumbents.bounds, incumbents.threshold, incumbents.offer)
    return incumbents.ranking(top)


class _Incumbents:
    """The best design of each mixture so far, and what a range of sizes must reach to matter."""

    def __init__(self, problem: SearchProblem, best: Array, top: int) -> None:
        self._problem, self._best, self._top = problem, best, top
        mixtures = problem.groups.mixtures
        self._kinds = np.unique((mixtures[:, 0] * 2**20 + mixtures[:, 1]) * 2**20 + mixtures[:, 2])
        self._worst = np.full(len(self._kinds), np.inf)
        self._leaders = empty()
        self._leader_worst = np.empty(0)
        self._undecided: list[Candidates] = []
        self._undecided_worst: list[Array] = []

    def bounds(self, ranges: SizeRanges) -> Array:
        """Lower bounds of the worst regret; infinite where a law already says that a range cannot matter."""
        threshold = self.threshold(ranges)
        found = np.full(len(ranges), np.inf)
        left, worst = np.arange(len(ranges)), np.full(len(ranges), -np.inf)  # rows that no law has dropped yet
        ends = self._problem.variables(ranges.groups), self._problem.variables(ranges.widest)
        for judge, best in zip(self._problem.judges, self._best, strict=True):
            worst = np.maximum(worst, least_losses(judge, *ends) - best)
            keep = worst < threshold[left]
            if not keep.all():
                left, worst = left[keep], worst[keep]
                part = ranges.take(left)
                ends = self._problem.variables(part.groups), self._problem.variables(part.widest)
        found[left] = worst
        return found

    def threshold(self, ranges: SizeRanges) -> Array:
        """What a range must stay below to hold a listed design or one as good as the first."""
        worst = self._worst
        listed = np.partition(worst, self._top - 1)[self._top - 1] if self._top <= len(worst) else np.inf
        least = np.minimum(worst[self._place(ranges.groups)], listed)
        return np.asarray(np.maximum(least, worst.min() + UNDECIDED_NATS) + ROUNDING_NATS)

    def offer(self, designs: Candidates, single: bool) -> None:
        """Take designs into account."""
        worst = (self._problem.losses(designs) - self._best[:, None]).max(axis=0)
        if single:
            near = worst <= min(self._worst.min(), worst.min()) + UNDECIDED_NATS
            if near.any():
                self._undecided.append(designs.take(near))
                self._undecided_worst.append(worst[near])
        improves = worst < self._worst[self._place(designs)]
        if improves.any():
            self._lead(join([self._leaders, designs.take(improves)]), np.append(self._leader_worst, worst[improves]))

    def ranking(self, top: int) -> Ranking:
        """The answer, once everything has been offered."""
        order = np.lexsort((self._leaders.num_layers, self._leaders.num_experts, self._leader_worst))
        designs = self._leaders.take(order)
        undecided = join([empty(), *self._undecided])
        near = np.concatenate([np.empty(0), *self._undecided_worst]) <= self._worst.min() + UNDECIDED_NATS
        return Ranking(designs, self._problem.losses(designs) - self._best[:, None], undecided.take(near))

    def _place(self, designs: Candidates) -> IntColumn:
        return np.searchsorted(self._kinds, designs.kind)

    def _lead(self, designs: Candidates, worst: Array) -> None:
        """Keep the best design of each mixture; ties go to fewer layers."""
        order = np.lexsort((designs.num_layers, worst, designs.kind))
        first = order[np.flatnonzero(np.diff(designs.kind[order], prepend=-1))]
        self._leaders, self._leader_worst = designs.take(first), worst[first]
        self._worst[self._place(self._leaders)] = self._leader_worst


@dataclass(frozen=True)
class BootstrapRanking:
    """The finalists as the bootstrap draws of one fitted law rank them.

    A finalist is undecided if its loss is above the favourite's in at most `CONFIDENCE` of the draws.
    """

    law: str
    num_draws: int
    num_finalists: int
    probability_best: Array
    """(finalists,): share of draws under which each has the least loss among them."""
    num_undecided: int
    """Finalists that cannot be told from the law's favourite, itself included."""
    ranges: dict[str, tuple[int, int]]
    """Of each size over the undecided finalists."""

    def answer(self) -> BootstrapRecord:
        """For JSON."""
        return BootstrapRecord(
            draws=self.num_draws,
            finalists=self.num_finalists,
            confidence=CONFIDENCE,
            not_told_apart=UndecidedRecord(count=self.num_undecided, **self.ranges),
        )


def bootstrap_rankings(problem: SearchProblem, finalists: Candidates) -> dict[str, BootstrapRanking]:
    """For each fitted law with draws, by name; empty without such a law."""
    return {
        judge.name: _bootstrap_ranking(problem, judge, judge.law, finalists)
        for judge in problem.judges
        if isinstance(judge.law, FittedLaw) and len(judge.law.record.draws)
    }


def ranges_of(designs: Candidates) -> dict[str, tuple[int, int]]:
    """The least and the most of each size."""
    columns = {name: getattr(designs, name) for name in CANDIDATE_SIZES}
    return {name: (int(column.min()), int(column.max())) for name, column in columns.items()} if len(designs) else {}


def _bootstrap_ranking(
    problem: SearchProblem, judge: JudgingLaw, law: FittedLaw, finalists: Candidates
) -> BootstrapRanking:
    draws = law.record.draws
    at = problem.variables(finalists)
    columns = {v.name: np.broadcast_to(np.asarray(at.of(v), dtype=np.float64), len(finalists)) for v in judge.inputs}
    favourite = int(np.argmin(judge.evaluate(columns)))
    wins, above = np.zeros(len(finalists)), np.zeros(len(finalists))
    at_once = max(PAIRS_AT_ONCE // len(finalists), 1)
    for start in range(0, len(draws), at_once):
        some = draws[start : start + at_once]
        coefficients = {c.name: some[:, i, None] for i, c in enumerate(law.form.coefficients)}
        losses = np.broadcast_to(law.bare_loss(columns, coefficients), (len(some), len(finalists)))
        wins += np.bincount(losses.argmin(axis=1), minlength=len(finalists))
        above += (losses > losses[:, favourite, None]).sum(axis=0)
    undecided = above <= CONFIDENCE * len(draws)
    return BootstrapRanking(
        judge.name,
        len(draws),
        len(finalists),
        wins / len(draws),
        int(undecided.sum()),
        ranges_of(finalists.take(undecided)),
    )
