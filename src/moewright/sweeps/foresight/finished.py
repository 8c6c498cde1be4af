"""Speeds of a sweep's runs that are done: better than any measurement, since they are of the thing itself. No torch."""

import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from moewright.experiment.attempts import Attempt, begins
from moewright.experiment.metrics import EvaluationLine, TrainLine, read_metrics
from moewright.experiment.states import Observed
from moewright.experiment.sweep_folder import run_path
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
        speed = None if seen.status is None else seen.status.tokens_per_second
        lines = list(read_metrics(run_path(out, run.id)))
        trained = [line for line in lines if isinstance(line, TrainLine)]
        evaluated = [line for line in lines if isinstance(line, EvaluationLine)]
        if not speed or not trained or not evaluated:
            continue
        step = run.recipe.batch_tokens / speed
        tokens = sum(evaluated[-1].tokens_by_set.values())
        lasted = evaluated[-1].time - trained[-1].time
        share = lasted / tokens * speed if tokens else None
        measured.append(Measured(shape_of(run.recipe), step, share))
        began, ended = (record.time or 0.0 for record in seen.attempts)
        starts.append(ended - began - run.recipe.total_steps * step - lasted)
        used.append((str(begins(seen.attempts)[0].cores), began, ended))
    wanted = {shape_of(run.recipe).key for run in runs}
    found = {each.shape.key for each in measured}
    if len(found) < min(FEWEST_SHAPES, len(wanted)):
        return None
    source = f"from {len(measured)} finished runs, {len(found)} of {len(wanted)} kinds of step"
    return calibration_of(source, measured, statistics.median(starts) + _between(used))


def _is_alike(attempts: Sequence[Attempt], threads: int) -> bool:
    if [record.event for record in attempts] != ["begin", "end"]:
        return False
    begin = begins(attempts)[0]
    return begin.host == platform.node() and begin.threads == threads


def _between(attempts: Sequence[tuple[str, float, float]]) -> float:
    """Seconds from the end of a run to the beginning of the next one on the same cores, in the median: what starting a
    process takes before the run notes its beginning. `attempts`: cores, beginning and end of each."""
    by_cores: dict[str, list[tuple[float, float]]] = {}
    for cores, began, ended in attempts:
        by_cores.setdefault(cores, []).append((began, ended))
    gaps = [
        after[0] - before[1]
        for spans in by_cores.values()
        for before, after in pairwise(sorted(spans))
        if after[0] >= before[1]
    ]
    return statistics.median(gaps) if gaps else 0.0
