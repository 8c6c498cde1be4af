"""Each law's best loss as the active parameters are bounded tighter and tighter, everything else as it is."""

from dataclasses import dataclass, replace

import numpy as np

from moewright.designs.search import Feasible, Question, ask, best_of_each_law
from moewright.laws.variable import Array

POINTS = 8
SPAN = 10.0  # from a tenth of the largest active size to all of it


@dataclass(frozen=True)
class Frontier:
    """Losses in nats by law at bounds of the active parameters; NaN where nothing is so small."""

    active_params: Array
    """(points,), rising."""
    losses: Array
    """(laws, points)."""


def frontier(question: Question, most_active: float) -> Frontier:
    """Search again at geometric steps of the bound up to `most_active`."""
    bounds = np.geomspace(most_active / SPAN, most_active, POINTS)
    losses = np.full((len(question.witnesses), POINTS), np.nan)
    for number, bound in enumerate(bounds):
        tighter = ask(question.groups, replace(question.budgets, active_params=float(bound)), question.witnesses)
        within = Feasible(tighter)
        if within.designs:
            losses[:, number] = best_of_each_law(tighter, within)[0]
    return Frontier(bounds, losses)
