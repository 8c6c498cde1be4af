"""What a little more of each budget buys: the change of each law's best loss, found by searching again."""

from dataclasses import dataclass

from moewright.designs.budgets import Budgets
from moewright.designs.candidates import Candidates
from moewright.designs.search import Feasible, Question, ask, best_of_each_law
from moewright.laws.variable import Array

MORE = 0.1
"""The share by which each budget is raised."""
# Below this a price is nothing but the grid of expert sizes, and no rate of exchange is made of it.
LEAST_PRICE = 1e-5


@dataclass(frozen=True)
class Prices:
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


def shadow_prices(question: Question, within: Feasible, best: Array, winners: Candidates) -> Prices:
    """Search again with 10 % more of each budget, one after another."""
    training = question.budgets.training
    raised = {limit.option: question.budgets.relaxed(limit.name, 1 + MORE) for limit in question.bounds}
    raised[training.replace("_", "-")] = question.budgets.relaxed(training, 1 + MORE)

    def price(budgets: Budgets) -> Array:
        again = ask(question.groups, budgets, question.witnesses)
        # Only the training differs: what is within the other budgets is known.
        space = within.under(again) if getattr(budgets, training) != getattr(question.budgets, training) else None
        return best_of_each_law(again, space or Feasible(again), winners)[0] - best

    changes = {option: price(budgets) for option, budgets in raised.items()}
    return Prices(
        {
            witness.name: {option: float(change[number]) for option, change in changes.items()}
            for number, witness in enumerate(question.witnesses)
        }
    )
