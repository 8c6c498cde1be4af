"""The search again under other budgets: 10 % more of each, fewer active parameters, and FLOPs held fixed, or tokens.

What is held fixed decides how sparse is best. At fixed memory and tokens a denser model costs compute that nobody
counts; at fixed FLOPs it pays for its active parameters with tokens. Where the budgets bound neither active parameters
nor speed, both answers are given.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from moewright.architecture import counts
from moewright.designs.branch_and_bound import FeasibleSet, SearchProblem, best_of_each_law, search_problem
from moewright.designs.budgets import TRAINING, Budgets
from moewright.designs.candidates import Candidates, columns, join
from moewright.designs.design_record import ModeRecord, SizedRecord
from moewright.designs.judges import sees, training_tokens
from moewright.designs.preference import Preference, choose_design
from moewright.laws.variable import Array

MORE = 0.1
"""The share by which each budget is raised."""
# Below this a price is nothing but the grid of expert sizes, and no rate of exchange is made of it.
LEAST_PRICE = 1e-5
# The frontier: so many bounds, from a tenth of the largest active size to all of it.
POINTS, SPAN = 8, 10.0

Held = Literal["tokens", "FLOPs"]


@dataclass(frozen=True)
class ConstraintMode:
    """The mixture that would be built, by all laws and by each, when one of tokens and FLOPs is held fixed."""

    held: Held
    amount: float
    designs: Candidates
    """The recommended one, then each law's own."""
    active_params: tuple[int, ...]
    laws: tuple[str, ...]

    def answer(self) -> ModeRecord:
        """For JSON."""
        first, *own = (
            SizedRecord(**self.designs.sizes(row), active_params=self.active_params[row])
            for row in range(len(self.designs))
        )
        return ModeRecord(
            held=self.held, amount=self.amount, all_laws=first, by_law=dict(zip(self.laws, own, strict=True))
        )


def constraint_modes(
    problem: SearchProblem, within: FeasibleSet, first: Candidates, winners: Candidates, prefer: Preference
) -> tuple[ConstraintMode, ...]:
    """The answer as asked, and the one with the other of tokens and FLOPs held at what the first design takes."""
    architecture = columns(first, problem.space.vocab_size)
    tokens = np.asarray(training_tokens(architecture, problem.budgets)).item()
    per_token = counts.trained_flops_per_token(architecture, problem.budgets.tokens_per_sequence)
    flops = tokens * np.asarray(per_token).item()
    asked: Held = "tokens" if problem.budgets.train_tokens is not None else "FLOPs"
    other = _other(problem.budgets, tokens, flops)
    judges = tuple(judge for judge in problem.judges if sees(judge, other))
    again = search_problem(problem.groups, other, judges, problem.own)
    if not again.judges:
        return ()
    feasible = within.under(again)
    _, their_winners = best_of_each_law(again, feasible, winners)
    their_first = choose_design(again, feasible, prefer).designs.take([0])
    amounts: dict[Held, float] = {"tokens": tokens, "FLOPs": flops}
    swapped: Held = "FLOPs" if asked == "tokens" else "tokens"
    return (
        _mode(problem, asked, amounts[asked], first, winners),
        _mode(again, swapped, amounts[swapped], their_first, their_winners),
    )


def _other(budgets: Budgets, tokens: float, flops: float) -> Budgets:
    unset: dict[str, Any] = dict.fromkeys(TRAINING)
    if budgets.train_tokens is not None:
        return budgets.model_copy(update={**unset, "train_flops": flops})
    return budgets.model_copy(update={**unset, "train_tokens": tokens})


def _mode(problem: SearchProblem, held: Held, amount: float, first: Candidates, winners: Candidates) -> ConstraintMode:
    designs = join([first, winners])
    active = counts.active_params(columns(designs, problem.space.vocab_size))
    return ConstraintMode(
        held,
        amount,
        designs,
        tuple(int(value) for value in active),
        tuple(judge.name for judge in problem.judges),
    )


@dataclass(frozen=True)
class ShadowPrices:
    """By law and option: the change of the best loss, nats, for 10 % more of the budget; negative is better."""

    by_law: dict[str, dict[str, float]]

    def exchange(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """By law, option and other option: percent of the other budget that buys what 10 % of the one buys.

        To first order, from the two prices; None where the other buys nothing under the law.
        """
        return {
            law: {
                one: {
                    other: 100 * MORE * price / elsewhere if abs(elsewhere) > LEAST_PRICE else None
                    for other, elsewhere in prices.items()
                    if other != one
                }
                for one, price in prices.items()
            }
            for law, prices in self.by_law.items()
        }


def shadow_prices(problem: SearchProblem, within: FeasibleSet, best: Array, winners: Candidates) -> ShadowPrices:
    """Search again with 10 % more of each budget, one after another."""
    training = problem.budgets.training
    raised = {limit.option: problem.budgets.relaxed(limit.name, 1 + MORE) for limit in problem.bounds}
    raised[training.replace("_", "-")] = problem.budgets.relaxed(training, 1 + MORE)

    def price(budgets: Budgets) -> Array:
        again = search_problem(problem.groups, budgets, problem.judges)
        # Only the training differs: what is within the other budgets is known.
        same = getattr(budgets, training) != getattr(problem.budgets, training)
        return best_of_each_law(again, within.under(again) if same else FeasibleSet(again), winners)[0] - best

    changes = {option: price(budgets) for option, budgets in raised.items()}
    return ShadowPrices(
        {
            judge.name: {option: float(change[number]) for option, change in changes.items()}
            for number, judge in enumerate(problem.judges)
        }
    )


@dataclass(frozen=True)
class Frontier:
    """Losses in nats by law at bounds of the active parameters; NaN where nothing is so small."""

    active_params: Array
    """(points,), rising."""
    losses: Array
    """(laws, points)."""


def frontier(problem: SearchProblem, most_active: float) -> Frontier:
    """Search again at geometric steps of the bound up to `most_active`."""
    bounds = np.geomspace(most_active / SPAN, most_active, POINTS)
    losses = np.full((len(problem.judges), POINTS), np.nan)
    for number, bound in enumerate(bounds):
        tighter = search_problem(
            problem.groups, problem.budgets.model_copy(update={"active_params": float(bound)}), problem.judges
        )
        within = FeasibleSet(tighter)
        if within.designs:
            losses[:, number] = best_of_each_law(tighter, within)[0]
    return Frontier(bounds, losses)
