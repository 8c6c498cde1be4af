"""What the runs of a sweep take of the disk, and what is free there. No torch."""

import heapq
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moewright.sweeps.plan import PlannedRun


@dataclass(frozen=True)
class Disk:
    """Bytes that the runs which are left will take."""

    kept: float
    """When all are done."""
    peak: float
    """At most at any time: what all keep, and the checkpoints of as many of the largest as run at once."""
    free: int
    """Where the sweep's folder is or would be."""

    @property
    def fits(self) -> bool:
        """Whether the peak is free."""
        return self.peak <= self.free


def disk_use(runs: Sequence[PlannedRun], keep: str, slots: int, out: Path) -> Disk:
    """Of runs that are still to be carried out; `keep`: see `Execution`."""
    kept = sum(run.kept_bytes(keep) for run in runs)
    while_running = heapq.nlargest(slots, (run.sizes["peak_disk_bytes"] - run.kept_bytes(keep) for run in runs))
    return Disk(kept, kept + sum(while_running), _free(out))


def _free(out: Path) -> int:
    there = out.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free
