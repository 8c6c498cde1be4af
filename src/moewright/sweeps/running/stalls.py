"""Workers that live and do not get on: judged by what one observer sees grow, by its own clock. No torch.

No two clocks are compared, and a jump of any clock is not seen here: an observer adds up the seconds that passed for
itself (`time.monotonic`) since a run's files last grew. A look that comes late, because the observer itself was stopped
or waited for a file system, counts as one that came in time.
"""

import statistics
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from moewright.experiment.metrics import usual_seconds
from moewright.experiment.sweep_folder import attempts_file, run_path
from moewright.experiment.trainer_folder import OUTPUT, reached_step

STALL_SECONDS = 600.0
"""Without anything new before a worker is shown as stalled, if nobody says how long: the start of a large run, its
longest evaluation and a checkpoint on a slow disk take minutes."""
USUAL_TIMES = 10
"""And at least so many times as long as it usually takes: some runs write a line an hour."""
LONGEST_LOOK = 30.0
"""Seconds between two looks that count at most: they usually come every 2 to 3 s."""
_REMEMBERED = 20


@dataclass
class _Seen:
    """A run's files as they were when last looked at."""

    amount: int
    looked: float
    silent: float
    waits: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    """Seconds between things that were new."""


class ProgressClock:
    """How long an observer has seen nothing new of each run that is under way."""

    def __init__(self, out: Path):
        self.out = out
        self._seen: dict[str, _Seen] = {}

    def look(self, run: str, silent: float = 0.0) -> float:
        """Look at a run's files: the seconds that nothing was new. The first look begins at `silent`."""
        now, amount = time.monotonic(), amount_written(self.out, run)
        seen = self._seen.setdefault(run, _Seen(amount, now, silent))
        seen.silent += min(now - seen.looked, LONGEST_LOOK)
        seen.looked = now
        if amount > seen.amount:
            seen.waits.append(seen.silent)
            seen.amount, seen.silent = amount, 0.0
        return seen.silent

    def keep(self, runs: Iterable[str]) -> None:
        """Forget all other runs: they are no longer under way, or are not meant to get on now."""
        kept = set(runs)
        self._seen = {run: seen for run, seen in self._seen.items() if run in kept}

    def has_stalled(self, run: str, limit: float | None) -> bool:
        """Whether nothing was new for `limit` seconds; None: for ten minutes, and ten times as long as is usual."""
        if run not in self._seen:
            return False
        seen = self._seen[run]
        if limit is not None:
            return seen.silent > limit
        if seen.silent <= STALL_SECONDS:
            return False
        usual = [usual_seconds(run_path(self.out, run)), statistics.median(seen.waits) if seen.waits else None]
        return seen.silent > USUAL_TIMES * max((each for each in usual if each is not None), default=0.0)

    def silent(self, run: str) -> float:
        """Seconds without anything new, at the last look."""
        return self._seen[run].silent if run in self._seen else 0.0


def amount_written(out: Path, run: str) -> int:
    """A number that rises whenever a worker gets on: bytes of its attempts and its run's files, steps of checkpoints.

    A reader to whom an old listing or an old size is shown sees a smaller number, which is nothing new.
    """
    folder = run_path(out, run)
    amount = reached_step(folder)
    for path in (attempts_file(out, run), *folder.glob("*"), *(folder / OUTPUT).rglob("*")):
        try:
            amount += path.stat().st_size
        except OSError:  # not there yet, or replaced a moment ago
            continue
    return amount
