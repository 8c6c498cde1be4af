"""When a sweep would be done: its runs in the order of the submitter, on so many slots. No torch."""

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


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
