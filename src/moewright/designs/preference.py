"""What cost decides among the designs that evidence leaves open.

Loss and cost meet in one unit, effective compute: by how much more training a law's loss would fall as far. A design's
score is the logarithm of what it costs, by the weights of the preference, plus its mean loss over the laws that are
heard, over what an e-fold of training is worth to them. The mean orders pairs of public runs better than the worst does
(docs/evidence.md). No part of the score depends on which other designs there are.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from moewright.architecture import counts
from moewright.designs.branch_and_bound import FeasibleSet, SearchProblem
from moewright.designs.budgets import Budgets
from moewright.designs.candidates import Candidates
from moewright.designs.costs import (
    CostedOn,
    Costs,
    bytes_per_param,
    bytes_wanted,
    costed_on,
    costs_of_candidates,
    middle,
    middle_of_bill,
)
from moewright.designs.hearing import Hearing, hear
from moewright.designs.judges import loss_of
from moewright.designs.own_verdicts import OwnVerdicts, hear_own_runs
from moewright.designs.rules import published_mixtures
from moewright.designs.undecided import Undecided, undecided_set
from moewright.errors import UserError
from moewright.hf.published_models import ModelEntry
from moewright.laws import InapplicableLaw
from moewright.laws.variable import Array

Preference = Literal["balanced", "train", "serve", "loss"]
PREFERENCES: tuple[Preference, ...] = get_args(Preference)
LEAST_BILL = "bill"
"""Beside these: balanced, and the size and tokens of the least bill then (`designs.whole_bill`)."""

WEIGHTS: dict[Preference, tuple[float, float]] = {
    "balanced": (0.5, 0.5),
    "train": (1.0, 0.0),
    "serve": (0.0, 1.0),
    "loss": (0.0, 0.0),
}
"""Of the logarithms of training device-hours and of seconds per decoded token. They add up to one, so that a design
twice as dear in all that counts must be worth twice the training."""
# Training is raised by so much to see what it is worth.
MORE_TRAINING = 1.1


@dataclass(frozen=True)
class Worth:
    """What more training is worth: the change of units between loss and cost."""

    nats: float | None
    """Of an e-fold of training, the mean over laws; None where no law that is heard sees training."""
    by_law: dict[str, float]
    at: str
    """The published model at whose size it is taken: the nearest to the budgets, whatever is searched."""

    @property
    def of_more_training(self) -> float | None:
        """Nats of `MORE_TRAINING` times the training, by the same slope."""
        return None if self.nats is None else self.nats * math.log(MORE_TRAINING)


@dataclass(frozen=True)
class Choice:
    """The undecided designs in the order of a preference, the best of each mixture."""

    prefer: Preference
    hearing: Hearing
    undecided: Undecided
    designs: Candidates
    """The best of each (experts, top_k, shared experts), best first."""
    scores: Array
    """(designs,): logarithm of the effective cost above the first's, or nats by preference for loss."""
    of_undecided: Array
    """(undecided designs,): the same of all of them."""
    worth: Worth
    on: CostedOn
    costs: Costs
    """Of `designs`, by the range of utilisation."""
    own: OwnVerdicts | None = None
    """What a user's own runs changed; None where none are heard."""
    unserved: int = 0
    """Undecided designs of which not one sequence fits on the devices of the whole bill: none of them is chosen."""

    def plans_behind(self) -> dict[int, float]:
        """By plan of layers, as placed among the designs' plans: what its best design is worth less than the first.

        In nats of mean loss: so much worse may the first design's layers make the loss before that plan is the better
        choice. By preference for loss it is the difference of losses; 0 for the first design's plan.
        """
        worth = self.worth.nats if self.by_cost and self.worth.nats is not None else 1.0
        found: dict[int, float] = {}
        for plan, score in zip(self.designs.layer_plan.tolist(), self.scores.tolist(), strict=True):  # best first
            found.setdefault(plan, score * worth)
        return found

    @property
    def by_cost(self) -> bool:
        """Whether cost chose; else the least mean loss did: so preferred, or no law that is heard sees training."""
        return self.prefer != "loss" and self.worth.nats is not None


def choose_design(
    problem: SearchProblem, within: FeasibleSet, prefer: Preference, hearing: Hearing | None = None
) -> Choice:
    """Find what is undecided and order it by a preference; the first is the design to build.

    `hearing`: other readings than those of the laws that may judge.
    """
    hearing = hearing or hear(problem, within)
    undecided, own = undecided_set(problem, within, hearing), None
    if problem.own is not None:
        undecided, own = hear_own_runs(problem, problem.own, within, undecided, hearing)
    return replace(order_undecided(problem, undecided, hearing, prefer), own=own)


def order_undecided(
    problem: SearchProblem,
    undecided: Undecided,
    hearing: Hearing,
    prefer: Preference,
    worth: Worth | None = None,
    on: CostedOn | None = None,
) -> Choice:
    """The undecided designs by a preference; another worth of training and other devices than the budgets' if given."""
    worth, on = worth or worth_of_training(problem.budgets, hearing), on or costed_on(problem.budgets)
    tokens = problem.variables(undecided.designs).train_tokens
    costs = costs_of_candidates(undecided.designs, tokens, problem.budgets, on, problem.space.vocab_size)
    scores = preference_scores(undecided, costs, hearing, prefer, worth)
    d = undecided.designs
    order = np.lexsort((d.num_experts, d.num_layers, scores))
    served = np.isfinite(scores)[order]
    if not served.any():
        raise UserError(
            f"serve-tokens: not one sequence of {problem.budgets.context:,} tokens fits on {on.bill_devices} "
            f"{on.serves} beside any undecided design; take more --devices or a shorter --context"
        )
    order = order[served]
    _, first = np.unique(d.kind[order], return_index=True)
    leaders = order[np.sort(first)]
    return Choice(
        prefer,
        hearing,
        undecided,
        d.take(leaders),
        scores[leaders] - scores[leaders[0]],
        scores - scores[leaders[0]],
        worth,
        on,
        costs.take(leaders),
        unserved=int((~served).sum()),
    )


def worth_of_training(budgets: Budgets, hearing: Hearing) -> Worth:
    """By how much each law's loss falls with training, at the published model nearest to the budgets."""
    nearest = nearest_published(bytes_wanted(budgets) / bytes_per_param(budgets), budgets.active_params)
    return worth_at(nearest, budgets, hearing)


def worth_at(entry: ModelEntry, budgets: Budgets, hearing: Hearing) -> Worth:
    """The same at a published model of one's choice."""
    more = budgets.relaxed(budgets.training, MORE_TRAINING)
    found: dict[str, float] = {}
    for judge in {judge.name: judge for judge in hearing.readings}.values():
        if not any(variable.per_token for variable in judge.inputs):
            continue
        try:
            fall = loss_of(judge, entry.architecture, budgets) - loss_of(judge, entry.architecture, more)
        except InapplicableLaw:
            continue
        found[judge.name] = fall / math.log(MORE_TRAINING)
    mean = float(np.mean(list(found.values()))) if found else 0.0
    return Worth(mean if mean > 0 else None, found, entry.name)


def nearest_published(total: float, active: float | None) -> ModelEntry:
    """The mixture of the catalogue whose total and active parameters are nearest, in ratios."""

    def distance(entry: ModelEntry) -> float:
        far = abs(math.log(counts.total_params(entry.architecture) / total))
        return far if active is None else far + abs(math.log(counts.active_params(entry.architecture) / active))

    return min(published_mixtures(), key=distance)


def preference_scores(undecided: Undecided, costs: Costs, hearing: Hearing, prefer: Preference, worth: Worth) -> Array:
    """(designs,): the logarithm of the effective cost of each, or its mean loss where cost does not choose."""
    mean = hearing.mean_by_law(undecided.losses)
    train, decode = WEIGHTS[prefer]
    if worth.nats is None or not (train or decode):
        return mean
    if costs.serve_device_hours is not None:
        bill = costs.whole_bill
        return np.full_like(mean, np.inf) if bill is None else whole_bill_at_equal_loss(bill, mean, worth.nats)
    hours, rate = middle(costs.train_device_hours), middle(costs.decode_tokens_per_second)
    return np.asarray(mean / worth.nats + train * np.log(hours) - decode * np.log(rate))


def whole_bill_at_equal_loss(bill: tuple[tuple[Any, Any], tuple[Any, Any]], mean: Array, worth: float) -> Array:
    """Logarithm of training and serving, each design trained for longer until its mean loss is the least of all.

    As Sardana et al. minimise 6 N D_train + 2 N D_serve at equal loss (arXiv 2401.00448).
    """
    training, serving = middle_of_bill(bill)
    return np.asarray(np.log(training * np.exp((mean - mean.min()) / worth) + serving))
