"""Choosing runs one after the other, each for what it tells per FLOP; and a first batch where nothing has run."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moewright.laws.selection.belief import Belief
from moewright.laws.selection.criterion import Criterion
from moewright.laws.variable import Array
from moewright.progress import track


@dataclass(frozen=True)
class Chosen:
    """Runs in order, with what is in doubt before any and after each."""

    rows: tuple[int, ...]
    before: float
    """Nats."""
    after: tuple[float, ...]
    """Nats, after each run."""
    settled: str | None
    """How the criterion is settled when all are done; None where it is not."""
    right: float | None
    """`Criterion.right`, when all are done."""


class Chooser:
    """A belief over C candidates and then T targets, and a criterion about the targets."""

    def __init__(self, belief: Belief, candidates: int, criterion: Criterion, failures: float = 0.0) -> None:
        """`failures`: the share of runs that end without a loss; such a run costs and tells nothing."""
        self.number, self.criterion, self.noise, self.keep = candidates, criterion, belief.noise, 1.0 - failures
        targets = belief.mean[candidates:]
        contrasts = criterion.contrasts(targets)
        self.mean = contrasts @ targets
        self.loss = float(np.exp(targets.min()))
        among, asked = belief.covariance[:candidates, :candidates], belief.covariance[candidates:]
        self._among = among.copy()
        self._between = contrasts @ asked[:, :candidates]
        self._variance = np.einsum("kt,tu,ku->k", contrasts, asked[:, candidates:], contrasts)

    @property
    def doubt(self) -> float:
        """Nats that are in doubt now."""
        return float(self.criterion.doubt(self.mean, self._deviation(), self.loss))

    @property
    def settled(self) -> str | None:
        """How the criterion is settled now."""
        return self.criterion.settled(self.mean, self._deviation(), self.loss)

    @property
    def right(self) -> float | None:
        """The probability that the verdict is right now."""
        return self.criterion.right(self.mean, self._deviation())

    def gains(self) -> Array:
        """(C,) nats by which one more run would lessen the doubt."""
        told = self.keep * self._between**2 / (np.diag(self._among) + self.noise**2)
        left = np.sqrt(np.maximum(self._variance[:, None] - told, 0.0))
        return np.asarray(np.maximum(self.doubt - self.criterion.doubt(self.mean, left, self.loss), 0.0))

    def limit(self) -> float:
        """Nats that would be in doubt if every candidate were run."""
        values, axes = np.linalg.eigh((self._among + self._among.T) / 2)
        across = self._between @ axes
        known = (across**2 / (np.maximum(values, 0.0) + self.noise**2 / self.keep)).sum(axis=1)
        left = np.sqrt(np.maximum(self._variance - known, 0.0))
        return float(self.criterion.doubt(self.mean, left, self.loss))

    def make(self, row: int) -> None:
        """Suppose that a candidate is run."""
        scale = self.keep / (self._among[row, row] + self.noise**2)
        column, asked = self._among[:, row].copy(), self._between[:, row].copy()
        self._variance = np.maximum(self._variance - scale * asked**2, 0.0)
        self._between = self._between - scale * np.outer(asked, column)
        self._among -= scale * np.outer(column, column)

    def _deviation(self) -> Array:
        return np.asarray(np.sqrt(np.maximum(self._variance, 0.0)))


def choose(
    belief: Belief, costs: Array, criterion: Criterion, spend: float, most: int, failures: float = 0.0
) -> Chosen:
    """At most `most` of C candidates with `costs` (C,) that cost `spend` together, until the criterion is settled.

    Greedy twice, by doubt lessened per cost and by doubt lessened; the better plan is taken, as either alone may be far
    off where a budget binds (Khuller, Moss, Naor 1999). A run may be made once.
    """
    ways = track("choosing runs", (1.0, 0.0), 2, "plans")
    plans = [_greedy(Chooser(belief, len(costs), criterion, failures), costs, spend, most, by) for by in ways]
    return min(plans, key=lambda plan: (plan.settled is None, *_worth(plan, costs)))


def _worth(plan: Chosen, costs: Array) -> tuple[float, float]:
    spent = float(costs[list(plan.rows)].sum())
    last = plan.after[-1] if plan.after else plan.before
    return (spent, last) if plan.settled else (last, spent)


def _greedy(chooser: Chooser, costs: Array, spend: float, most: int, by: float) -> Chosen:
    rows: list[int] = []
    before, after, left = chooser.doubt, [], spend
    open_ = costs <= left
    while chooser.settled is None and len(rows) < most and open_.any():
        worth = np.where(open_, chooser.gains() / costs**by, -1.0)
        row = int(np.argmax(worth))
        if worth[row] <= 0:
            break
        chooser.make(row)
        rows.append(row)
        after.append(chooser.doubt)
        left -= float(costs[row])
        open_ &= costs <= left
        open_[row] = False
    return Chosen(tuple(rows), before, tuple(after), chooser.settled, chooser.right)


def fill_space(places: Array, costs: Array, spend: float, number: int) -> tuple[int, ...]:
    """`number` candidates far from each other in `places` (C, V), together within `spend`; fewer where it is too small.

    Of all limits on a single run's cost the largest is taken under which so many fit: farthest points first (Gonzalez
    1985), from the cheapest.
    """
    for limit in np.unique(costs)[::-1]:
        allowed = np.flatnonzero(costs <= limit)
        rows = _far_apart(places[allowed], int(np.argmin(costs[allowed])), number)
        chosen = allowed[rows]
        if costs[chosen].sum() <= spend:
            return tuple(int(row) for row in chosen)
    order = np.argsort(costs, kind="stable")
    return tuple(int(row) for row in order[: int((np.cumsum(costs[order]) <= spend).sum())])


def _far_apart(places: Array, first: int, number: int) -> Sequence[int]:
    rows = [first]
    near = ((places - places[first]) ** 2).sum(axis=1)
    while len(rows) < min(number, len(places)):
        row = int(np.argmax(near))
        rows.append(row)
        near = np.minimum(near, ((places - places[row]) ** 2).sum(axis=1))
        near[rows] = -1.0
    return rows
