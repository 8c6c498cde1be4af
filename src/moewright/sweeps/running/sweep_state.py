"""How a sweep stands: the plan that the results so far come to, and the state of each run in it. Reads files only."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from moewright.experiment.attempts import failures_in_a_row
from moewright.experiment.states import RECENT_SECONDS, Observed, SeenState, observe, sweep_time, with_age
from moewright.experiment.sweep_folder import run_path
from moewright.experiment.trainer_folder import reached_step
from moewright.sweeps.planner import PlannedRun, Planner, SweepPlan
from moewright.sweeps.running.stalls import ProgressClock


@dataclass(frozen=True)
class SweepStatus:
    """How a sweep stands at one moment."""

    out: Path
    plan: SweepPlan
    states: dict[str, SeenState]
    """Of the runs that are known; the others await their learning rate."""
    problems: dict[str, str] = field(default_factory=dict)
    """Of runs whose files do not say how they ended, what is wrong with them."""


class SweepState:
    """The runs of a specification and what is known of them. Each is looked at once, and again when asked."""

    def __init__(self, out: Path, planner: Planner, forgive: bool = False):
        """`forgive`: failures so far do not count against the retries."""
        self.out, self.planner, self._forgive = out, planner, forgive
        self.progress = ProgressClock(out)
        """Of the runs under way."""
        self._elsewhere = ProgressClock(out)
        """Of attempts on machines whose locks do not show here."""
        self.observed: dict[str, Observed] = {}
        self._forgiven: dict[str, int] = {}
        self.plan = SweepPlan((), {}, (), 0)
        self.replan()

    def replan(self) -> list[PlannedRun]:
        """Follow the results: the plan anew. Returns the runs that are new in it, whose files were looked at."""
        fresh: list[PlannedRun] = []
        while True:
            losses: dict[str, float | None] = {}
            for known in self.observed:
                self._add_loss(known, losses)
            self.plan = self.planner.plan(losses)
            new = [run for run in self.plan.known if run.id not in self.observed]
            if not new:
                return fresh
            fresh += new
            now = sweep_time(self.out)
            for run in new:
                self.look_at(run.id, now)
                if self._forgive:
                    self._forgiven[run.id] = self._failures(run.id)

    def look_at(self, run: str, now: float | None) -> Observed:
        """A run as its files show it now; see `states.observe`.

        Only the first look at a run of another machine believes the file system's clock, which may jump: from then on
        this process counts for itself how long nothing of it is heard.
        """
        seen = observe(self.out, run, now)
        if seen.age is not None:
            seen = with_age(seen, self._elsewhere.look(run, silent=min(max(seen.age, 0.0), RECENT_SECONDS)))
        self.observed[run] = seen
        return seen

    def look_for_stalls(self, runs: Collection[str]) -> set[str]:
        """Those of the runs under way that do not get on; `runs` are all that should."""
        self.progress.keep(runs)
        for run in runs:
            self.progress.look(run)
        limit = self.planner.spec.execution.stall_limit
        return {run for run in runs if self.progress.has_stalled(run, None if limit is None else 60 * limit)}

    def has_failed(self, run: str) -> bool:
        """Whether it failed more often in a row than is retried."""
        failures = self._failures(run) - self._forgiven.get(run, 0)
        return self.observed[run].state == "failed" and failures > self.planner.spec.execution.retries

    def status(self, running: Iterable[str] = (), stalled: Iterable[str] = ()) -> SweepStatus:
        """Of this moment; `running` and `stalled`: runs of which the observer knows better than their files."""
        known: dict[str, SeenState] = {run.id: self.observed[run.id].state for run in self.plan.known}
        known |= dict.fromkeys(running, "running")
        known |= dict.fromkeys(stalled, "stalled")
        problems = {run.id: found for run in self.plan.known if (found := self.observed[run.id].problem) is not None}
        return SweepStatus(self.out, self.plan, known, problems)

    def _failures(self, run: str) -> int:
        attempts = self.observed[run].attempts
        return failures_in_a_row(attempts, reached_step(run_path(self.out, run))) if attempts else 0

    def _add_loss(self, run: str, losses: dict[str, float | None]) -> None:
        seen = self.observed[run]
        if seen.state == "done":
            losses[run] = None if seen.status is None else seen.status.loss
        elif seen.state == "diverged":
            losses[run] = math.inf
        elif self.has_failed(run):
            losses[run] = None
