"""Three studies' rules of thumb as other ways to choose, and what following each costs under every law.

liew: fill the total parameters, then the smallest sparsity E/K, then the fewest experts (arXiv 2601.08215).
slicing: experts of an eighth to a half of the dense width 4 d, between which the loss is flat, whatever the total
  (arXiv 2605.11689: m = 1 is far off, 1/2 to 1/8 within .01 to .03 nats).
joint: 6 to 8 active experts around G* = sqrt(f/e) = 6.78, of which a share from 13 % to S* = 31 % shared, nearly free
  in between (arXiv 2509.23678).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from moewright.architecture import counts
from moewright.designs.budgets import Budgets
from moewright.designs.candidates import Candidates, Column, columns, join
from moewright.designs.groups import Groups
from moewright.designs.ranking import rank
from moewright.designs.search import Feasible, Question, ask
from moewright.errors import UserError
from moewright.laws import get
from moewright.laws.variable import Array

Principle = Literal["liew", "slicing", "joint"]

# "Filling" the total leaves at most this share unused: expert sizes come in steps.
FILLED = 0.99
LEAST_MULTIPLIER, MOST_MULTIPLIER = 1 / 8, 1 / 2  # d_e / (4 d), arXiv 2605.11689
LEAST_SHARED_SHARE = 0.13  # arXiv 2509.23678: 13 to 31 % are nearly free
DENSE_OVER_WIDTH = 4  # the dense feed-forward that the multiplier divides is 4 d wide
LIEW_LISTED = 5


@dataclass(frozen=True)
class Followed:
    """The best design that follows a principle, and its regret by law."""

    principle: Principle
    design: Candidates
    regret: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**self.design.sizes(0), "regret": self.regret}


@dataclass(frozen=True)
class Principles:
    """What each principle would choose within the budgets; a principle that nothing follows is left out."""

    followed: Mapping[Principle, Followed]
    liew: Candidates
    """Liew's ranking, best first: filled designs by sparsity, then by experts."""
    liew_regrets: Array
    """(laws, designs)."""
    most_total: int
    """The largest total within the budgets."""
    least_sparsity: float
    """Of the filled designs."""

    def follows(self, designs: Candidates, vocab_size: int) -> list[tuple[Principle, ...]]:
        """For each design the principles that it follows."""
        total = counts.total_params(columns(designs, vocab_size))
        masks: dict[Principle, Any] = {
            "liew": (total >= FILLED * self.most_total)
            & (designs.num_experts <= self.least_sparsity * designs.top_k * (1 + 1e-9)),
            "slicing": _within_slicing(designs),
            "joint": _within_joint(designs.top_k, designs.shared_experts),
        }
        return [tuple(name for name, mask in masks.items() if mask[row]) for row in range(len(designs))]


def principles(question: Question, within: Feasible, best: Array) -> Principles:
    """Choose by each principle; among the designs that follow one, by the largest regret over the laws."""
    followed: dict[Principle, Followed] = {}
    names = [witness.name for witness in question.witnesses]
    liew, most_total = _liew_ranking(question, within)
    regrets = question.losses(liew) - best[:, None]
    chosen: dict[Principle, Candidates | None] = {
        "liew": liew.take([0]),
        "slicing": _best_within(_slicing_groups(question.groups), question.budgets, question, best),
        "joint": _best_within(_joint_groups(question.groups), question.budgets, question, best),
    }
    for name, design in chosen.items():
        if design is not None:
            regret = question.losses(design)[:, 0] - best
            followed[name] = Followed(name, design, dict(zip(names, map(float, regret), strict=True)))
    return Principles(followed, liew, regrets, most_total, float(liew.num_experts[0] / liew.top_k[0]))


def _liew_ranking(question: Question, within: Feasible) -> tuple[Candidates, int]:
    """The filled designs without shared experts (with them where the space has no others), best first; most total."""
    parts, totals, most = [], [], 0
    for stretch in within:
        widest = stretch.widest
        total = np.asarray(counts.total_params(columns(widest, question.space.vocab_size)))
        most = max(most, int(total.max()))
        near = total >= FILLED * most
        parts.append(widest.take(near))
        totals.append(total[near])
    designs, total = join(parts), np.concatenate(totals)
    filled = total >= FILLED * most
    designs, sizes = designs.take(filled), total[filled]
    has_shared = (designs.shared_experts > 0).astype(np.int64)
    order = np.lexsort((-sizes, designs.num_experts, designs.num_experts / designs.top_k, has_shared))
    kinds = designs.kind[order]
    _, first = np.unique(kinds, return_index=True)
    return designs.take(order[np.sort(first)[:LIEW_LISTED]]), most


def _best_within(groups: Groups | None, budgets: Budgets, question: Question, best: Array) -> Candidates | None:
    if groups is None:
        return None
    narrowed = ask(groups, budgets, question.witnesses)
    within = Feasible(narrowed)
    if not within.designs:
        return None
    return rank(narrowed, within, best, within.sample(), top=1).designs.take([0])


def _slicing_groups(groups: Groups) -> Groups | None:
    """The same groups with expert sizes by the multiplier's range, within the space's own."""
    space = groups.space
    least = max(space.least_expert_size_over_width, LEAST_MULTIPLIER * DENSE_OVER_WIDTH)
    most = min(space.most_expert_size_over_width, MOST_MULTIPLIER * DENSE_OVER_WIDTH)
    narrowed = space.model_copy(update={"least_expert_size_over_width": least, "most_expert_size_over_width": most})
    try:
        return Groups(np.array(narrowed.shapes(), dtype=np.int64), groups.mixtures, narrowed)
    except UserError:  # no size is left
        return None


def _joint_groups(groups: Groups) -> Groups | None:
    mixtures = groups.mixtures[_within_joint(groups.mixtures[:, 1], groups.mixtures[:, 2])]
    return replace(groups, mixtures=mixtures) if len(mixtures) else None


def _within_slicing(designs: Candidates) -> Any:
    dense = DENSE_OVER_WIDTH * designs.hidden_size
    return (designs.expert_size >= LEAST_MULTIPLIER * dense) & (designs.expert_size <= MOST_MULTIPLIER * dense)


def _within_joint(top_k: Column, shared: Column) -> Any:
    optimum = get("zhao2025").optimum()
    active = top_k + shared
    share = shared / active
    near = (active >= np.floor(optimum["active_experts"])) & (active <= np.ceil(optimum["active_experts"]) + 1)
    return near & (share >= LEAST_SHARED_SHARE) & (share <= optimum["shared_ratio"])
