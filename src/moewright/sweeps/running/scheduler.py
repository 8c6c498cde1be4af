"""The submitter's loop: hand over what can start, look at what ended, until nothing is left to do."""

import platform
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from moewright.errors import RunStopped
from moewright.experiment.attempts import AttemptBegin, begins, last_end, next_attempt, read_attempts
from moewright.experiment.states import Observed, sweep_time
from moewright.experiment.sweep_folder import attempts_file
from moewright.outputs import NO_SPACE
from moewright.quantities import format_bytes
from moewright.signals import ENDINGS, Interrupted, handling
from moewright.sweeps.planner import PlannedRun, Planner
from moewright.sweeps.running.executor import Executor, Job
from moewright.sweeps.running.run_endings import SPARE_BYTES, make_up, note_death, note_foreign_death
from moewright.sweeps.running.slurm_queue import ClusterSilent
from moewright.sweeps.running.submitting import note_run, write_trainer_folder
from moewright.sweeps.running.sweep_state import SweepState, SweepStatus


class StopRequest:
    """What signals said."""

    by: int | None = None
    """The signal that asks to stop."""

    @property
    def to_stop(self) -> bool:
        """Whether nothing more is to be started."""
        return self.by is not None


@contextmanager
def interruptible() -> Iterator[StopRequest]:
    """Signals are heard between jobs, so that none is started and forgotten; a second one at once."""
    request = StopRequest()

    def interrupt(signum: int, frame: Any) -> None:
        if request.to_stop:
            raise Interrupted(signum)
        request.by = signum

    with handling(dict.fromkeys(ENDINGS, interrupt)):
        yield request


_POLL_SECONDS = 0.25
_FOREIGN_SECONDS = 3.0
"""Between looks at runs that somebody else's workers are at, and at whether all get on."""
_STOP_SECONDS = 120.0
"""How long workers may take for their last checkpoint."""


class ProgressReporter(Protocol):
    """Who is told what happens."""

    def event(self, text: str) -> None:
        """One line."""

    def refresh(self, status: SweepStatus) -> None:
        """How things stand; called often."""


class Scheduler:
    """One sweep under way in its folder, which this process alone submits to. Raises OSError where it cannot write."""

    def __init__(self, out: Path, planner: Planner, executor: Executor, reporter: ProgressReporter, retry_failed: bool):
        self.out, self.planner, self.executor, self.reporter = out, planner, executor, reporter
        self._sweep_state = SweepState(out, planner, forgive=retry_failed)
        self._note(list(self._sweep_state.plan.known))
        self._jobs: dict[str, Job] = {}
        self._unsure = True
        """There may be jobs that this process does not know of: an earlier submitter's, or one that sbatch lost."""
        self._is_silent = False
        """The cluster did not answer when it was last asked."""
        self._ended: dict[str, float] = {}
        """Runs whose job is over, by when that was first seen: what it wrote last may not show here yet."""
        self._stalled: dict[str, str] = {}
        """Runs under way that do not get on, and for how long in words."""
        self._timed_out: set[str] = set()
        """Runs that reached their time limit while this process looked on."""
        self._stopped: str | None = None
        """Why nothing more is submitted."""

    def run(self) -> SweepStatus:
        """Until every run has ended. Raises RunStopped when the disk is full, Interrupted after a signal."""
        keep = self.planner.spec.execution.keep
        for run, seen in self._sweep_state.observed.items():
            make_up(self.out, run, seen, keep)
        with interruptible() as request:
            looked = time.monotonic()
            while True:
                self._collect()
                if time.monotonic() - looked > _FOREIGN_SECONDS:
                    self._look_at_foreign()
                    self._look_for_stalls()
                    looked = time.monotonic()
                self._hand_over(request)
                self.reporter.refresh(self._status())
                if request.by is not None:
                    # A terminal that closes tells its own processes itself; jobs elsewhere go on without a submitter.
                    if request.by != signal.SIGHUP:
                        self._stop()
                    raise Interrupted(request.by)
                if not self._jobs and not self._foreign and not self._unsure:
                    break
                time.sleep(_POLL_SECONDS)
        if self._stopped is not None:
            raise RunStopped(self._stopped)
        return self._status()

    # What there is to do

    @property
    def _foreign(self) -> list[str]:
        """Runs that workers of an earlier submitter are at."""
        observed = self._sweep_state.observed
        return [run for run, seen in observed.items() if seen.state == "running" and run not in self._jobs]

    def _begun(self, runs: Iterable[str]) -> list[AttemptBegin]:
        """How the last attempts at them began."""
        begun = [begins(self._sweep_state.observed[run].attempts) for run in runs]
        return [records[-1] for records in begun if records]

    def _status(self) -> SweepStatus:
        return self._sweep_state.status(running=self._jobs, stalled=self._stalled)

    def _note(self, runs: list[PlannedRun]) -> None:
        for run in runs:
            note_run(self.out, self.planner, run)
            if self._sweep_state.observed[run.id].state != "running":
                write_trainer_folder(self.out, self.planner, run)
                self._sweep_state.look_at(run.id, None)  # another rule for the loss may find it

    def _startable(self) -> Iterator[PlannedRun]:
        """In the order of starting: tuning first, and long runs before short ones, so that none is left at the end."""
        for run in sorted(
            self._sweep_state.plan.known, key=lambda run: (run.stage == "main", -run.sizes["train_flops"])
        ):
            state = self._sweep_state.observed[run.id].state
            if run.id in self._jobs or state in ("running", "done", "diverged"):
                continue
            if run.id not in self._timed_out and not self._sweep_state.has_failed(run.id):
                yield run

    def _hand_over(self, request: StopRequest) -> None:
        try:
            if self._unsure:
                self._adopt()
            self._fill(request)
        except ClusterSilent as silence:
            self._unsure = True
            self._wait(silence)

    def _adopt(self) -> None:
        """Find jobs before any run is started: none is to have two."""
        observed = self._sweep_state.observed
        unknown = [run for run in observed if run not in self._jobs and observed[run].state not in ("done", "diverged")]
        jobs = self.executor.adopt(self.out, unknown)
        self._jobs |= {job.run: job for job in jobs}
        self._unsure = self._is_silent = False
        if jobs:
            self.reporter.event(f"jobs that were submitted before and are followed: {len(jobs)}")

    def _fill(self, request: StopRequest) -> None:
        """Hand over runs while there are free slots and disk."""
        if self._stopped is not None:
            return
        taken = {job.slot for job in self._jobs.values()}
        for begun in self._begun(self._foreign):
            taken |= self.executor.slots_of(begun)
        free = [slot for slot in range(self.executor.slots) if slot not in taken]
        if not free:
            return
        reserved = sum(run.sizes["peak_disk_bytes"] for run in self._sweep_state.plan.known if run.id in self._jobs)
        for slot, run in zip(free, list(self._startable()), strict=False):
            if request.to_stop:
                return
            reserved += run.sizes["peak_disk_bytes"]
            there = shutil.disk_usage(self.out).free
            if there < reserved + SPARE_BYTES:
                self._stopped = (
                    f"{self.out}: {NO_SPACE}: the runs under way and the next need {format_bytes(reserved)}, and "
                    f"{format_bytes(there)} are free; make room and sweep again, which goes on from here"
                )
                self.reporter.event(self._stopped)
                return
            attempt = next_attempt(self._sweep_state.observed[run.id].attempts)
            self._jobs[run.id] = self.executor.submit(self.out, run.id, attempt, run.recipe.to_dict(), slot)

    def _wait(self, silence: ClusterSilent) -> None:
        if not self._is_silent:  # said once, however long it takes
            self.reporter.event(f"{silence}; waiting")
        self._is_silent = True
        time.sleep(10 * _POLL_SECONDS)

    # What came of it

    def _collect(self) -> None:
        try:
            ended = self.executor.ended(list(self._jobs.values()))
        except ClusterSilent as silence:
            self._wait(silence)
            return
        self._is_silent &= not self._jobs  # without jobs nothing was asked
        if not ended:
            return
        settled = [job for job in ended if self._is_settled(job)]
        for job in settled:
            del self._jobs[job.run]
            self._ended.pop(job.run, None)
            self._look_at_ended(job)
        if settled:
            self._note(self._sweep_state.replan())

    def _is_settled(self, job: Job) -> bool:
        """Whether what a job that is over has written shows here: its end does, or there was time enough for it."""
        seen = self._sweep_state.look_at(job.run, None)
        if seen.state in ("done", "diverged"):
            return True
        begun = [record for record in begins(seen.attempts) if record.attempt >= job.attempt]
        if begun and (last_end(seen.attempts) is not None or begun[-1].host == platform.node()):
            return True
        now = time.monotonic()
        return now - self._ended.setdefault(job.run, now) >= self.executor.delay_seconds

    def _look_at_ended(self, job: Job) -> None:
        # The job is over: whatever the file system's clock says of its worker, on whichever machine that was.
        why = self._stalled.pop(job.run, None)
        seen = self._sweep_state.look_at(job.run, None)
        if seen.state not in ("running", "done", "diverged"):
            note_death(self.out, job, why)
            seen = self._sweep_state.look_at(job.run, None)
        if seen.state == "timed-out" and self.planner.spec.execution.after_time_limit == "stop":
            self._timed_out.add(job.run)
        self._is_over(job.run, seen)

    def _is_over(self, run: str, seen: Observed) -> None:
        make_up(self.out, run, seen, self.planner.spec.execution.keep)
        self._tell(run, seen)

    def _look_at_foreign(self) -> None:
        now = sweep_time(self.out)
        for run in self._foreign:
            seen = self._sweep_state.look_at(run, now)
            if seen.state != "running":
                why = self._stalled.pop(run, None)
                if self.planner.spec.execution.stall_limit is not None and why is not None:
                    note_foreign_death(self.out, run, why)
                    seen = self._sweep_state.look_at(run, now)
                self._is_over(run, seen)
                self._note(self._sweep_state.replan())

    def _look_for_stalls(self) -> None:
        """Say which workers do not get on; with a stall_limit, end them. Their runs are retried when they are dead."""
        foreign = self._foreign
        jobs = [job for job in self._jobs.values() if job.run not in self._ended]
        try:
            resting = {job.run for job in self.executor.waiting(jobs)}
            under_way = [job.run for job in jobs if job.run not in resting] + foreign
            found = self._sweep_state.look_for_stalls(under_way)
            for run in [*self._stalled]:
                if run not in found and run not in self._ended:
                    del self._stalled[run]
                    if run in under_way:
                        self.reporter.event(f"{run} gets on again")
            for run in sorted(found - self._stalled.keys()):
                self._stalled[run] = f"nothing new for {self._sweep_state.progress.silent(run):.0f} s"
                self.reporter.event(f"{run} stalled: {self._stalled[run]}{self._what_is_done(run)}")
            if self.planner.spec.execution.stall_limit is not None and found:
                stalled = [job for job in jobs if job.run in found]
                self.executor.kill(stalled, self._begun(run for run in foreign if run in found))
        except ClusterSilent as silence:
            self._wait(silence)

    def _what_is_done(self, run: str) -> str:
        begun = begins(read_attempts(attempts_file(self.out, run)))
        where = f" from process {begun[-1].pid} on {begun[-1].host}" if begun else ""
        if self.planner.spec.execution.stall_limit is None:
            return f"{where}; execution.stall_limit would end such workers"
        if run not in self._jobs and begun and begun[-1].host != platform.node():
            return f"{where}; it is an earlier submitter's and cannot be ended from here"
        return f"{where}; it is ended, and the run retried when it is dead"

    def _tell(self, run: str, seen: Observed) -> None:
        status = self._status()
        done = Counter(status.states.values())["done"]
        loss = seen.status.loss if seen.status is not None and seen.state == "done" else None
        end = last_end(seen.attempts)
        reason = end.reason if end is not None and seen.state != "done" else None
        what = f" {loss:.4f} nats" if loss is not None else f": {reason}" if reason else ""
        (planned,) = (one for one in status.plan.known if one.id == run)
        named = ", ".join(f"{name} {value}" for name, value in planned.label.items())
        self.reporter.event(f"{run} {seen.state}{what} ({done} of {len(status.plan.runs)} done; {named})")

    # The end

    def _stop(self) -> None:
        """After Ctrl-C: workers write a checkpoint and end. A second Ctrl-C does not wait for them."""
        self.reporter.event(self.executor.stopping)
        for run in self._foreign:
            self._sweep_state.look_at(run, None)
        if not self.executor.stop(list(self._jobs.values()), self._begun(self._foreign)):
            return
        end = time.monotonic() + _STOP_SECONDS
        while (self._jobs or self._foreign) and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
            for job in self.executor.ended(list(self._jobs.values())):
                del self._jobs[job.run]
                self._sweep_state.look_at(job.run, None)
            for run in self._foreign:
                self._sweep_state.look_at(run, None)
