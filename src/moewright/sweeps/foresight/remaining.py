"""What each run of a sweep will still take, as tasks for the timetable. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moewright.experiment.states import State
from moewright.sweeps.foresight.timetable import Task
from moewright.sweeps.plan import Plan, PlannedRun, Planner
from moewright.sweeps.sweep_answers import ExpectedRun


@dataclass(frozen=True)
class Expected:
    """One run, and what it will take."""

    run: PlannedRun
    state: State
    learning_rate: float | None
    """At the peak. None while its group is to be tuned."""
    is_left: bool
    """Whether it is still to be carried out, or finished."""
    seconds: float | None
    """That it will still take. None where this machine cannot tell: on Slurm, or for a run that cannot be."""

    def answer(self, keep: str) -> ExpectedRun:
        """A row of JSON."""
        run = self.run
        sizes: dict[str, Any] = dict(run.sizes)
        return ExpectedRun(
            id=None if run.awaits_rate else run.id,
            settings=run.settings,
            stage=run.stage,
            group=run.group,
            state=self.state,
            **sizes,
            kept_disk_bytes=int(run.kept_bytes(keep)),
            learning_rate=self.learning_rate,
            seconds=self.seconds,
        )


def tasks_of(planner: Planner, runs: Sequence[Expected]) -> list[Task]:
    """What is left, for the timetable: main runs wait for their group's tuning, the most there may be of it."""
    last = planner.spec.tuning.extend + 1 if planner.spec.tuning is not None else 1
    return [
        Task(
            seconds=each.seconds or 0.0,
            flops=each.run.sizes["train_flops"],
            group=each.run.group,
            level=last if each.run.stage == "main" and each.run.awaits_rate else 0,
            is_tuning=each.run.stage != "main",
        )
        for each in runs
        if each.is_left
    ]


def further_tuning(planner: Planner, plan: Plan, runs: Sequence[Expected]) -> list[Task]:
    """The tuning runs that a group may yet ask for: as long as its dearest one, one multiplier after the other."""
    tuning = planner.spec.tuning
    if tuning is None:
        return []
    tasks = []
    for name, found in plan.tuned.items():
        if found.multiplier is not None:
            continue
        trials = [each for each in runs if each.run.group == name and each.run.stage != "main"]
        seeds = len({each.run.recipe.seed for each in trials})
        tried = len(trials) // seeds
        like = max(trials, key=lambda each: each.run.sizes["train_flops"])
        whole = max((each.seconds or 0.0 for each in trials), default=0.0)
        for level in range(1, len(tuning.multipliers) + tuning.extend - tried + 1):
            tasks += [Task(whole, like.run.sizes["train_flops"], name, level, True)] * seeds
    return tasks
