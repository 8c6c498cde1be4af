"""How long the runs of a sweep take on this machine: from steps measured now, or from runs that are done."""

import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from moewright.errors import UserError
from moewright.experiment.attempts import Attempt, begins
from moewright.experiment.metrics import EvaluationLine, TrainLine, read_metrics
from moewright.experiment.recipe import Recipe
from moewright.experiment.states import Observed
from moewright.experiment.step_times import MeasuredRecipe
from moewright.experiment.sweep_folder import run_path
from moewright.line_records import read_lines
from moewright.sweeps.foresight.probe import probe
from moewright.sweeps.foresight.step_speed import SpeedModel, StepShape, fit_speed, shape_of, spread
from moewright.sweeps.planner import PlannedRun
from moewright.sweeps.running.executor import Job, MeasuringExecutor
from moewright.sweeps.sweep_answers import CalibrationAnswer

SECONDS = 20.0
"""Of measuring, the start of the processes apart."""
_SHORTEST = 0.8
"""Seconds for each shape."""
_POLL_SECONDS = 0.1

CalibrationProgress = Callable[[int, int], None]
"""Called with how many shapes are measured, and of how many."""


@dataclass(frozen=True)
class Measured:
    """One shape as it ran."""

    shape: StepShape
    step_seconds: float
    validation_share: float | None = None
    """Time of a validation token over a training token's."""


@dataclass(frozen=True)
class Calibration:
    """Seconds of runs: those of a process, of steps and of validation tokens."""

    source: str
    """Where the times come from, in words."""
    start_seconds: float
    """Of a run, before its second step and after its last."""
    validation_share: float
    """Time of a validation token over a training token's."""
    measured: Mapping[str, float]
    """Seconds of a step by the shape's key."""
    models: Mapping[str, SpeedModel]
    """By kind of shape, for those that were not measured."""

    @property
    def error(self) -> float | None:
        """The largest of the models' leave-one-out errors, relative; None where too few shapes were measured."""
        return max((model.error for model in self.models.values() if model.error is not None), default=None)

    def step_seconds(self, shape: StepShape) -> float:
        """As measured, or else as the model of its kind says; of another kind, the slowest model's."""
        if shape.key in self.measured:
            return self.measured[shape.key]
        model = self.models.get(shape.kind)
        return model.seconds(shape) if model else max(model.seconds(shape) for model in self.models.values())

    def run_seconds(self, recipe: Recipe, validation_tokens: int, done_steps: int = 0) -> float:
        """Of a run, or of what is left of one after some steps. `validation_tokens`: of one evaluation."""
        step = self.step_seconds(shape_of(recipe))
        token = step / recipe.batch_tokens * self.validation_share
        steps = recipe.total_steps - done_steps
        share = steps / recipe.total_steps
        return self.start_seconds + steps * step + share * evaluations(recipe) * validation_tokens * token

    def answer(self) -> CalibrationAnswer:
        """For JSON."""
        return CalibrationAnswer(
            source=self.source,
            error=self.error,
            start_seconds=self.start_seconds,
            validation_share=self.validation_share,
            shapes_measured=len(self.measured),
            seconds_per={kind: dict(model.coefficients) for kind, model in self.models.items()},
        )


def evaluations(recipe: Recipe) -> int:
    """How often a run takes its validation loss: at its end, and whenever it passes a multiple of `every_tokens`."""
    every = recipe.evaluation.every_tokens
    return 1 if every is None else 1 + (recipe.total_steps - 1) * recipe.batch_tokens // every


def calibration_of(source: str, measured: Sequence[Measured], start_seconds: float) -> Calibration:
    """What measured shapes say about all. `start_seconds`: see `Calibration`."""
    kinds = dict.fromkeys(each.shape.kind for each in measured)
    of_kind = {kind: [each for each in measured if each.shape.kind == kind] for kind in kinds}
    models = {
        kind: fit_speed([each.shape for each in group], [each.step_seconds for each in group])
        for kind, group in of_kind.items()
    }
    shares = [each.validation_share for each in measured if each.validation_share is not None]
    return Calibration(
        source=source,
        start_seconds=start_seconds,
        validation_share=statistics.median(shares) if shares else 1 / 3,  # training = 3 x forward
        measured=_means(measured),
        models=models,
    )


def calibrate(
    recipes: Iterable[Recipe], executor: MeasuringExecutor, progress: CalibrationProgress, seconds: float = SECONDS
) -> Calibration:
    """Measure a spread of the recipes' shapes in as many processes as runs would be under way, on the same cores.

    Raises UserError, with the end of a process's log, if nothing could be measured.
    """
    by_key = {shape.key: (shape, recipe) for shape, recipe in ((shape_of(recipe), recipe) for recipe in recipes)}
    most = max(1, int(seconds / _SHORTEST)) * executor.slots
    order = spread([shape for shape, _ in by_key.values()])[:most]
    # With fewer shapes than slots some are measured twice, so that every core is as busy as it will be.
    lists = [order[slot :: executor.slots] or [order[slot % len(order)]] for slot in range(executor.slots)]
    measured: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="moewright-calibration-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        jobs, files = [], []
        executor.prepare()
        began = time.monotonic()
        for slot, own in enumerate(lists):
            recipes_here = [by_key[shape.key][1].to_dict() for shape in own]
            files.append(folder / f"{slot}.jsonl")
            handle = executor.start(folder / str(slot), slot, probe, str(files[-1]), recipes_here, seconds=seconds)
            jobs.append(Job(f"calibration {slot}", slot, handle, folder / str(slot)))
        others = _wait(executor, jobs, began, lambda: progress(sum(map(_lines, files)), sum(map(len, lists))))
        starts = []
        for file, own, other in zip(files, lists, others, strict=True):
            lines = list(read_lines(file, MeasuredRecipe)) if file.is_file() else []
            measured += [Measured(own[it.index], it.times.step_seconds, it.times.validation_share) for it in lines]
            if lines and other is not None:  # a run's first step is the first of its process
                starts.append(other + lines[0].times.first_seconds - lines[0].times.step_seconds)
        if not starts:
            said = next((job.log.strip().splitlines()[-1] for job in jobs if job.log.strip()), "it said nothing")
            raise UserError(f"calibration: no step could be measured: {said}")
    shapes = {each.shape.key for each in measured}
    source = f"measured now, {len(shapes)} of {len(by_key)} kinds of step, {executor.slots} at a time"
    return calibration_of(source, measured, statistics.median(starts))


def _wait(
    executor: MeasuringExecutor, jobs: Sequence[Job], began: float, tell: Callable[[], None]
) -> list[float | None]:
    """Until all have ended. For each, the seconds that it took beside measuring; None for one that failed."""
    others: list[float | None] = [None] * len(jobs)
    waiting = list(jobs)
    try:
        while waiting:
            for job in executor.ended(waiting):
                waiting.remove(job)
                if job.handle.exception() is None:
                    others[job.slot] = time.monotonic() - began - job.handle.result()
            tell()
            time.sleep(_POLL_SECONDS)
    finally:
        executor.stop(waiting, [])
    return others


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.is_file() else 0


def _means(measured: Sequence[Measured]) -> dict[str, float]:
    """Seconds of a step by shape."""
    found: dict[str, list[float]] = {}
    for each in measured:
        found.setdefault(each.shape.key, []).append(each.step_seconds)
    return {key: statistics.fmean(values) for key, values in found.items()}


FEWEST_FINISHED_SHAPES = 3
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
    if len(found) < min(FEWEST_FINISHED_SHAPES, len(wanted)):
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
