"""Every planned run looked at before it is paid for: what would fail, what to know, which sizes drift, and the disk."""

import heapq
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moewright.data.batches import Batches
from moewright.errors import UserError
from moewright.experiment.planning import ValidationSets, free_local_memory, plan_with
from moewright.sweeps.planner import PlannedRun, Planner
from moewright.sweeps.sweep_answers import DiskUse, Drift

WORTH_WARNING = 0.05
"""Relative drift of parameters, beyond which a comparison at held widths is no longer one at equal parameters."""


@dataclass(frozen=True)
class Checked:
    """What looking at the runs found."""

    problems: Mapping[str, str]
    """Why a run would fail at once, by id."""
    warnings: Mapping[str, int]
    """By text: in how many cells."""
    validation_tokens: Mapping[str, int]
    """Of one evaluation, by id."""


def check_planned_runs(planner: Planner, runs: Sequence[PlannedRun]) -> Checked:
    """Check each cell's recipe as a run would at its beginning, without allocating anything."""
    free = free_local_memory() if planner.trainer is None else None  # another trainer keeps its own things in memory
    problems: dict[str, str] = {}
    tokens: dict[str, int] = {}
    warnings: Counter[str] = Counter()
    by_cell: dict[int, list[PlannedRun]] = {}
    for run in runs:
        by_cell.setdefault(id(run.cell), []).append(run)
    for some in by_cell.values():
        recipe = some[0].recipe
        dataset = planner.dataset(recipe)
        try:
            warnings.update(plan_with(recipe, dataset, 1, free).warnings)
            Batches(dataset.train, recipe.sequence_length, recipe.seed)
            sets = ValidationSets(dataset, recipe)
        except UserError as problem:
            problems |= dict.fromkeys((run.id for run in some), str(problem))
        else:
            count = sum(sets.counts.values()) * recipe.sequence_length
            tokens |= dict.fromkeys((run.id for run in some), count)
    return Checked(problems, dict(warnings.most_common()), tokens)


def drifts(planner: Planner) -> tuple[Drift, ...]:
    """The drift of what the axes hold; none where they hold nothing."""
    held = {name for axis in planner.spec.axes for name in axis.hold}
    found = []
    for what in ("active", "total"):
        known = [
            (drift, cell.settings)
            for cell in planner.cells
            if cell.counts is not None and (drift := getattr(cell.counts, f"{what}_drift")) is not None
        ]
        if what in held and known:
            largest, settings = max(known, key=lambda each: abs(each[0]))
            above = sum(abs(drift) > WORTH_WARNING for drift, _ in known)
            found.append(Drift(what=what, largest=largest, settings=settings, above=above, cells=len(known)))
    return tuple(found)


def disk_use(runs: Sequence[PlannedRun], keep: str, slots: int, out: Path) -> DiskUse:
    """Of runs that are still to be carried out; `keep`: see `Execution`."""
    kept = sum(run.kept_bytes(keep) for run in runs)
    while_running = heapq.nlargest(slots, (run.sizes["peak_disk_bytes"] - run.kept_bytes(keep) for run in runs))
    peak, free = kept + sum(while_running), _free(out)
    return DiskUse(kept=kept, peak=peak, free=free, fits=peak <= free)


def _free(out: Path) -> int:
    there = out.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free
