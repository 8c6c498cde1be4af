"""How many processors are ours: those that this process may run on, and what a control group grants it. No torch.

Libraries start as many threads as the process may run on, whatever else runs there. Threads that wait for each other
at every operator then wait for the slowest, which shares its processor.
"""

import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_SECONDS = 0.25
"""Of looking at what runs: 25 ticks of the kernel's clock for each processor."""


@dataclass(frozen=True)
class Processors:
    """What a process may use.

    >>> Processors(allowed=8, quota=2.5).granted
    2
    """

    allowed: int
    """That the process may run on: its affinity, and so the cpuset of its control group."""
    quota: float | None = None
    """Processors' worth of time that its control groups grant. None: they set no limit."""

    @property
    def granted(self) -> int:
        """How many can run at the same time without being held back; at least 1."""
        return self.allowed if self.quota is None else max(1, min(self.allowed, int(self.quota)))


def processors(root: Path = Path("/")) -> Processors:
    """Of this process. `root`: where /proc and the control groups are."""
    return Processors(len(allowed_processors()), quota(root))


def allowed_processors() -> list[int]:
    """The numbers of the processors that this process may run on, lowest first; all of them where nobody can say."""
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return list(range(os.cpu_count() or 1))


def idle_processors(
    found: Processors, allowed: Collection[int], root: Path = Path("/"), wait: Callable[[float], object] = time.sleep
) -> int:
    """Of those granted, how many others leave free: looks for a quarter of a second. At least 1. What threads of this
    process do meanwhile does not count.

    `allowed`: the numbers of the processors. Without /proc/stat nobody is taken to be there.
    """
    before, own = _ticks(root, allowed), time.process_time()
    wait(_SAMPLE_SECONDS)
    after, own_ticks = _ticks(root, allowed), (time.process_time() - own) * os.sysconf("SC_CLK_TCK")
    busy, longest = 0.0, 1
    for name in before.keys() & after.keys():
        passed, idle = (now - then for now, then in zip(after[name], before[name], strict=True))
        busy += 1 - idle / passed if passed > 0 else 0.0
        longest = max(longest, passed)
    busy -= own_ticks / longest
    return max(1, min(found.granted, round(found.allowed - busy)))


def quota(root: Path = Path("/")) -> float | None:
    """Processors' worth of time that control groups of version 1 or 2 grant this process: the least of its own group's
    and those above. None without a limit, and where there are no control groups."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return None
    limits = [
        limit
        for mount, top, kind in _group_mounts(mounts)
        for folder in _group_folders(root, mount, top, groups, kind)
        if (limit := _limit(folder, kind)) is not None
    ]
    return min(limits, default=None)


# Control groups: proc(5), cgroups(7), and the kernel's cgroup-v2.rst and sched-bwc.rst


def _group_mounts(lines: list[str]) -> Iterator[tuple[str, str, int]]:
    """Where trees of control groups that limit processors are mounted, which group is their top, and their version."""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or len(kinds) < 3:
            continue
        if kinds[0] == "cgroup2":
            yield fields[4], fields[3], 2
        elif kinds[0] == "cgroup" and "cpu" in kinds[2].split(","):
            yield fields[4], fields[3], 1


def _group_folders(root: Path, mount: str, top: str, groups: list[str], version: int) -> Iterator[Path]:
    """This process's group and those above it, as far as they show in a mount."""
    for line in groups:
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if (number == "0" and not controllers) if version == 2 else "cpu" in controllers.split(","):
            inside = path.removeprefix(top.rstrip("/")) if path == top or path.startswith(f"{top.rstrip('/')}/") else ""
            folder = root / mount.lstrip("/")
            yield folder
            for part in Path(inside.lstrip("/")).parts:
                folder = folder / part
                yield folder


def _limit(folder: Path, version: int) -> float | None:
    try:
        if version == 2:
            allowance, period = (folder / "cpu.max").read_text().split()
        else:
            allowance, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        # v2 says `max`, v1 -1, where there is no limit
        return int(allowance) / int(period) if int(allowance) > 0 and int(period) > 0 else None
    except (OSError, ValueError):
        return None


def _ticks(root: Path, allowed: Collection[int]) -> dict[str, tuple[int, int]]:
    """For each processor the ticks that passed, and those without work (proc_stat(5)); what a hypervisor took
    is work."""
    try:
        lines = (root / "proc/stat").read_text().splitlines()
    except OSError:
        return {}
    wanted = {f"cpu{number}" for number in allowed}
    found = {}
    for line in lines:
        name, *fields = line.split()
        if name in wanted:
            # user nice system idle iowait irq softirq steal; guests are in user and nice
            ticks = [int(field) for field in fields[:8]]
            found[name] = sum(ticks), sum(ticks[3:5])
    return found
