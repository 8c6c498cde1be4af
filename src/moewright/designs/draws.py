"""How sure a fitted law is of its favourites: its bootstrap draws, each of which ranks the same finalists.

A winner of noise is not a winner. For each pair (finalist, favourite of the point estimate) every draw gives one
difference of losses; a finalist whose differences are not above 0 at the stated confidence cannot be told from it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from moewright.designs.candidates import SIZES, Candidates
from moewright.designs.search import Question
from moewright.designs.witnesses import Witness
from moewright.laws.fitting.fitted import FittedLaw
from moewright.laws.variable import Array

CONFIDENCE = 0.9
# Losses are computed for so many (draw, design) pairs at a time: 32 MB a column.
PAIRS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Sureness:
    """One fitted law's view of the finalists."""

    law: str
    num_draws: int
    num_finalists: int
    probability_best: Array
    """(finalists,): share of draws under which each has the least loss among them."""
    count_alike: int
    ranges: dict[str, tuple[int, int]]
    """Of each size over the finalists that cannot be told from the law's favourite at `CONFIDENCE`."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the finalists that no draw prefers."""
        return {
            "draws": self.num_draws,
            "finalists": self.num_finalists,
            "confidence": CONFIDENCE,
            "not_told_apart": {"count": self.count_alike, **self.ranges},
        }


def sureness(question: Question, finalists: Candidates) -> dict[str, Sureness]:
    """For each fitted law with draws, by name; empty without such a law."""
    return {
        witness.name: _of_law(question, witness, witness.law, finalists)
        for witness in question.witnesses
        if isinstance(witness.law, FittedLaw) and len(witness.law.record.draws)
    }


def ranges_of(designs: Candidates) -> dict[str, tuple[int, int]]:
    """The least and the most of each size."""
    columns = {name: getattr(designs, name) for name in SIZES}
    return {name: (int(column.min()), int(column.max())) for name, column in columns.items()} if len(designs) else {}


def _of_law(question: Question, witness: Witness, law: FittedLaw, finalists: Candidates) -> Sureness:
    draws = law.record.draws
    assert law.form is not None
    at = question.derived(finalists)
    columns = {v.name: np.broadcast_to(np.asarray(at.of(v), dtype=np.float64), len(finalists)) for v in witness.inputs}
    favourite = int(np.argmin(witness.evaluate(columns)))
    wins, above = np.zeros(len(finalists)), np.zeros(len(finalists))
    at_once = max(PAIRS_AT_ONCE // len(finalists), 1)
    for start in range(0, len(draws), at_once):
        some = draws[start : start + at_once]
        coefficients = {c.name: some[:, i, None] for i, c in enumerate(law.form.coefficients)}
        losses = np.broadcast_to(law.bare_loss(columns, coefficients), (len(some), len(finalists)))
        wins += np.bincount(losses.argmin(axis=1), minlength=len(finalists))
        above += (losses > losses[:, favourite, None]).sum(axis=0)
    alike = above <= CONFIDENCE * len(draws)
    return Sureness(
        witness.name,
        len(draws),
        len(finalists),
        wins / len(draws),
        int(alike.sum()),
        ranges_of(finalists.take(alike)),
    )
