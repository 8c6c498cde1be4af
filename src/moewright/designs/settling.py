"""The largest doubt about a choice, and a plain estimate of the runs that would settle it.

Two small models of one recipe that differ in what is in doubt, and in nothing else, each with as many seeds as tell the
difference at which the choice would be another. That the difference is as large at the small size is assumed;
`moewright next` chooses runs by beliefs instead, and `--own RUNS` hears them.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from moewright.architecture import counts
from moewright.designs.candidates import Candidates, columns
from moewright.designs.design_record import SettlingRecord, SizesRecord
from moewright.designs.preference import Choice
from moewright.laws.selection.belief import NOISE

if TYPE_CHECKING:
    from moewright.designs.branch_and_bound import SearchProblem

MUCH_SHALLOWER = 2 / 3
"""Of the baseline's layers: so few, where no law sees depth, are a doubt."""
SMALLER = 32
"""The small models have the recommended design's active parameters over this."""
TOKENS_PER_PARAM = 20
"""Of their training, for each active parameter (arXiv 2203.15556)."""
Z95 = 1.645
FEWEST_SEEDS = 2


def is_much_shallower(layers: float, theirs: float) -> bool:
    """Whether a design has so few layers beside the baseline that this is a doubt."""
    return layers <= MUCH_SHALLOWER * theirs


def nearest_other_plan(choice: Choice, trained: bool = False) -> int | None:
    """The plan of layers whose best design is next to the first's, if the first's layers have what no law sees.

    `trained`: of those that are trained otherwise; others differ in formats of weights and cache alone.
    """
    first, plans = choice.designs.plan_of(0), choice.designs.plans
    others = choice.plans_behind()
    others.pop(int(choice.designs.layer_plan[0]), None)
    if trained:
        others = {number: score for number, score in others.items() if plans[number].as_trained != first.as_trained}
    return min(others, key=lambda number: others[number]) if first.unseen() and others else None


def runs_to_settle(
    problem: "SearchProblem", choice: Choice, loss: float, baseline_layers: float
) -> SettlingRecord | None:
    """About the largest doubt; None where no other design is undecided, or none may judge.

    `loss`: of the first design, for the noise between seeds, which is `NOISE` of it.
    """
    if not choice.hearing.may_judge:
        return None
    found = _rival(choice, baseline_layers)
    if found is None:
        return None
    axis, designs, row, above = found
    worth = choice.worth.nats if choice.by_cost and choice.worth.nats is not None else 1.0
    nats = max(above * worth, 1e-6)
    if axis != "num_layers":  # the next one is often next to nothing behind, and so little is worth no runs
        nats = max(nats, choice.worth.of_more_training or nats)
    seeds = max(math.ceil(2 * (Z95 * NOISE * loss / nats) ** 2), FEWEST_SEEDS)
    first = columns(choice.designs.take([0]), problem.space.vocab_size)
    active = float(np.asarray(counts.active_params(first))[0]) / SMALLER
    tokens = TOKENS_PER_PARAM * active
    flops = 2 * seeds * 6 * active * tokens
    return SettlingRecord(
        axis=axis,
        second=SizesRecord(**designs.sizes(row)),
        nats=nats,
        seeds=seeds,
        active_params=active,
        train_tokens=tokens,
        train_flops=flops,
        device_hours=_hours(flops, choice),
    )


def _rival(choice: Choice, baseline_layers: float) -> tuple[str, Candidates, int, float] | None:
    """(axis, designs, row of the best one that differs there, its score above the first's)."""
    plan = nearest_other_plan(choice, trained=True)
    if plan is not None:
        row = int(np.flatnonzero(choice.designs.layer_plan == plan)[0])
        return "layer_plan", choice.designs, row, float(choice.scores[row])
    undecided, layers = choice.undecided.designs, int(choice.designs.num_layers[0])
    if is_much_shallower(layers, baseline_layers):
        reached = min(int(undecided.num_layers.max()), math.floor(baseline_layers))
        deeper = np.flatnonzero((undecided.num_layers >= reached) & np.isfinite(choice.of_undecided))
        if reached > layers and len(deeper):
            row = int(deeper[np.argmin(choice.of_undecided[deeper])])
            return "num_layers", undecided, row, float(choice.of_undecided[row])
    if len(choice.designs) < 2:
        return None
    return "mixture", choice.designs, 1, float(choice.scores[1])


def _hours(flops: float, choice: Choice) -> tuple[float, float]:
    from moewright.hardware import MODEL_FLOPS_UTILISATION, load_device

    peak = load_device(choice.on.train_hardware).peak_flops["bf16"]
    slow, fast = (float(end) for end in MODEL_FLOPS_UTILISATION)
    hours: Any = [flops / peak / end / 3600 for end in (fast, slow)]
    return hours[0], hours[1]
