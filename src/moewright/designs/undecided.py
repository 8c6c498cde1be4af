"""What evidence leaves open: every design within the budgets that no other beats, found completely.

One design beats another if every law that is heard, in both readings of its expansion, finds it better by more than
`BEATS_BY`. So what is left is a Pareto set with a rim as thick as the noise: shapes between which the laws disagree.
A range of expert sizes is dropped whole where some design beats the lower bound of every law over it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from moewright.designs.branch_and_bound import (
    ROUNDING_NATS,
    FeasibleSet,
    SearchProblem,
    SizeRanges,
    branch,
    promising,
)
from moewright.designs.candidates import Candidates, empty, first_rows, join
from moewright.designs.hearing import BEATS_BY, Hearing
from moewright.laws.design_axes import AXES
from moewright.laws.variable import Array, Mask

# Designs that others are held against while the search goes on: the best by so many weightings of the laws.
WEIGHTINGS = 24

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


def undecided_set(problem: SearchProblem, within: FeasibleSet, hearing: Hearing) -> Undecided:
    """Every design within the budgets that no other beats under all laws that are heard."""
    search = _Search(problem, hearing)
    search.offer(within.sample(), single=False)
    step = problem.space.expert_size_step
    for ranges in promising(within, search.may_hold):
        branch(ranges, step, search.may_hold, search.offer)
    return search.answer()


class _Search:
    def __init__(self, problem: SearchProblem, hearing: Hearing) -> None:
        self._heard = replace(problem, judges=hearing.readings)
        readings = len(hearing.readings)
        r = np.random.default_rng(0)
        self._weights = np.vstack([np.eye(readings), r.dirichlet(np.ones(readings), WEIGHTINGS)])
        self._rivals = np.full((readings, len(self._weights)), np.inf)
        self._singles: list[Candidates] = []
        self._losses: list[Array] = []

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
            self._singles.append(designs.take(left))
            self._losses.append(found[:, left])

    def answer(self) -> Undecided:
        """The exact set, once everything has been offered: only designs on the front need to be held against."""
        designs = join([empty(), *self._singles])
        return unbeaten(designs, np.concatenate([np.empty((len(self._heard.judges), 0)), *self._losses], axis=1))

    def _finite(self) -> Array:
        return np.where(np.isfinite(self._rivals), self._rivals, 1e300)


def unbeaten(designs: Candidates, losses: Array) -> Undecided:
    """Those of some designs, each once, that none of these beats, by their losses (readings, designs)."""
    once = first_rows(designs)
    designs, losses = designs.take(once), losses[:, once]
    left = ~beaten(losses, losses[:, front(losses)])
    return Undecided(designs.take(left), losses[:, left])


def front(found: Array) -> npt.NDArray[np.intp]:
    """The columns of (readings, designs) that no other is at least as good as in all readings and better in one.

    What beats a design by a margin has a design on the front at least as good, which beats it too.
    """
    order = np.argsort(found.sum(axis=0), kind="stable")
    on_front = []
    while len(order):
        first = order[0]  # the least sum of what is left: nothing left is as good in all readings
        on_front.append(first)
        order = order[(found[:, order] < found[:, [first]]).any(axis=0)]
    return np.array(on_front, dtype=np.intp)


def beaten(found: Array, rivals: Array) -> Mask:
    """Which columns of (readings, designs) some column of the rivals beats by the margin in all readings."""
    lost = np.zeros(found.shape[1], dtype=bool)
    for rival in np.unique(rivals, axis=1).T:
        left = np.flatnonzero(~lost)
        if not len(left):
            break
        lost[left] = (found[:, left] > rival[:, None] + BEATS_BY).all(axis=0)
    return lost
