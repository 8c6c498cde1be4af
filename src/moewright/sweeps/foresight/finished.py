"""Speeds of a sweep's runs that are done: better than any measurement, since they are of the thing itself. No torch."""

import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from moewright.experiment.run_folder import read_metrics
from moewright.experiment.states import Observed
from moewright.experiment.sweep_layout import run_path
from moewright.sweeps.foresight.calibration import Calibration, Measured, calibration_of
from moewright.sweeps.foresight.shapes import shape_of
from moewright.sweeps.plan import PlannedRun

FEWEST_SHAPES = 3
"""Kinds of step among the finished runs; with fewer the others' times are no more than guesses."""


def calibration_of_finished(
    out: Path, runs: Iterable[PlannedRun], observed: Mapping[str, Observed], threads: int
) -> Calibration | None:
    """What the finished runs of a sweep say, those of one attempt on this machine with so many threads; None if they
    are of too few kinds."""
    measured, starts, used = [], [], []
    runs = list(runs)
    for run in runs:
        seen = observed.get(run.id)
        if seen is None or seen.state != "done" or not _is_alike(seen.attempts, threads):
            continue
        begin, end = seen.attempts
        speed = (seen.status or {}).get("tokens_per_second")
        times = {record["kind"]: record["time"] for record in read_metrics(run_path(out, run.id))}
        if not speed or not {"train", "evaluation"} <= times.keys():
            continue
        step = run.recipe.batch_tokens / speed
        tokens = _validation_tokens(run_path(out, run.id))
        lasted = times["evaluation"] - times["train"]
        share = lasted / tokens * speed if tokens else None
        measured.append(Measured(shape_of(run.recipe), step, share))
        starts.append(end["time"] - begin["time"] - run.recipe.total_steps * step - lasted)
        used.append(seen.attempts)
    wanted = {shape_of(run.recipe).key for run in runs}
    found = {each.shape.key for each in measured}
    if len(found) < min(FEWEST_SHAPES, len(wanted)):
        return None
    source = f"from {len(measured)} finished runs, {len(found)} of {len(wanted)} kinds of step"
    return calibration_of(source, measured, statistics.median(starts) + _between(used))


def _is_alike(attempts: Sequence[Mapping[str, Any]], threads: int) -> bool:
    if [record["event"] for record in attempts] != ["begin", "end"]:
        return False
    begin = attempts[0]
    return begin.get("host") == platform.node() and begin.get("threads") == threads


def _validation_tokens(folder: Path) -> int:
    """Of the run's last evaluation."""
    last = [record for record in read_metrics(folder) if record["kind"] == "evaluation"][-1]
    return sum(last.get("tokens_by_set", {}).values())


def _between(attempts: Sequence[Sequence[Mapping[str, Any]]]) -> float:
    """Seconds from the end of a run to the beginning of the next one on the same cores, in the median: what starting a
    process takes before the run notes its beginning."""
    by_cores: dict[str, list[tuple[float, float]]] = {}
    for begin, end in attempts:
        by_cores.setdefault(str(begin.get("cores")), []).append((begin["time"], end["time"]))
    gaps = [
        after[0] - before[1]
        for spans in by_cores.values()
        for before, after in pairwise(sorted(spans))
        if after[0] >= before[1]
    ]
    return statistics.median(gaps) if gaps else 0.0
