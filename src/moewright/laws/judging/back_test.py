"""How often laws, and ways to combine them, were right about runs that other people made.

Two runs are compared where they were trained alike (a cell: one source, rate and schedule, as many tokens) and differ
in one of the ways of `KINDS`. A pair counts where the measured losses differ by more than the table's noise. A law is
scored on its own training rows too, and marked; combinations and verdicts leave that law out there. Every law is asked
for its own variables, as it is published; verdicts read them as `verdicts` says.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moewright.laws.catalogue import judges
from moewright.laws.judging.compared_designs import ComparedDesigns
from moewright.laws.judging.evidence import EvidenceScore
from moewright.laws.judging.verdicts import NOISE_NATS, judge_columns
from moewright.laws.law import Law
from moewright.laws.variable import Array, Mask

RunArrays = Mapping[str, npt.NDArray[Any]]
IntArray = npt.NDArray[np.int64]

MAY_ABSTAIN = ("unanimity", "judge", "judge, all laws")
"""What decides some pairs only. The last hears the law of the table's own runs too, as users do."""
DECIMALS = 4  # more would be of the machine
EQUAL = 0.02
"""Relative difference up to which two models have one total or active size: routers alone make a per cent of it."""


@dataclass(frozen=True)
class TrainedRuns:
    """Runs as columns by the run table's names, and `cell`: equal for runs that were trained alike."""

    name: str
    columns: RunArrays
    noise: float
    """Losses that differ by less are not told apart, nats."""
    own: str | None = None
    """The law that was fitted to these runs."""


def score(table: TrainedRuns) -> tuple[EvidenceScore, ...]:
    """Every kind of comparison that the table holds, by every law and combination."""
    laws = judges()
    designs = ComparedDesigns.from_columns(table.columns)
    losses = np.array(
        [law.judges.loss(law, {variable.name: designs.variable(variable) for variable in law.inputs}) for law in laws]
    )
    first, second = _pairs(table.columns["cell"])
    found: list[EvidenceScore] = []
    for kind, differs in KINDS.items():
        chosen = differs(_rows(table.columns, first), _rows(table.columns, second))
        if chosen.any():
            found.extend(_score_kind(table, kind, laws, losses, first[chosen], second[chosen]))
    return tuple(found)


def _score_kind(
    table: TrainedRuns, kind: str, laws: Sequence[Law], losses: Array, first: IntArray, second: IntArray
) -> list[EvidenceScore]:
    measured = table.columns["loss"]
    groups = _components(len(measured), first, second)
    beyond = np.abs(measured[first] - measured[second]) > table.noise
    a, b = first[beyond], second[beyond]
    if not len(a):
        return []
    truth = np.sign(measured[a] - measured[b])
    others = [place for place, law in enumerate(laws) if law.name != table.own]
    gaps = losses[:, a] - losses[:, b]

    def scored(scorer: str, sides: Array, regret: float | None = None, own: bool = False) -> EvidenceScore:
        decided = sides != 0
        if scorer in MAY_ABSTAIN:
            accuracy = float((sides == truth)[decided].mean()) if decided.any() else None
        else:
            accuracy = float((sides == truth).mean() + 0.5 * (~decided).mean())
        return EvidenceScore(
            table=table.name,
            kind=kind,
            scorer=scorer,
            own=own,
            comparisons=len(a),
            decided=round(float(decided.mean()), DECIMALS),
            accuracy=None if accuracy is None else round(accuracy, DECIMALS),
            groups=len(groups),
            regret=None if regret is None else round(regret, DECIMALS),
        )

    found = [
        scored(law.name, _side(gap), _regret(measured, groups, of_runs), law.name == table.own)
        for law, gap, of_runs in zip(laws, gaps, losses, strict=True)
    ]
    apart, apart_losses = gaps[others], losses[others]
    largest = np.take_along_axis(apart, np.abs(apart).argmax(axis=0)[None], axis=0)[0]
    found.append(
        scored("minimax regret", _side(largest), _regret(measured, groups, _worst_regret(apart_losses, groups)))
    )
    found.append(scored("mean regret", _side(apart.mean(axis=0)), _regret(measured, groups, apart_losses.mean(axis=0))))
    votes = _side(apart)
    found.append(scored("majority", np.sign(votes.sum(axis=0))))
    found.append(scored("unanimity", np.where(np.abs(votes.sum(axis=0)) == len(others), votes[0], 0.0)))
    sides = [ComparedDesigns.from_columns(_rows(table.columns, rows)) for rows in (a, b)]
    for scorer, heard in {"judge": [laws[place] for place in others], "judge, all laws": laws}.items():
        verdicts = judge_columns(sides[0], sides[1], heard)
        found.append(scored(scorer, verdicts.direction.astype(np.float64)))
    return found


def _side(gaps: Array) -> Array:
    """-1 where the first has the lower loss, 1 where the second has, 0 for a difference that is none."""
    return np.asarray(np.sign(gaps) * (np.abs(gaps) > NOISE_NATS))


def _worst_regret(losses: Array, groups: Sequence[IntArray]) -> Array:
    """(runs,): the largest over the laws of a run's loss above the law's best of its group."""
    worst = np.full(losses.shape[1], np.inf)
    for group in groups:
        worst[group] = (losses[:, group] - losses[:, group].min(axis=1, keepdims=True)).max(axis=0)
    return worst


def _regret(measured: Array, groups: Sequence[IntArray], score_of_runs: Array) -> float:
    """Mean over the groups of the measured loss of the run that the score picks, above the best of the group, nats."""
    picked = [measured[group[score_of_runs[group].argmin()]] - measured[group].min() for group in groups]
    return float(np.mean(picked))


def _pairs(cells: npt.NDArray[Any]) -> tuple[IntArray, IntArray]:
    """Every two runs of a cell, once."""
    _, cell = np.unique(cells, return_inverse=True)
    first, second = np.triu_indices(len(cell), 1)
    together = cell[first] == cell[second]
    return first[together], second[together]


def _components(count: int, first: IntArray, second: IntArray) -> list[IntArray]:
    """Runs that comparisons link, directly or through others."""
    label = np.arange(count)
    while True:
        least = np.minimum(label[first], label[second])
        before = label.copy()
        np.minimum.at(label, first, least)
        np.minimum.at(label, second, least)
        if np.array_equal(label, before):
            break
    linked = np.unique(np.concatenate([first, second]))
    return [linked[label[linked] == of] for of in np.unique(label[linked])]


def _rows(columns: RunArrays, rows: IntArray) -> dict[str, npt.NDArray[Any]]:
    return {name: np.asarray(column)[rows] for name, column in columns.items()}


# Kinds of comparison

Differs = Callable[[RunArrays, RunArrays], Mask]


def _same(a: RunArrays, b: RunArrays, *names: str) -> Mask:
    return np.asarray(np.logical_and.reduce([np.isclose(a[name], b[name], rtol=1e-9) for name in names]))


def _same_sizes(a: RunArrays, b: RunArrays) -> Mask:
    names = ("total_params_non_embedding", "active_params_non_embedding")
    return np.asarray(np.logical_and.reduce([np.abs(np.log(a[name] / b[name])) < EQUAL for name in names]))


def _same_topology(a: RunArrays, b: RunArrays) -> Mask:
    return np.asarray((a["shared_size"] > 0) == (b["shared_size"] > 0))


KINDS: Mapping[str, Differs] = {
    "number of experts": lambda a, b: (
        _same(a, b, "hidden_size", "num_layers", "top_k", "expert_size", "shared_size") & ~_same(a, b, "num_experts")
    ),
    "width and depth": lambda a, b: (
        _same(a, b, "num_experts", "top_k") & ~_same(a, b, "active_params_non_embedding") & ~_same_sizes(a, b)
    ),
    "expert size at fixed total and active": lambda a, b: (
        _same_sizes(a, b) & _same(a, b, "shared_size", "hidden_size") & ~_same(a, b, "expert_size")
    ),
    "shared or none at fixed total and active": lambda a, b: _same_sizes(a, b) & ~_same_topology(a, b),
    "anything at fixed total and active": _same_sizes,
    "the same, alike in having shared experts": lambda a, b: _same_sizes(a, b) & _same_topology(a, b),
    "any two trained alike": lambda a, b: np.ones(len(a["loss"]), dtype=np.bool_),
}
"""By name: which pairs are compared. "Width and depth" holds experts and top-k; the others hold them or the sizes."""
