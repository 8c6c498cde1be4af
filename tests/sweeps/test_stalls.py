"""Workers that hang, file systems that show old views, clocks that jump: no run gets two workers, none is lost.

Time is a fake, and so are views and clocks; the last tests stop real processes.
"""

import io
import json
import os
import platform
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moewright.experiment import states
from moewright.experiment.attempts import (
    AttemptBegin,
    AttemptEnd,
    begins,
    note_begin,
    note_end,
    read_attempts,
)
from moewright.experiment.locks import take_lock
from moewright.experiment.metrics import TrainLine
from moewright.experiment.states import RECENT_SECONDS, Observed, observe
from moewright.experiment.sweep_folder import ATTEMPTS, RUNS, attempts_file, attempts_lock, run_path
from moewright.files import read_objects
from moewright.report.sweep_tables import overview, remaining_seconds
from moewright.screen import Screen
from moewright.sweeps.planner import Planner
from moewright.sweeps.running import scheduler, sweep_state
from moewright.sweeps.running.executor import Job
from moewright.sweeps.running.scheduler import Scheduler
from moewright.sweeps.running.stalls import LONGEST_LOOK, STALL_SECONDS, USUAL_TIMES, ProgressClock
from moewright.sweeps.running.submitting import note_specification, submitting
from moewright.sweeps.running.sweep_state import SweepState, SweepStatus
from moewright.sweeps.running.sweeping import follow_sweep
from tests.sweeps.adversary import Victim, check_attempts
from tests.sweeps.test_scheduler import FakeExecutor, begin, finish, ids, last_end_of, planner_of, set_status
from tests.sweeps.trainers import ScriptTrainer

DAY = 86_400.0
RUN = "0123456789ab"


class FakeTime:
    """Monotonic seconds that pass when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.then: list[tuple[float, Callable[[], None]]] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.5)
        due = [does for when, does in self.then if when <= self.now]
        self.then = [(when, does) for when, does in self.then if when > self.now]
        for does in due:
            does()

    def after(self, seconds: float, does: Callable[[], None]) -> None:
        self.then.append((self.now + seconds, does))


@pytest.fixture
def fake_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTime]:
    fake = FakeTime()
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", fake.monotonic)
        patch.setattr(time, "sleep", fake.sleep)
        yield fake


class Listener:
    """Who is told what happens; remembers it."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.states: set[tuple[str, str]] = set()

    def event(self, text: str) -> None:
        self.events.append(text)

    def refresh(self, status: SweepStatus) -> None:
        self.states |= set(status.states.items())


class HangingExecutor(FakeExecutor):
    """Jobs that are over when somebody says so; each has a worker with its run's lock."""

    def __init__(self, does: Callable[[Path, str], None], slots: int = 2):
        super().__init__(does, slots)
        self.over: set[Path] = set()
        self.locks: dict[str, int] = {}
        self.killed: list[str] = []
        self.resting: set[str] = set()
        self.dies = True

    def submit(self, out: Path, run: str, *told: Any) -> Job:
        lock = take_lock(attempts_lock(out, run))
        assert lock is not None, "two workers at one run"
        self.locks[run] = lock
        job = super().submit(out, run, *told)
        if last_end_of(out, run) is not None:
            self.end(job)
        return job

    def end(self, job: Job) -> None:
        self.over.add(job.folder)
        os.close(self.locks.pop(job.run))

    def ended(self, jobs: Sequence[Job]) -> list[Job]:
        return [job for job in jobs if job.folder in self.over]

    def waiting(self, jobs: Sequence[Job]) -> list[Job]:
        return [job for job in jobs if job.run in self.resting]

    def kill(self, jobs: Sequence[Job], foreign: Sequence[AttemptBegin]) -> None:
        for job in jobs:
            self.killed.append(job.run)
            if self.dies and job.run in self.locks:
                self.end(job)


def carry_out(out: Path, planner: Planner, executor: FakeExecutor) -> tuple[SweepStatus, Listener]:
    listener = Listener()
    with submitting(out):
        note_specification(out, {}, planner.code)
        return Scheduler(out, planner, executor, listener, False).run(), listener


def grow(out: Path, run: str) -> None:
    """A line of metrics."""
    run_path(out, run).mkdir(parents=True, exist_ok=True)
    with open(run_path(out, run) / "metrics.jsonl", "a") as file:
        file.write('{"kind": "train", "step": 1}\n')


# Progress as one observer sees it


def test_silence_is_what_the_observer_itself_lived_through(tmp_path: Path, fake_time: FakeTime) -> None:
    """It was stopped for a day, or a file system held it up: that time does not count."""
    progress = ProgressClock(tmp_path)
    (tmp_path / ATTEMPTS).mkdir()
    note_begin(tmp_path, RUN, 1, step=0)
    assert progress.look(RUN) == 0
    fake_time.now += 20
    assert progress.look(RUN) == 20
    fake_time.now += DAY
    assert progress.look(RUN) == 20 + LONGEST_LOOK
    grow(tmp_path, RUN)
    assert progress.look(RUN) == 0


def test_an_old_view_is_nothing_new(tmp_path: Path, fake_time: FakeTime) -> None:
    """Files that vanish and shrink for a reader, and come back as they were, are nothing new; nor are times."""
    (tmp_path / ATTEMPTS).mkdir()
    note_begin(tmp_path, RUN, 1, step=0)
    grow(tmp_path, RUN)
    progress = ProgressClock(tmp_path)
    progress.look(RUN)
    metrics = run_path(tmp_path, RUN) / "metrics.jsonl"
    whole = metrics.read_bytes()
    for turn, view in enumerate((b"", whole[:9], None, whole), start=1):
        metrics.unlink(missing_ok=True)
        if view is not None:
            metrics.write_bytes(view)
            os.utime(metrics, (turn * DAY, turn * DAY))
        fake_time.now += 10
        assert progress.look(RUN) == 10 * turn
    grow(tmp_path, RUN)
    assert progress.look(RUN) == 0


@pytest.mark.parametrize(("between", "stalls_after"), [(1.0, STALL_SECONDS), (600.0, USUAL_TIMES * 600.0)])
@pytest.mark.parametrize("how", ["seen", "written"])
def test_slow_runs_have_more_patience(
    tmp_path: Path, fake_time: FakeTime, between: float, stalls_after: float, how: str
) -> None:
    """A line every ten minutes: known from watching, or from its own lines, one of which is a day late."""
    (tmp_path / ATTEMPTS).mkdir()
    run_path(tmp_path, RUN).mkdir(parents=True)
    progress = ProgressClock(tmp_path)
    progress.look(RUN)
    lines = ""
    for turn in range(9):
        lines += f'{{"kind": "train", "step": {turn}, "time": {turn * between + (DAY if turn > 4 else 0)}}}\n'
        if how == "seen":
            grow(tmp_path, RUN)
            for _ in range(max(1, int(between / LONGEST_LOOK))):
                fake_time.now += min(between, LONGEST_LOOK)
                progress.look(RUN)
    if how == "written":
        (run_path(tmp_path, RUN) / "metrics.jsonl").write_text(lines)
        progress.look(RUN)
    silent = progress.silent(RUN)
    while not progress.has_stalled(RUN, None):
        fake_time.now += 10
        silent = progress.look(RUN)
        assert silent < 2 * stalls_after
    assert silent >= stalls_after
    assert progress.has_stalled(RUN, 50.0)


# What the submitter does


def hang(out: Path, run: str) -> None:
    begin(out, run)


def test_without_a_limit_a_stalled_worker_is_only_shown(tmp_path: Path, fake_time: FakeTime) -> None:
    """For an hour; then it gets on and ends. Its slot stays its own, the other runs are not held up."""
    planner = planner_of(tmp_path)
    out = tmp_path / "out"
    bad = ids(planner)[1]
    executor = HangingExecutor(lambda out, run: hang(out, run) if run == bad else finish(out, run))

    def wake() -> None:
        grow(out, bad)
        fake_time.after(30, be_done)

    def be_done() -> None:
        set_status(out, bad, state="finished", loss=2.0)
        note_end(out, bad, 1, "finished")
        executor.over |= set((out / "jobs" / bad).iterdir())
        os.close(executor.locks.pop(bad))

    fake_time.after(3600, wake)
    status, listener = carry_out(out, planner, executor)
    assert set(status.states.values()) == {"done"}
    assert executor.killed == []
    assert executor.tries() == dict.fromkeys(ids(planner), 1)
    told = [text for text in listener.events if bad in text]
    assert "stalled: nothing new for 6" in told[0]
    assert f"on {platform.node()}; execution.stall_limit would end" in told[0]
    assert "gets on again" in told[1]
    assert len(told) == 3
    assert {state for run, state in listener.states if run == bad} == {"running", "stalled", "done"}


@pytest.mark.parametrize("dies_after", [0, 5000])
def test_with_a_limit_it_is_ended_and_retried_when_it_is_dead(
    tmp_path: Path, fake_time: FakeTime, dies_after: int
) -> None:
    """At once, or long after SIGKILL, as one that waits for a dead file system: never are there two workers."""
    planner = planner_of(tmp_path, execution={"stall_limit": "2m"})
    out = tmp_path / "out"
    bad = ids(planner)[0]

    def hang_once(out: Path, run: str) -> None:
        (finish if run != bad or read_attempts(attempts_file(out, run)) else hang)(out, run)

    executor = HangingExecutor(hang_once)
    executor.dies = not dies_after
    fake_time.after(dies_after, lambda: setattr(executor, "dies", True))
    status, listener = carry_out(out, planner, executor)
    assert set(status.states.values()) == {"done"}
    assert executor.tries() == {run: 1 + (run == bad) for run in ids(planner)}
    assert fake_time.now - 1000 > max(120, dies_after)
    first, second = [record for record in read_attempts(attempts_file(out, bad)) if isinstance(record, AttemptEnd)]
    assert (first.end, second.end) == ("failed", "finished")
    assert first.reason is not None
    assert "nothing new for 12" in first.reason
    assert sum("it is ended, and the run retried" in text for text in listener.events) == 1


def test_a_run_that_always_stalls_is_left_alone_in_the_end(tmp_path: Path, fake_time: FakeTime) -> None:
    planner = planner_of(tmp_path, seeds=[0], execution={"stall_limit": "1m", "retries": 2})
    executor = HangingExecutor(hang)
    status, _ = carry_out(tmp_path / "out", planner, executor)
    assert list(status.states.values()) == ["failed"]
    assert len(executor.submitted) == 3


def test_a_job_that_waits_in_a_queue_or_is_suspended_is_not_stalled(tmp_path: Path, fake_time: FakeTime) -> None:
    """For a day and a half; when it runs, its patience begins anew."""
    planner = planner_of(tmp_path, seeds=[0], execution={"stall_limit": "2m"})
    out = tmp_path / "out"
    (run,) = ids(planner)
    executor = HangingExecutor(hang)
    executor.resting = {run}

    def go() -> None:
        executor.resting.clear()
        executor.does = finish

    fake_time.after(1.5 * DAY / 100, go)
    status, listener = carry_out(out, planner, executor)
    assert list(status.states.values()) == ["done"]
    assert len(executor.killed) == 1
    assert fake_time.now - 1000 > 1.5 * DAY / 100 + 120
    assert sum(f"{run} stalled" in text for text in listener.events) == 1


def test_a_submitter_that_was_stopped_itself_kills_nobody(tmp_path: Path, fake_time: FakeTime) -> None:
    """Ctrl-Z and fg hours later, with its workers: they have as much patience left as before, less half a minute."""
    planner = planner_of(tmp_path, seeds=[0], execution={"stall_limit": "2m"})
    out = tmp_path / "out"
    (run,) = ids(planner)
    executor = HangingExecutor(hang)

    def be_done() -> None:
        finish(out, run)
        executor.over |= set((out / "jobs" / run).iterdir())
        os.close(executor.locks.pop(run))

    def sleep_long() -> None:
        fake_time.now += 8 * 3600
        fake_time.after(20, be_done)

    fake_time.after(60, sleep_long)
    status, _ = carry_out(out, planner, executor)
    assert list(status.states.values()) == ["done"]
    assert executor.killed == []


def test_whoever_looks_on_sees_it(tmp_path: Path, fake_time: FakeTime) -> None:
    """--watch: running at first, stalled after ten minutes of looking, running again with the next line."""
    planner = planner_of(tmp_path, seeds=[0])
    out = tmp_path / "out"
    (run,) = ids(planner)
    spec = {"recipe": planner.recipes[0].to_dict(), "seeds": [0]}
    with submitting(out):
        pass
    begin(out, run)
    lock = take_lock(attempts_lock(out, run))
    assert lock is not None
    views = follow_sweep(spec, out)
    seen = []
    for turn in range(40):
        result = next(views)
        seen.append(result.status.states[run])
        assert result.is_under_way
        fake_time.now += 20
        if turn == 35:
            grow(out, run)
    os.close(lock)
    assert seen == ["running"] * 31 + ["stalled"] * 5 + ["running"] * 4
    assert next(views).status.states[run] == "interrupted"


@pytest.mark.parametrize("state", ["running", "stalled"])
def test_what_the_table_says_of_them(tmp_path: Path, state: str) -> None:
    """The time left is by the steps' own speed, although the clock that wrote their times jumped by a day."""
    planner = planner_of(tmp_path, seeds=[0, 1])
    out = tmp_path / "out"
    with submitting(out):
        pass
    run, other = ids(planner)
    run_path(out, run).mkdir(parents=True)
    lines = [
        TrainLine(step=step, loss=3.5, tokens_per_second=8.0, time=1000 + (-DAY if step > 2 else 0))
        for step in range(1, 6)
    ]
    (run_path(out, run) / "metrics.jsonl").write_text("".join(json.dumps(line.to_dict()) + "\n" for line in lines))
    states: dict[str, Any] = {"running": [run, other], "stalled": [run] if state == "stalled" else []}
    status = SweepState(out, planner).status(**states)
    console = Screen(file=io.StringIO(), width=100)
    console.print(overview(status, console))
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert ("1 running, 1 stalled" if state == "stalled" else "2 running") in said
    (row,) = (line for line in said.splitlines() if run in line)
    *_, loss, curve = row.split()
    assert (loss, curve) == ("stalled" if state == "stalled" else "3.500", "▁▁▁▁▁")
    tokens = planner.plan({}).runs[0].recipe.train_tokens
    left = 2 * tokens - 5 * planner.plan({}).runs[0].recipe.batch_tokens
    assert remaining_seconds(status) == pytest.approx(left / 8 / (1 if state == "stalled" else 2))


# Files and locks of other machines


def begin_elsewhere(out: Path, run: str) -> None:
    record = AttemptBegin(attempt=1, time=time.time(), host="node7", pid=1, step=0, job="slurm")
    attempts_file(out, run).parent.mkdir(parents=True, exist_ok=True)
    with open(attempts_file(out, run), "a") as file:
        file.write(json.dumps(record.to_dict()) + "\n")


def run_elsewhere(tmp_path: Path) -> tuple[Planner, Path, str]:
    """A sweep of one run, which another machine is at."""
    planner, out = planner_of(tmp_path, seeds=[0]), tmp_path / "out"
    (run,) = ids(planner)
    with submitting(out):
        pass
    begin_elsewhere(out, run)
    return planner, out, run


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_file_system_clock_that_jumps(tmp_path: Path, fake_time: FakeTime, jump: float) -> None:
    """A run of another machine whose lock does not show: alive while it writes, dead after a quarter of an hour of
    silence as this process lives through it; whatever that clock does meanwhile."""
    planner, out, run = run_elsewhere(tmp_path)
    state = SweepState(out, planner)
    clock = time.time()
    assert state.look_at(run, clock).state == "running"
    for _ in range(100):  # 50 minutes of life
        fake_time.now += 30
        grow(out, run)
        assert state.look_at(run, clock + jump).state == "running"
    seconds = 0
    while state.look_at(run, clock + (jump if seconds % 60 else 0)).state == "running":
        fake_time.now += 30
        seconds += 30
        assert seconds <= RECENT_SECONDS + 60
    assert seconds >= RECENT_SECONDS


def test_the_first_look_believes_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As before: what wrote nothing for a quarter of an hour before anybody looked is dead; a future time is now."""
    planner, out, run = run_elsewhere(tmp_path)
    for later, state in ((0, "running"), (RECENT_SECONDS + 9, "interrupted"), (-DAY, "running"), (None, "interrupted")):
        now = None if later is None else time.time() + later
        monkeypatch.setattr(sweep_state, "sweep_time", lambda out, now=now: now)
        assert SweepState(out, planner).observed[run].state == state
    assert observe(out, run, time.time()).age is not None


@pytest.mark.parametrize("clock", ["submitter", "worker", "files"])
def test_jumps_of_a_day_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: str) -> None:
    """Forwards and backwards at every look at a clock: each run once, each interruption goes on at once."""
    draws = 0
    now = time.time()

    def jumping() -> float:
        nonlocal draws
        draws += 1
        return now + (DAY, 0.0, -DAY)[draws % 3]

    planner = planner_of(tmp_path)
    out = tmp_path / "out"

    def train(out: Path, run: str) -> None:
        attempt = begin(out, run)
        grow(out, run)
        if clock == "files":
            for path in (*(out / ATTEMPTS).iterdir(), *run_path(out, run).iterdir()):
                os.utime(path, (jumping(), jumping()))
        if attempt == 1:
            note_end(out, run, attempt, "interrupted")
        else:
            set_status(out, run, state="finished", loss=2.0)
            note_end(out, run, attempt, "finished")

    monkeypatch.setattr(scheduler, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(scheduler, "_FOREIGN_SECONDS", 0.0)
    if clock == "files":
        monkeypatch.setattr(states, "file_system_time", lambda folder: jumping())
    else:
        monkeypatch.setattr(time, "time", jumping)
    executor = FakeExecutor(train)
    status, listener = carry_out(out, planner, executor)
    assert set(status.states.values()) == {"done"}
    assert executor.tries() == dict.fromkeys(ids(planner), 2)
    assert not [text for text in listener.events if "stalled" in text]
    assert draws > 0


class ClusterExecutor(HangingExecutor):
    """Its workers write on other machines: here everything shows late."""

    name = "slurm"
    delay_seconds = 60.0


@pytest.mark.parametrize("late", [0, 20, 59])
@pytest.mark.parametrize("ends", ["done", "killed"])
def test_files_that_show_late(
    tmp_path: Path, fake_time: FakeTime, monkeypatch: pytest.MonkeyPatch, late: int, ends: str
) -> None:
    """squeue says that a job is over, and its folder looks as if it had never begun: no second one is started for what
    is done, and one that was really killed is noted and retried once."""
    planner = planner_of(tmp_path, seeds=[0])
    out = tmp_path / "out"
    (run,) = ids(planner)
    shows_at = 0.0

    def old_view(out: Path, run: str, now: float | None = None) -> Observed:
        seen = observe(out, run, now)
        if fake_time.now >= shows_at:
            return seen
        return replace(seen, state="pending", has_folder=False, status=None, attempts=[])

    def train(out: Path, run: str) -> None:
        nonlocal shows_at
        shows_at = fake_time.now + late
        if ends == "done" or begins(read_attempts(attempts_file(out, run))):
            finish(out, run)
        else:
            begin(out, run)
            fake_time.after(0, lambda: executor.over.update((out / "jobs" / run).iterdir()))
            fake_time.after(0, lambda: os.close(executor.locks.pop(run)))

    monkeypatch.setattr(sweep_state, "observe", old_view)
    executor = ClusterExecutor(train)
    status, _ = carry_out(out, planner, executor)
    assert list(status.states.values()) == ["done"]
    assert len(executor.submitted) == (1 if ends == "done" else 2)
    said = [record.end for record in read_attempts(attempts_file(out, run)) if isinstance(record, AttemptEnd)]
    assert said == (["finished"] if ends == "done" else ["failed", "finished"])


# Real processes


@pytest.mark.parametrize("whom", ["worker", "script", "controller", "worker of a dead submitter"])
def test_a_stopped_process_is_ended_and_its_run_retried(tmp_path: Path, whom: str) -> None:
    """SIGSTOP: to a worker, to the trainer below it, to the process above it. Only SIGKILL reaches such a process."""
    trainer = ScriptTrainer()
    spec = trainer.write_sweep(
        tmp_path / "given", steps=20, experts=[4], seeds=[0], execution={"stall_limit": "3s"}, tuning=None
    )
    victim = Victim(spec, tmp_path / "out", tmp_path / "logs", jobs=1, trainer=trainer)
    try:
        victim.start()
        victim.wait("the first steps", lambda: victim.steps() >= 5, 120)
        kind, _, is_orphan = whom.partition(" ")
        stopped = victim.processes()[kind]
        os.kill(stopped[0], signal.SIGSTOP)
        if is_orphan:
            victim.kill("submitter", random.Random(0))
            os.kill(victim.processes()["script"][0], signal.SIGSTOP)
            victim.start()
        victim.wait("the end of the sweep", lambda: victim.exit_code is not None, 120)
        assert victim.exit_code == 0, victim.log
        victim.wait("the end of what was stopped", lambda: stopped[0] not in victim.processes()["everything"], 30)
    finally:
        victim.end()
    (run,) = (path.name for path in (victim.out / RUNS).iterdir())
    assert "stalled: nothing new for" in victim.log
    counts = check_attempts(victim.out)
    if whom == "controller":  # its worker went on to the end
        return
    assert counts[run] > 1
    first = next(record for record in read_objects(attempts_file(victim.out, run)) if record["event"] == "end")
    assert first["end"] == "failed"
    assert "nothing new for" in first["reason"]
