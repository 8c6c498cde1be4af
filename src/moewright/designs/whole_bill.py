"""Size and tokens for the whole bill: what is as good as the recommended design, and least dear to train and to serve.

Sardana et al. (arXiv 2401.00448) choose size and tokens of a dense model by 6 N D_train + 2 N D_serve at equal loss.
Here every bound on the active parameters, in steps of a tenth of a decade, has its undecided designs; each of these is
trained until every law that is heard and sees tokens, in each reading, finds it as good as the recommended design.
"""

import math
from dataclasses import dataclass

import numpy as np

from moewright.architecture import counts
from moewright.designs.branch_and_bound import FeasibleSet, SearchProblem, search_problem
from moewright.designs.candidates import Candidates, build_design, columns, distinct, join
from moewright.designs.costs import Costs, costs_of_candidates, design_costs, finalist_costs, middle_of_bill
from moewright.designs.judges import JudgingLaw, losses
from moewright.designs.limits import memory_bytes
from moewright.designs.preference import Choice
from moewright.designs.undecided import too_many_open, undecided_set
from moewright.laws.bisection import halved
from moewright.laws.variable import Array, Mask
from moewright.progress import track

STEPS_PER_DECADE = 10
SIZES_DOWN_TO = 8.0
"""Active parameters go down to the largest undecided design's over this."""
MOST_TRAINING, LEAST_TRAINING = 16.0, 0.25
"""Times the asked tokens."""
MOST_POOL = 400_000
"""Designs of all sizes together: each is asked thirty times by every law."""
_HALVINGS = 30


@dataclass(frozen=True)
class WholeBill:
    """The design of the least bill at equal loss."""

    designs: Candidates
    """One."""
    total_params: int
    active_params: int
    memory_bytes: int
    train_tokens: float
    """The most that a law wants."""
    tokens_by_law: dict[str, float]
    """That each law alone wants for the same loss."""
    costs: Costs
    against_recommended: float
    """Its bill above the recommended design's, as a share, by the middles of ranges."""


def find_whole_bill(problem: SearchProblem, choice: Choice, recommended: Costs) -> WholeBill | None:
    """Of all sizes; None where no law that is heard sees tokens, or the recommended design has no bill.

    `recommended`: the costs of the first design of the choice, as they are shown.
    """
    seeing = tuple(judge for judge in choice.hearing.readings if any(v.per_token for v in judge.inputs))
    if not seeing or recommended.whole_bill is None:
        return None
    pool = open_at_every_size(problem, choice)
    by_reading = tokens_as_good(problem, seeing, pool, choice.designs.take([0]))
    able = np.isfinite(by_reading).all(axis=0)
    pool, by_reading = pool.take(able), by_reading[:, able]
    tokens = by_reading.max(axis=0)
    bill = costs_of_candidates(pool, tokens, problem.budgets, choice.on, problem.space.vocab_size).whole_bill
    assert bill is not None, "the recommended design is among them, and has one"
    best = int(np.argmin(np.sum(middle_of_bill(bill), axis=0)))
    one, amount = pool.take([best]), float(tokens[best])
    architecture = build_design(one, problem.space, problem.budgets.context)
    served = one.plan_of(0).served(problem.budgets.served)
    ours = design_costs(architecture, amount, problem.budgets, choice.on, served)
    costs = finalist_costs(architecture, amount, problem.budgets, choice.on, ours)
    assert costs.whole_bill is not None
    by_law: dict[str, float] = {}
    for judge, wanted in zip(seeing, by_reading[:, best].tolist(), strict=True):
        by_law[judge.name] = max(wanted, by_law.get(judge.name, 0.0))
    return WholeBill(
        designs=one,
        total_params=int(counts.total_params(architecture)),
        active_params=int(counts.active_params(architecture)),
        memory_bytes=int(memory_bytes(architecture, problem.budgets, served)),
        train_tokens=amount,
        tokens_by_law=by_law,
        costs=costs,
        against_recommended=_sum(costs) / _sum(recommended) - 1,
    )


def _sum(costs: Costs) -> float:
    assert costs.whole_bill is not None
    return float(np.sum(middle_of_bill(costs.whole_bill)))


def open_at_every_size(problem: SearchProblem, choice: Choice) -> Candidates:
    """What no other design with as few active parameters beats, at each of the bounds."""
    undecided = choice.undecided.designs
    most = float(np.max(counts.active_params(columns(undecided, problem.space.vocab_size))))
    last = math.ceil(STEPS_PER_DECADE * math.log10(most)) - 1
    first = math.ceil(STEPS_PER_DECADE * math.log10(most / SIZES_DOWN_TO))
    found = [undecided]
    for step in track("smaller sizes", range(last, first - 1, -1), last - first + 1, "sizes"):
        bound = {"active_params": 10 ** (step / STEPS_PER_DECADE)}
        tighter = search_problem(problem.groups, problem.budgets.model_copy(update=bound), problem.judges)
        within = FeasibleSet(tighter)
        if within.designs:
            found.append(undecided_set(tighter, within, choice.hearing, MOST_POOL).designs)
        pool = sum(map(len, found))
        if pool > MOST_POOL:
            raise too_many_open(problem.space, pool * (last - first + 1) / (last - step + 1), MOST_POOL)
    return distinct(join(found))


def tokens_as_good(
    problem: SearchProblem, readings: tuple[JudgingLaw, ...], designs: Candidates, goal: Candidates
) -> Array:
    """(readings, designs): training tokens at which each reading's loss is the goal's (one design) at its own.

    Infinite where that takes more than `MOST_TRAINING` times the asked; at least `LEAST_TRAINING` times.
    """
    of_goal, at = problem.variables(goal), problem.variables(designs)
    asked = np.broadcast_to(np.asarray(at.train_tokens, dtype=np.float64), len(designs))
    found = np.empty((len(readings), len(designs)))
    for number, judge in enumerate(readings):
        wanted = float(np.ravel(losses(judge, of_goal))[0])
        low, high = np.full(len(designs), math.log(LEAST_TRAINING)), np.full(len(designs), math.log(MOST_TRAINING))

        def is_worse(times: Array, judge: JudgingLaw = judge, wanted: float = wanted) -> Mask:
            """Of the logarithm of how many times the asked tokens."""
            at.train_tokens = asked * np.exp(times)
            return np.asarray(losses(judge, at) > wanted)

        never = is_worse(high)
        _, times = halved(is_worse, low, high, _HALVINGS)
        found[number] = np.where(never, np.inf, asked * np.exp(times))
    return found
