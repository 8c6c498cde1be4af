"""When a sweep would be done: what each run will still take, in the order of the submitter, on so many slots."""

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moewright.experiment.states import State
from moewright.sweeps.planner import PlannedRun, Planner, SweepPlan
from moewright.sweeps.sweep_answers import ExpectedRun


@dataclass(frozen=True)
class Task:
    """A run that is still to be carried out."""

    seconds: float
    flops: float
    """Long ones start first."""
    group: str | None = None
    """Whose learning rate it tunes or awaits."""
    level: int = 0
    """0: tuning runs. From 1: those that wait for all runs of their group of a lower level."""
    is_tuning: bool = False
    """These go before the others."""


def makespan(tasks: Sequence[Task], slots: int) -> float:
    """Seconds until all are done."""
    by_level: dict[str | None, dict[int, list[Task]]] = defaultdict(lambda: defaultdict(list))
    for task in tasks:
        by_level[task.group][task.level].append(task)
    left = {group: {level: len(some) for level, some in levels.items()} for group, levels in by_level.items()}
    ready: list[tuple[bool, float, int, Task]] = []
    count = 0

    def release(group: str | None, level: int) -> None:
        nonlocal count
        for task in by_level[group][level]:
            count += 1
            heapq.heappush(ready, (not task.is_tuning, -task.flops, count, task))

    for group, levels in by_level.items():
        for level in sorted(levels)[: 1 if group is not None else None]:
            release(group, level)
    under_way: list[tuple[float, int, Task]] = []
    now = 0.0
    while ready or under_way:
        while ready and len(under_way) < slots:
            *_, number, task = heapq.heappop(ready)
            heapq.heappush(under_way, (now + task.seconds, number, task))
        now = under_way[0][0]
        while under_way and under_way[0][0] == now:
            done = heapq.heappop(under_way)[-1]
            remaining = left[done.group]
            remaining[done.level] -= 1
            if done.group is not None and not remaining[done.level]:
                later = [level for level in sorted(remaining) if level > done.level]
                if later:
                    release(done.group, later[0])
    return now


@dataclass(frozen=True)
class RemainingRun:
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


def tasks_of(planner: Planner, runs: Sequence[RemainingRun]) -> list[Task]:
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


def further_tuning(planner: Planner, plan: SweepPlan, runs: Sequence[RemainingRun]) -> list[Task]:
    """The tuning runs that a group may yet ask for: as long as its dearest one, one multiplier after the other."""
    tuning = planner.spec.tuning
    if tuning is None:
        return []
    tasks = []
    for name, found in plan.tuned.items():
        if found.multiplier is not None:
            continue
        trials = [each for each in runs if each.run.group == name and each.run.stage != "main"]
        seeds = planner.tuning_seed_count
        tried = len(trials) // seeds
        # A group that waits for the transfer rule has no trials yet: as long as a run of its tuned cell.
        similar = trials or [each for each in runs if each.run.group == name]
        if not similar:  # all of its cells are another group's too
            continue
        like = max(similar, key=lambda each: each.run.sizes["train_flops"])
        whole = max(each.seconds or 0.0 for each in similar)
        for level in range(1, len(tuning.multipliers) + tuning.extend - tried + 1):
            tasks += [Task(whole, like.run.sizes["train_flops"], name, level, True)] * seeds
    return tasks
