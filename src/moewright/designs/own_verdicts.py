"""What a user's own runs make of the undecided designs, by the rule of `laws.judge`.

Of two designs that the laws leave open the runs decide where they are sure; where they are sure of the opposite of what
the laws say, it is left open. So an undecided design is dropped where a run of another would end below it with a
probability of `SURE`, and a design that the laws drop stays where the runs contradict all that beats it. The first is
asked of every two undecided designs; of more than `MOST_PAIRS` each against as many as that leaves, the best of each
mixture by the runs first, so that a design may stay that a pair would drop. The second is asked of a sample
(`MOST_SAMPLED`): the answer says how many of it stay, and they are undecided with the rest.
"""

from dataclasses import dataclass, replace

import numpy as np

from moewright.designs.branch_and_bound import FeasibleSet, SearchProblem
from moewright.designs.candidates import CANDIDATE_SIZES, Candidates, columns, distinct, join
from moewright.designs.dominance import front
from moewright.designs.hearing import BEATS_BY, Hearing
from moewright.designs.undecided import Undecided
from moewright.laws.judging.compared_designs import ComparedDesigns
from moewright.laws.judging.own_runs import SURE, ConditionedDesigns, OwnRuns
from moewright.laws.variable import Array, Mask

MOST_PAIRS = 20_000_000
MOST_SAMPLED = 20_000
# Of the sample, those are held against each design that beats them that the runs like best.
_MOST_CONTRADICTED = 500
# The laws' forms are taken around so many designs within the budgets, and those of the least and the most of each size.
_AROUND = 64
_AT_ONCE, _RIVALS_AT_ONCE = 8192, 64


@dataclass(frozen=True)
class OwnVerdicts:
    """What own runs changed."""

    beaten: int
    """Designs that no other beats under the laws, and one does by the runs."""
    sampled: int
    """Of the designs that the laws drop, so many were asked about."""
    kept_open: int
    """Of these, so many stay undecided."""


def told_of_designs(own: OwnRuns, problem: SearchProblem, within: FeasibleSet) -> ConditionedDesigns:
    """What the runs say of designs within the budgets."""
    sample = within.sample()
    ends = [place for name in CANDIDATE_SIZES for column in [getattr(sample, name)] for place in _ends(column)]
    around = np.unique([*np.linspace(0, len(sample) - 1, _AROUND).astype(int).tolist(), *ends])
    return own.about([compared(problem, sample.take(around))])


def compared(problem: SearchProblem, designs: Candidates) -> ComparedDesigns:
    """Designs as laws and runs read them."""
    return ComparedDesigns(columns(designs, problem.space.vocab_size), problem.variables(designs).train_tokens)


def hear_own_runs(
    problem: SearchProblem, told: ConditionedDesigns, within: FeasibleSet, undecided: Undecided, hearing: Hearing
) -> tuple[Undecided, OwnVerdicts]:
    """The undecided designs of the laws as the runs leave them."""
    sampled, kept = _kept_open(problem, told, within, undecided, hearing)
    designs = join([undecided.designs, kept.designs])
    losses = np.concatenate([undecided.losses, kept.losses], axis=1)
    left = ~_beaten(problem, told, designs)
    by_laws = len(undecided.designs)
    verdicts = OwnVerdicts(int((~left[:by_laws]).sum()), sampled, int(left[by_laws:].sum()))
    return Undecided(designs.take(left), losses[:, left]), verdicts


def _ends(column: Array) -> tuple[int, int]:
    return int(column.argmin()), int(column.argmax())


def _means(problem: SearchProblem, told: ConditionedDesigns, designs: Candidates) -> Array:
    """Log losses (designs,) that the runs expect."""
    parts = [told.means(compared(problem, part)) for part in _in_parts(designs)]
    return np.concatenate(parts) if parts else np.empty(0)


def _in_parts(designs: Candidates) -> list[Candidates]:
    starts = range(0, len(designs), _AT_ONCE)
    return [designs.take(np.arange(start, min(start + _AT_ONCE, len(designs)))) for start in starts]


def _beaten(problem: SearchProblem, told: ConditionedDesigns, designs: Candidates) -> Mask:
    """Which designs lie above one of the rivals with the probability of `SURE`."""
    order = np.argsort(_means(problem, told, designs), kind="stable")
    _, first = np.unique(designs.kind[order], return_index=True)
    leaders = np.zeros(len(order), dtype=bool)
    leaders[first] = True
    rivals = np.concatenate([order[leaders], order[~leaders]])[: max(MOST_PAIRS // len(order), _RIVALS_AT_ONCE)]
    beaten = np.zeros(len(order), dtype=bool)
    for start in range(0, len(rivals), _RIVALS_AT_ONCE):
        some = compared(problem, designs.take(rivals[start : start + _RIVALS_AT_ONCE]))
        left = np.flatnonzero(~beaten)
        parts = [
            told.probabilities(some, compared(problem, part)).max(axis=0) for part in _in_parts(designs.take(left))
        ]
        beaten[left] = np.concatenate(parts) >= SURE
    return beaten


def _kept_open(
    problem: SearchProblem, told: ConditionedDesigns, within: FeasibleSet, undecided: Undecided, hearing: Hearing
) -> tuple[int, Undecided]:
    """How many designs that the laws drop were asked about, and those whose every rival the runs contradict."""
    heard = replace(problem, judges=hearing.readings)
    designs = within.sample(every=1)
    designs = distinct(
        designs.take(np.unique(np.linspace(0, len(designs) - 1, min(len(designs), MOST_SAMPLED)).astype(int)))
    )
    losses = heard.losses(designs)
    on_front = front(undecided.losses)
    best, of_best = undecided.designs.take(on_front), undecided.losses[:, on_front]
    least, of_runs = np.full(len(designs), np.inf), _means(problem, told, best)
    for rival in np.argsort(of_runs, kind="stable"):  # the first that beats a design is the one the runs like best
        left = np.flatnonzero(np.isinf(least))
        least[left[(losses[:, left] > of_best[:, [rival]] + BEATS_BY).all(axis=0)]] = of_runs[rival]
    dropped = np.isfinite(least)
    designs, losses, least = designs.take(dropped), losses[:, dropped], least[dropped]
    means = _means(problem, told, designs)
    likely = np.flatnonzero(means < least)
    likely = likely[np.argsort(means[likely], kind="stable")[:_MOST_CONTRADICTED]]
    designs, losses = designs.take(likely), losses[:, likely]
    kept = np.ones(len(likely), dtype=bool)
    for start in range(0, len(on_front) if len(likely) else 0, _AT_ONCE):
        some = np.arange(start, min(start + _AT_ONCE, len(on_front)))
        beats = (losses[:, :, None] > of_best[:, None, some] + BEATS_BY).all(axis=0)
        sure = told.probabilities(compared(problem, designs), compared(problem, best.take(some))) >= SURE
        kept &= (sure | ~beats).all(axis=1)
    return int(dropped.sum()), Undecided(designs.take(kept), losses[:, kept])
