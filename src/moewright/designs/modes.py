"""What is held fixed decides how sparse is best: the same training tokens, or the same training FLOPs.

At fixed memory and tokens a denser model costs compute that nobody counts; at fixed FLOPs it pays for its active
parameters with tokens. Where the budgets bound neither active parameters nor speed, both answers are given.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from moewright.architecture import counts
from moewright.designs.budgets import TRAINING, Budgets
from moewright.designs.candidates import Candidates, columns, join
from moewright.designs.ranking import rank
from moewright.designs.search import Feasible, Question, ask, best_of_each_law
from moewright.designs.witnesses import sees, tokens_of

Held = Literal["tokens", "FLOPs"]


@dataclass(frozen=True)
class Mode:
    """The best mixture, over all laws and of each, when one of tokens and FLOPs is held fixed."""

    held: Held
    amount: float
    designs: Candidates
    """The first over all laws, then each law's own."""
    active_params: tuple[int, ...]
    laws: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rows = [
            {**self.designs.sizes(row), "active_params": self.active_params[row]} for row in range(len(self.designs))
        ]
        return {
            "held": self.held,
            "amount": self.amount,
            "all_laws": rows[0],
            "by_law": dict(zip(self.laws, rows[1:], strict=True)),
        }


def both_modes(question: Question, within: Feasible, first: Candidates, winners: Candidates) -> tuple[Mode, ...]:
    """The answer as asked, and the one with the other of tokens and FLOPs held at what the first design takes."""
    architecture = columns(first, question.space.vocab_size)
    tokens = np.asarray(tokens_of(architecture, question.budgets)).item()
    per_token = counts.training_flops_per_token(architecture, question.budgets.tokens_per_sequence)
    flops = tokens * np.asarray(per_token).item()
    asked: Held = "tokens" if question.budgets.train_tokens is not None else "FLOPs"
    other = _other(question.budgets, tokens, flops)
    again = ask(question.groups, other, tuple(w for w in question.witnesses if sees(w, other)))
    if not again.witnesses:
        return ()
    space = within.under(again)
    best, their_winners = best_of_each_law(again, space, winners)
    their_first = rank(again, space, best, their_winners, top=1).designs.take([0])
    return (
        _mode(question, asked, tokens if asked == "tokens" else flops, first, winners),
        _mode(again, "FLOPs" if asked == "tokens" else "tokens", flops if asked == "tokens" else tokens, their_first,
              their_winners),
    )  # fmt: skip


def _other(budgets: Budgets, tokens: float, flops: float) -> Budgets:
    unset: dict[str, Any] = dict.fromkeys(TRAINING)
    if budgets.train_tokens is not None:
        return replace(budgets, **{**unset, "train_flops": flops})
    return replace(budgets, **{**unset, "train_tokens": tokens})


def _mode(question: Question, held: Held, amount: float, first: Candidates, winners: Candidates) -> Mode:
    designs = join([first, winners])
    active = counts.active_params(columns(designs, question.space.vocab_size))
    return Mode(
        held,
        amount,
        designs,
        tuple(int(value) for value in active),  # type: ignore[attr-defined]  # a column
        tuple(witness.name for witness in question.witnesses),
    )
