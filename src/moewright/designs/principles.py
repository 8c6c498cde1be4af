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
from moewright.designs.branch_and_bound import FeasibleSet, SearchProblem, search_problem
from moewright.designs.candidates import Candidates, IntColumn, columns, join
from moewright.designs.design_record import PrincipleRecord, TradeOff, TradeOffRow
from moewright.designs.groups import Groups
from moewright.designs.preference import Preference, choose_design
from moewright.designs.space import Space
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
class PrincipleChoice:
    """The best design that follows a principle, and its regret by law."""

    principle: Principle
    design: Candidates
    regret: dict[str, float]

    def answer(self) -> PrincipleRecord:
        """For JSON."""
        return PrincipleRecord(**self.design.sizes(0), regret=self.regret)


@dataclass(frozen=True)
class Principles:
    """What each principle would choose within the budgets; a principle that nothing follows is left out."""

    choices: Mapping[Principle, PrincipleChoice]
    liew: Candidates
    """Liew's ranking, best first: filled designs by sparsity, then by experts."""
    most_total: int
    """The largest total within the budgets."""
    least_sparsity: float
    """Of the filled designs."""
    left_out: Mapping[str, str]
    """Principles whose designs could not be searched: why."""

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


def choose_by_principles(problem: SearchProblem, within: FeasibleSet, best: Array, prefer: Preference) -> Principles:
    """Choose by each principle; among the designs that follow one, as among all: what is undecided, then cost."""
    choices: dict[Principle, PrincipleChoice] = {}
    names = [judge.name for judge in problem.judges]
    liew, most_total = _liew_ranking(problem, within)
    chosen: dict[Principle, Candidates | None] = {"liew": liew.take([0])}
    left_out: dict[str, str] = {}
    searched: dict[Principle, Groups | None] = {
        "slicing": _slicing_groups(problem.groups),
        "joint": _joint_groups(problem.groups),
    }
    for name, groups in searched.items():
        try:
            chosen[name] = _best_within(groups, problem, prefer)
        except UserError as error:
            left_out[f"principle {name}"] = str(error)
    for name, design in chosen.items():
        if design is not None:
            regret = problem.losses(design)[:, 0] - best
            choices[name] = PrincipleChoice(name, design, dict(zip(names, map(float, regret), strict=True)))
    return Principles(choices, liew, most_total, float(liew.num_experts[0] / liew.top_k[0]), left_out)


def _liew_ranking(problem: SearchProblem, within: FeasibleSet) -> tuple[Candidates, int]:
    """The filled designs without shared experts (with them where the space has no others), best first; most total."""
    parts, totals, most = [], [], 0
    for ranges in within:
        widest = ranges.widest
        total = np.asarray(counts.total_params(columns(widest, problem.space.vocab_size)))
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


def _best_within(groups: Groups | None, problem: SearchProblem, prefer: Preference) -> Candidates | None:
    if groups is None:
        return None
    narrowed = search_problem(groups, problem.budgets, problem.judges, problem.own)
    within = FeasibleSet(narrowed)
    if not within.designs:
        return None
    return choose_design(narrowed, within, prefer).designs.take([0])


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


def _within_joint(top_k: IntColumn, shared: IntColumn) -> Any:
    optimum = get("zhao2025").optimum()
    active = top_k + shared
    share = shared / active
    near = (active >= np.floor(optimum["active_experts"])) & (active <= np.ceil(optimum["active_experts"]) + 1)
    return near & (share >= LEAST_SHARED_SHARE) & (share <= optimum["shared_ratio"])


# The trade-off between sparsity and expert count when both budgets are full (arXiv 2601.08215's algebra).
#
# With attention of 4 d^2 and gated experts of 3 d d_e weights a layer, N_total = l d^2 (4 + 3 E/g) and N_active =
# l d^2 (4 + 3 K/g), g = d/d_e. So N_total/N_active = r = (E + e0)/(K + e0) with e0 = 4 g/3, and at fixed g
#
#     K = (E + e0)/r - e0,    s = E/K = r / (1 - b/E),    b = e0 (r - 1).
#
# The smallest sparsity wants many experts, the fewest experts a large sparsity: two wishes of one principle in
# conflict. With g free they are not: coarser experts make e0 and b small, and s falls to r whatever E is. Embeddings,
# router and norms are left out of both counts.


def expert_offset(granularity: float) -> float:
    """e0: attention's weights in units of one expert's, for multi-head attention and gated experts."""
    return 4 * granularity / 3


def conflict_scale(ratio: float, granularity: float) -> float:
    """b = e0 (r - 1): experts below which the sparsity rises steeply; K reaches 1 at E = r + b."""
    return expert_offset(granularity) * (ratio - 1)


def sparsity_at(num_experts: float, ratio: float, granularity: float) -> float | None:
    """s = E/K that fills both budgets; None where that would take less than one active expert.

    OLMoE's budgets (arXiv 2409.02060): total over active 6.25, d/d_e = 2.

    >>> tuple(round(sparsity_at(experts, 6.25, 2), 2) for experts in (32, 64, 128))
    (11.11, 8.0, 7.02)
    >>> sparsity_at(20, 6.25, 2) is None
    True
    """
    active = (num_experts + expert_offset(granularity)) / ratio - expert_offset(granularity)
    return num_experts / active if active >= 1 else None


def best_num_experts(ratio: float, granularity: float, sparsity_exponent: float, experts_exponent: float) -> float:
    """E of least loss at fixed g for a law with b log s + g log E: b_scale (1 + beta/gamma), by dL/dE = 0."""
    return conflict_scale(ratio, granularity) * (1 + sparsity_exponent / experts_exponent)


def trade_off(ratio: float, granularity: float, space: Space) -> TradeOff:
    """The sparsity that fills both budgets, for each expert count of the space."""
    coarsest = 1 / space.most_expert_size_over_width
    rows = [
        TradeOffRow(
            num_experts=experts,
            sparsity=sparsity_at(experts, ratio, granularity),
            sparsity_at_coarsest=sparsity_at(experts, ratio, coarsest),
        )
        for experts in sorted(space.experts)
    ]
    return TradeOff(ratio=ratio, granularity=granularity, rows=tuple(rows))
