"""Size and tokens for the whole bill: what is as good as the answer to the asked training, and least dear to train and
to serve.

Sardana et al. (arXiv 2401.00448) choose size and tokens of a dense model by 6 N D_train + 2 N D_serve at equal loss.
Here every bound on the active parameters, in steps of a tenth of a decade, has its undecided designs; each of these is
trained until every law that is heard and sees tokens, in each reading, finds it as good as the asked answer.

The answer moves there where the user says so (`--prefer bill`) or leaves the training open; of all budgets only that of
training gives way.
"""

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from moewright.architecture import counts
from moewright.designs.branch_and_bound import FeasibleSet, SearchProblem, search_problem
from moewright.designs.candidates import Candidates, build_design, columns, distinct, join
from moewright.designs.costs import Costs, costs_of_candidates, design_costs, finalist_costs, middle_of_bill
from moewright.designs.judges import JudgingLaw, losses
from moewright.designs.limits import memory_bytes
from moewright.designs.preference import Choice
from moewright.designs.undecided import too_many_open, undecided_set
from moewright.hf.published_models import get_model, model_names
from moewright.laws import FittedLaw
from moewright.laws.bisection import halved
from moewright.laws.judging.verdicts import TOLERANCE
from moewright.laws.variable import Array, Mask
from moewright.progress import track
from moewright.quantities import parse_count

STEPS_PER_DECADE = 10
SIZES_DOWN_TO = 8.0
"""Active parameters go down to the largest undecided design's over this."""
MOST_TRAINING, LEAST_TRAINING = 16.0, 0.25
"""Times the asked tokens."""
MOST_POOL = 400_000
"""Designs of all sizes together: each is asked thirty times by every law."""
LEAST_SAVING = 0.05
"""Of the asked answer's bill, by the law that wants the most tokens: prices 20 % off undo less (docs/design.md)."""
ROUNDING = 1e-6
"""Of tokens: a design's own, found by halving, come out as a hair more."""
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
    against_asked: float
    """Its bill above the asked answer's, as a share, by the middles of ranges."""
    against_by_law: dict[str, float]
    """The same if it is trained on the tokens that each law alone wants."""
    chosen: bool = False
    """Whether the answer moved there."""

    @property
    def saves(self) -> bool:
        """Whether it is another choice at all."""
        return self.against_asked <= -LEAST_SAVING


def find_whole_bill(problem: SearchProblem, choice: Choice, asked: Costs, *, moves: bool) -> WholeBill | None:
    """Of all sizes and tokens; None where no law that is heard sees tokens, or the asked answer has no bill.

    `asked`: the costs of the first design of the choice, as they are shown. `moves`: whether the user wants the least
    bill whatever training was asked for. TooManyOpenError where the sizes leave too many designs open.
    """
    seeing = tuple(judge for judge in choice.hearing.readings if any(v.per_token for v in judge.inputs))
    if not seeing or asked.whole_bill is None:
        return None
    best = _as_good(problem, choice, seeing).least_bill(problem, choice, asked)
    return replace(best, chosen=moves and best.saves)


@cache
def most_published_tokens() -> float:
    """The most training tokens that the publisher of a model of the catalogue states: nobody has shown more text."""
    stated = (get_model(name).training_tokens for name in model_names())
    return max(parse_count(each.value, "training_tokens") for each in stated if each is not None)


@dataclass(frozen=True)
class _AsGood:
    """Designs of all sizes, the asked answer among them, with the tokens at which each is as good as that."""

    designs: Candidates
    readings: tuple[JudgingLaw, ...]
    by_reading: Array
    """(readings, designs)."""

    @property
    def tokens(self) -> Array:
        """(designs,): the most that a reading wants."""
        return np.asarray(self.by_reading.max(axis=0))

    def least_bill(self, problem: SearchProblem, choice: Choice, asked: Costs) -> WholeBill:
        """Of all of them."""
        vocab_size, tokens = problem.space.vocab_size, self.tokens
        bill = costs_of_candidates(self.designs, tokens, problem.budgets, choice.on, vocab_size).whole_bill
        assert bill is not None, "the asked answer is among them, and has one"
        best = int(np.argmin(np.sum(middle_of_bill(bill), axis=0)))
        one, amount = self.designs.take([best]), float(tokens[best])
        architecture = build_design(one, problem.space, problem.budgets.context)
        served = one.plan_of(0).served(problem.budgets.served)
        by_range = design_costs(architecture, amount, problem.budgets, choice.on, served)
        costs = finalist_costs(architecture, amount, problem.budgets, choice.on, by_range)
        by_law: dict[str, float] = {}
        for judge, wanted in zip(self.readings, self.by_reading[:, best].tolist(), strict=True):
            by_law[judge.name] = max(wanted, by_law.get(judge.name, 0.0))
        ours = _sum(asked)
        return WholeBill(
            designs=one,
            total_params=int(counts.total_params(architecture)),
            active_params=int(counts.active_params(architecture)),
            memory_bytes=int(memory_bytes(architecture, problem.budgets, served)),
            train_tokens=amount,
            tokens_by_law=by_law,
            costs=costs,
            against_asked=_sum(costs) / ours - 1,
            against_by_law={law: _sum(costs, wanted / amount) / ours - 1 for law, wanted in by_law.items()},
        )


def _sum(costs: Costs, training: float = 1.0) -> float:
    """The middle of the whole bill, with so many times the training."""
    assert costs.whole_bill is not None
    train, serve = middle_of_bill(costs.whole_bill)
    return float(training * train + serve)


def _as_good(problem: SearchProblem, choice: Choice, readings: tuple[JudgingLaw, ...]) -> _AsGood:
    """Of what is open at every size: what can be as good, on no more tokens than were ever published.

    And on no fewer for each active parameter than the runs of the laws had: on fewer a law may not judge.
    """
    pool, goal = open_at_every_size(problem, choice), choice.designs.take([0])
    by_reading = tokens_as_good(problem, readings, pool, goal)
    tokens = by_reading.max(axis=0)
    of_goal = float(np.max(problem.variables(goal).train_tokens))
    able = tokens <= max(most_published_tokens(), of_goal * (1 + ROUNDING))
    if choice.hearing.may_judge:
        published = [judge.law.judges for judge in readings if not isinstance(judge.law, FittedLaw)]
        least = max((law.least_tokens_per_param for law in published), default=0.0)
        able &= tokens / problem.variables(pool).size() >= least * (1 - TOLERANCE)
    return _AsGood(pool.take(able), readings, by_reading[:, able])


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
