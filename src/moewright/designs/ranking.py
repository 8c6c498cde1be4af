"""How the draws of a fitted law rank the finalists: which of them cannot be told from its favourite.

A draw is one new run of each (`FittedLaw.drawn_losses`): coefficients, noise, and the form's own error beyond the runs.
"""

from dataclasses import dataclass

import numpy as np

from moewright.architecture import Architecture
from moewright.designs.branch_and_bound import SearchProblem
from moewright.designs.candidates import CANDIDATE_SIZES, Candidates
from moewright.designs.design_record import BootstrapRecord, NotToldApartRecord
from moewright.designs.judges import JudgingLaw
from moewright.laws import FittedLaw, InapplicableLaw
from moewright.laws.variable import Array

# Share of a fitted law's draws by which a finalist must be worse than the law's favourite to be told from it.
CONFIDENCE = 0.9
# Losses are computed for so many (draw, design) pairs at a time: 32 MB a column.
PAIRS_AT_ONCE = 4_000_000


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
            not_told_apart=NotToldApartRecord(count=self.num_undecided, **self.ranges),
        )


def bootstrap_rankings(problem: SearchProblem, finalists: Candidates) -> dict[str, BootstrapRanking]:
    """For each fitted law with draws, by name; empty without such a law."""
    return {
        judge.name: _bootstrap_ranking(problem, judge, judge.law, finalists)
        for judge in problem.judges
        if isinstance(judge.law, FittedLaw) and len(judge.law.record.draws)
    }


def better_by_draws(
    judge: JudgingLaw, one: Architecture, other: Architecture, tokens: tuple[float, float]
) -> float | None:
    """Share of a fitted law's draws under which a run of one model ends lower; None without draws or an answer."""
    law = judge.law
    if not isinstance(law, FittedLaw) or not len(law.record.draws):
        return None
    try:
        at = [law.variables(a, train_tokens=each) for a, each in zip((one, other), tokens, strict=True)]
    except InapplicableLaw:
        return None
    losses = law.drawn_losses({name: np.array([each[name] for each in at]) for name in at[0]})
    return float(np.mean(losses[:, 0] < losses[:, 1]))


def ranges_of(designs: Candidates) -> dict[str, tuple[int, int]]:
    """The least and the most of each size, and of plans of layers where there are several."""
    same = {"layer_plan"} if len(designs.plans) == 1 else set()
    columns = {name: getattr(designs, name) for name in CANDIDATE_SIZES if name not in same}
    return {name: (int(column.min()), int(column.max())) for name, column in columns.items()} if len(designs) else {}


def _bootstrap_ranking(
    problem: SearchProblem, judge: JudgingLaw, law: FittedLaw, finalists: Candidates
) -> BootstrapRanking:
    num_draws = len(law.record.draws)
    at = problem.variables(finalists)
    columns = {v.name: np.broadcast_to(np.asarray(at.of(v), dtype=np.float64), len(finalists)) for v in judge.inputs}
    favourite = int(np.argmin(judge.evaluate(columns) + at.added_nats))
    wins, above = np.zeros(len(finalists)), np.zeros(len(finalists))
    at_once = max(PAIRS_AT_ONCE // len(finalists), 1)
    for start in range(0, num_draws, at_once):
        losses = law.drawn_losses(columns, slice(start, start + at_once)) + at.added_nats
        wins += np.bincount(losses.argmin(axis=1), minlength=len(finalists))
        above += (losses > losses[:, favourite, None]).sum(axis=0)
    undecided = above <= CONFIDENCE * num_draws
    return BootstrapRanking(
        judge.name,
        num_draws,
        len(finalists),
        wins / num_draws,
        int(undecided.sum()),
        ranges_of(finalists.take(undecided)),
    )
