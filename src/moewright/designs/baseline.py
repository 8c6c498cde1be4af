"""A published model beside the answer: as it is and scaled to the budgets, by cost, and by loss where laws decide."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from moewright.architecture import Architecture, counts, variables
from moewright.designs.branch_and_bound import SearchProblem
from moewright.designs.candidates import Candidates, build_design, columns
from moewright.designs.costs import CostedOn, Costs, design_costs, finalist_costs, middle
from moewright.designs.hearing import BACK_TESTED
from moewright.designs.judges import published_that_judge, training_tokens
from moewright.designs.limits import memory_bytes
from moewright.designs.preference import nearest_published
from moewright.designs.ranking import better_by_draws
from moewright.designs.served_as import ServedAs
from moewright.designs.space import LayerPlan
from moewright.errors import UserError
from moewright.hf.loading import ArchitectureSource, Loaded, load_architecture
from moewright.laws import JudgedPair, judge
from moewright.laws.judging.compared_designs import ComparedDesigns
from moewright.laws.judging.own_runs import OwnRuns

_TAKEN = ("memory", "total_params", "active_params")
# A model is scaled by these factors of its width, depth and expert size, a hundredth apart in logarithm.
_SCALES = np.exp(np.arange(-2.0, 2.0, 0.01))
_GRID = 64  # channels, as the space's expert sizes


@dataclass(frozen=True)
class BesideModel:
    """A model beside the recommended design."""

    architecture: Architecture
    sizes: dict[str, float]
    """Width, depth, E, K, shared experts and expert size, mean values where layers differ."""
    total_params: int
    active_params: int
    memory_bytes: int
    train_tokens: float
    costs: Costs
    verdict: JudgedPair | None
    """The recommended design (first) against it; None where no published law is among the judges."""
    within_budgets: bool
    probability_by_draws: dict[str, float]
    """By fitted law: share of its draws under which the recommended design has the lower loss."""

    @property
    def probability(self) -> float | None:
        """That the recommended design has the lower loss: by what public runs bear out of such verdicts, or, where own
        runs decided, by these."""
        if self.verdict is None or not self.verdict.decided:
            return None
        if self.verdict.by_own_runs:
            assert self.verdict.own is not None
            return self.verdict.own.probability
        return BACK_TESTED if self.verdict.better == "first" else 1 - BACK_TESTED

    @property
    def loss_difference(self) -> float | None:
        """Nats that the recommended design's loss lies above its own, where it is decided."""
        return None if self.verdict is None else self.verdict.mean


@dataclass(frozen=True)
class Baseline:
    """A published model as it is, and scaled to the budgets (None where no size of it is within them)."""

    name: str
    named: bool
    """Whether the user named it; else it is the nearest of the catalogue."""
    as_built: BesideModel
    scaled: BesideModel | None
    warnings: tuple[str, ...]


def budgets_like(source: ArchitectureSource, given: dict[str, Any]) -> tuple[Loaded, dict[str, Any]]:
    """The model, and the budgets with its total and active parameters; UserError for budgets given twice."""
    clash = next((name for name in _TAKEN if given.get(name) is not None), None)
    if clash is not None:
        option = clash.replace("_", "-")
        raise UserError(f"{option}: --like takes the size and the active parameters from the model; leave it out")
    loaded = load_mixture(source, "like")
    counted = {
        "total_params": counts.total_params(loaded.architecture),
        "active_params": counts.active_params(loaded.architecture),
    }
    return loaded, {**given, **counted}


def load_mixture(source: ArchitectureSource, option: str) -> Loaded:
    """A model with routed experts; UserError for a dense one."""
    loaded = load_architecture(source)
    if not loaded.architecture.moe_layers():
        raise UserError(f"{option}: {loaded.name} is dense; there is no mixture to compare")
    return loaded


def put_beside(
    problem: SearchProblem,
    recommended: Architecture,
    train_tokens: float,
    given: Loaded | None,
    on: CostedOn,
    plan: LayerPlan,
    own: OwnRuns | None = None,
) -> Baseline:
    """The given model, or the published one nearest to the recommended design, beside that design.

    `train_tokens`: of the recommended design; the model gets the budgets' training. `plan`: of the recommended design's
    layers, which the scaled model has too. `own`: a user's runs.
    """
    if given is None:
        entry = nearest_published(counts.total_params(recommended), counts.active_params(recommended))
        given = load_architecture(entry.name)
        named = False
    else:
        named = True
    asked = problem.budgets.served
    scaled = _scaled(given.architecture, problem, counts.total_params(recommended), plan)
    return Baseline(
        name=given.name,
        named=named,
        as_built=_beside(problem, recommended, train_tokens, given.architecture, on, asked, own),
        scaled=None
        if scaled is None
        else _beside(problem, recommended, train_tokens, scaled, on, plan.served(asked), own),
        warnings=given.warnings,
    )


def _beside(
    problem: SearchProblem,
    recommended: Architecture,
    train_tokens: float,
    other: Architecture,
    on: CostedOn,
    served: ServedAs,
    own: OwnRuns | None,
) -> BesideModel:
    budgets = problem.budgets
    tokens = train_tokens, float(training_tokens(other, budgets))
    laws = published_that_judge(problem.judges)
    told = None
    if own is not None and laws:
        told = own.asked([ComparedDesigns(recommended, tokens[0]), ComparedDesigns(other, tokens[1])])
    return BesideModel(
        architecture=other,
        sizes=sizes_of(other),
        total_params=counts.total_params(other),
        active_params=counts.active_params(other),
        memory_bytes=memory_bytes(other, budgets, served),
        train_tokens=tokens[1],
        costs=finalist_costs(other, tokens[1], budgets, on, design_costs(other, tokens[1], budgets, on, served)),
        verdict=judge(recommended, other, train_tokens=tokens, law=laws, own=told, names=("design", "baseline"))
        if laws
        else None,
        within_budgets=all(float(limit.cost(other, served)) <= limit.most for limit in problem.bounds),
        probability_by_draws={
            each.name: share
            for each in problem.judges
            if (share := better_by_draws(each, recommended, other, tokens)) is not None
        },
    )


def sizes_of(a: Architecture) -> dict[str, float]:
    """The sizes of any mixture."""
    return {
        "hidden_size": a.hidden_size,
        "num_layers": a.num_layers,
        "num_experts": variables.num_experts(a),
        "top_k": variables.top_k(a),
        "shared_experts": variables.shared_experts(a),
        "expert_size": variables.expert_size(a),
    }


def _scaled(a: Architecture, problem: SearchProblem, most_total: int, plan: LayerPlan) -> Architecture | None:
    """The largest model of the same experts, top-k, shared experts and proportions that the budgets allow.

    No larger than the recommended design by more than a twentieth: budgets may allow more than anything takes.
    With the recommended design's attention and vocabulary, whatever the model has; widths and expert sizes in steps of
    64.
    """
    sizes = sizes_of(a)
    widths = np.maximum(np.rint(sizes["hidden_size"] * _SCALES / _GRID).astype(np.int64), 1) * _GRID
    depths = np.maximum(np.rint(sizes["num_layers"] * _SCALES).astype(np.int64), 1)
    experts = np.maximum(np.rint(sizes["expert_size"] * _SCALES / _GRID).astype(np.int64), 1) * _GRID
    heads = [problem.space.heads_of(int(width)) for width in widths]
    usable = np.flatnonzero([bool(found) for found in heads])
    if not len(usable):
        return None
    chosen = np.array([heads[row][0] for row in usable])
    same = np.ones(len(usable), dtype=np.int64)
    rows = Candidates(
        hidden_size=widths[usable],
        num_layers=depths[usable],
        dense_first=0 * same,
        num_heads=chosen[:, 0],
        num_kv_heads=chosen[:, 1],
        head_dim=chosen[:, 2],
        num_experts=max(round(sizes["num_experts"]), 1) * same,
        top_k=max(round(sizes["top_k"]), 1) * same,
        shared_experts=round(sizes["shared_experts"]) * same,
        expert_size=experts[usable],
        layer_plan=0 * same,
        plans=(replace(plan, latent_experts=0.0),),
    )
    counted = columns(rows, problem.space.vocab_size)
    within = np.asarray(counts.total_params(counted)) <= 1.05 * most_total
    for limit in problem.bounds:
        within &= np.asarray(limit.taken(rows, problem.budgets, problem.space.vocab_size)) <= limit.most
    if not within.any():
        return None
    total = np.where(within, counts.total_params(counted), 0)
    return build_design(rows.take([int(total.argmax())]), problem.space, problem.budgets.context)


def share_of(one: tuple[Any, Any] | float, other: tuple[Any, Any] | float) -> float:
    """How much more one figure is than another, as a share, by the middle of ranges: .1 is 10 % more."""
    return _middle(one) / _middle(other) - 1


def _middle(value: tuple[Any, Any] | float) -> float:
    return float(middle(value)) if isinstance(value, tuple) else float(value)
