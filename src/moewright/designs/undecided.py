"""What evidence leaves open: every design within the budgets that no other beats, found completely.

One design beats another if every law that is heard, in both readings of its expansion, finds it better by more than
`BEATS_BY`. So what is left is a Pareto set with a rim as thick as the noise: shapes between which the laws disagree.
A range of expert sizes is dropped whole where some design beats the lower bound of every law over it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from moewright.designs.branch_and_bound import (
    ROUNDING_NATS,
    FeasibleSet,
    SearchProblem,
    SizeRanges,
    branch,
    promising,
)
from moewright.designs.candidates import Candidates, empty, first_rows, join
from moewright.designs.dominance import beaten, beaten_by_another
from moewright.designs.hearing import Hearing
from moewright.designs.space import Space
from moewright.errors import UserError
from moewright.laws.design_axes import AXES
from moewright.laws.variable import Array, Mask
from moewright.quantities import format_count

# Designs that others are held against while the search goes on: the best by so many weightings of the laws.
WEIGHTINGS = 24
MOST_OPEN = 1_500_000
"""Designs that the best found so far do not beat: 1.4 million are held against each other in 12 s, in 1.4 GB."""
DESIGNS_AT_ONCE = 2_000_000
"""Of ranges that are cut together."""
SPARE = 1.5
"""Times what is expected: of half as many sizes somewhat more than half stays open."""

REASONS: Mapping[str, str] = {
    "num_experts": "inside the range the laws that are heard disagree, or differ by no more than noise",
    "top_k": "inside the range the laws that are heard disagree, or differ by no more than noise",
    "expert_size": str(AXES["granularity"].open),
    "shared_experts": str(AXES["shared_share"].open),
    "num_layers": str(AXES["depth"].open),
    "hidden_size": str(AXES["active_width"].open),
    "dense_first": "no law's runs moved it; the only public figures are of whole models that also differ elsewhere",
}
"""Why each size is left open."""


@dataclass(frozen=True)
class Undecided:
    """All designs that no other beats."""

    designs: Candidates
    losses: Array
    """(readings, designs), nats on each law's own scale."""


def undecided_set(
    problem: SearchProblem, within: FeasibleSet, hearing: Hearing, most_open: int | None = None
) -> Undecided:
    """Every design within the budgets that no other beats under all laws that are heard.

    TooManyOpenError where more than `most_open` (`MOST_OPEN`) have to be held against each other.
    """
    search, step = _Search(problem, hearing), problem.space.expert_size_step
    most = MOST_OPEN if most_open is None else most_open
    search.offer(within.sample(), single=False)
    seen = promised = cut = 0  # designs of all ranges so far, of those that were not dropped whole, and of those done

    def counted() -> Iterator[SizeRanges]:
        nonlocal seen
        for ranges in within:
            seen += ranges.designs(step)
            yield ranges

    for ranges in promising(counted(), search.may_hold):
        promised += ranges.designs(step)
        for part in ranges.parts(step, DESIGNS_AT_ONCE):
            branch(part, step, search.may_hold, search.offer)
            cut += part.designs(step)
            if search.open > most:
                raise too_many_open(problem.space, search.open * (promised / cut) * (within.designs / seen), most)
    return search.answer()


class TooManyOpenError(UserError):
    """More designs are open than are held against each other."""


def too_many_open(space: Space, expected: float, most: int) -> TooManyOpenError:
    """What to narrow, and by how much, where some such number of designs may be left open."""
    factor = 2 ** math.ceil(math.log2(SPARE * expected / most))
    every = {2: "every second", 4: "every fourth"}.get(factor, f"one in {factor:,}")
    step = space.expert_size_step
    return TooManyOpenError(
        f"space: some {format_count(expected, 2)} designs may be open between the laws, more than the "
        f"{format_count(most, 2)} that are held against each other; take expert_size_step {factor * step} (it is "
        f"{step}), {every} of its {len(space.widths)} widths or {len(space.depths)} depths, or narrower budgets"
    )


class _Search:
    def __init__(self, problem: SearchProblem, hearing: Hearing) -> None:
        self._heard = replace(problem, judges=hearing.readings)
        readings = len(hearing.readings)
        r = np.random.default_rng(0)
        self._weights = np.vstack([np.eye(readings), r.dirichlet(np.ones(readings), WEIGHTINGS)])
        self._rivals = np.full((readings, len(self._weights)), np.inf)
        self._singles: list[Candidates] = []
        self._losses: list[Array] = []
        self.open = 0
        """Designs that no rival beat when they were offered."""

    def may_hold(self, ranges: SizeRanges) -> Mask:
        """Which ranges may hold a design that no rival beats."""
        return ~beaten(self._heard.least_losses(ranges) - ROUNDING_NATS, self._rivals)

    def offer(self, designs: Candidates, single: bool) -> None:
        """Take designs into account."""
        found = self._heard.losses(designs)
        by_weight = self._weights @ found
        best = by_weight.argmin(axis=1)
        better = by_weight[np.arange(len(best)), best] < np.einsum("wr,rw->w", self._weights, self._finite())
        self._rivals[:, better] = found[:, best[better]]
        if single:
            left = ~beaten(found, self._rivals)
            self.open += int(left.sum())
            self._singles.append(designs.take(left))
            self._losses.append(found[:, left])

    def answer(self) -> Undecided:
        """The exact set, once everything has been offered."""
        designs = join([empty(), *self._singles])
        return unbeaten(designs, np.concatenate([np.empty((len(self._heard.judges), 0)), *self._losses], axis=1))

    def _finite(self) -> Array:
        return np.where(np.isfinite(self._rivals), self._rivals, 1e300)


def unbeaten(designs: Candidates, losses: Array) -> Undecided:
    """Those of some designs, each once, that none of these beats, by their losses (readings, designs)."""
    left = np.flatnonzero(~beaten_by_another(losses))
    left = left[first_rows(designs.take(left))]
    return Undecided(designs.take(left), losses[:, left])
