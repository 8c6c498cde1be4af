"""What the submitter decides, with jobs that write what workers would and are over at once: no processes, no torch."""

import os
import shutil
import signal
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from moewright.errors import RunStopped, UserError
from moewright.experiment import run_folder
from moewright.experiment.attempts import (
    AttemptBegin,
    AttemptEnd,
    last_end,
    next_attempt,
    note_begin,
    note_end,
    read_attempts,
)
from moewright.experiment.locks import take_lock
from moewright.experiment.sweep_folder import CELLS, JOBS, STOP, attempts_file, attempts_lock, run_path
from moewright.sweeps.planner import Planner
from moewright.sweeps.running import scheduler
from moewright.sweeps.running.executor import Job
from moewright.sweeps.running.scheduler import Scheduler
from moewright.sweeps.running.submitting import check_folder, note_specification, submitting
from moewright.sweeps.running.worker import work
from moewright.sweeps.sweep_spec import LoadedSweep
from tests.lab.tiny import recipe, write_tokens

Usage = namedtuple("Usage", "total used free")
Does = Callable[[Path, str], None]
"""What a job does, given the sweep's folder and its run."""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(scheduler, "_FOREIGN_SECONDS", 0.0)


class FakeExecutor:
    """Jobs that are over when they are next looked at."""

    name = "local"
    stopping = "stopping"
    delay_seconds = 0.0
    measuring = None

    def __init__(self, does: Does, slots: int = 2):
        self.does, self.slots = does, slots
        self.submitted: list[tuple[str, int]] = []
        self.stopped: list[str] = []

    def submit(self, out: Path, run: str, attempt: int, recipe: Mapping[str, Any], slot: int) -> Job:
        self.submitted.append((run, slot))
        self.does(out, run)
        folder = out / JOBS / run / f"{attempt}.{len(self.submitted)}"
        folder.mkdir(parents=True)
        return Job(run, slot, None, folder)  # type: ignore[arg-type]  # submitit's handle

    def ended(self, jobs: Sequence[Job]) -> list[Job]:
        return list(jobs)

    def stop(self, jobs: Sequence[Job], foreign: Sequence[AttemptBegin]) -> bool:
        self.stopped += [job.run for job in jobs]
        return True

    def waiting(self, jobs: Sequence[Job]) -> list[Job]:
        return []

    def kill(self, jobs: Sequence[Job], foreign: Sequence[AttemptBegin]) -> None:
        pass

    def adopt(self, out: Path, runs: Sequence[str]) -> list[Job]:
        return []

    def slots_of(self, begun: AttemptBegin) -> set[int]:
        return set(begun.cores)

    def warning(self) -> None:
        return None

    def tries(self) -> dict[str, int]:
        """How often each run was submitted."""
        runs = [run for run, _ in self.submitted]
        return {run: runs.count(run) for run in runs}


class Silent:
    """A watcher."""

    def event(self, text: str) -> None:
        pass

    def refresh(self, snapshot: Any) -> None:
        pass


def planner_of(folder: Path, **changes: Any) -> Planner:
    """Three runs, by seeds, if nothing else is said."""
    values = {"recipe": recipe(write_tokens(folder)), "seeds": [0, 1, 2], **changes}
    return Planner(LoadedSweep.from_dict(values))


def run_once(out: Path, planner: Planner, executor: FakeExecutor, retry_failed: bool = False) -> dict[str, str]:
    """The states at the end."""
    with submitting(out):
        note_specification(out, {}, planner.code)
        return dict(Scheduler(out, planner, executor, Silent(), retry_failed).run().states)


def ids(planner: Planner) -> list[str]:
    return [run.id for run in planner.plan({}).runs]


def begin(out: Path, run: str, cores: Sequence[int] = (0,)) -> int:
    attempt = next_attempt(read_attempts(attempts_file(out, run)))
    note_begin(out, run, attempt, step=0, cores=list(cores), job="local")
    return attempt


def set_status(out: Path, run: str, **values: Any) -> None:
    run_path(out, run).mkdir(parents=True, exist_ok=True)
    run_folder.RunStatus(**values).write(run_path(out, run) / run_folder.STATUS)


def last_end_of(out: Path, run: str) -> str | None:
    found = last_end(read_attempts(attempts_file(out, run)))
    return None if found is None else found.end


def finish(out: Path, run: str) -> None:
    attempt = begin(out, run)
    set_status(out, run, state="finished", loss=2.0)
    note_end(out, run, attempt, "finished")


def fail(out: Path, run: str) -> None:
    note_end(out, run, begin(out, run), "failed", "broken")


def die(out: Path, run: str) -> None:
    begin(out, run)


def vanish(out: Path, run: str) -> None:
    """Killed before it noted anything."""


@pytest.mark.parametrize("badly", [fail, die, vanish])
def test_failures_are_retried_and_then_left_alone(tmp_path: Path, badly: Does) -> None:
    """An error, a killed worker and one that was killed while it loaded: 1 + 2 tries, and the others are done."""
    planner = planner_of(tmp_path)
    bad = ids(planner)[1]
    out = tmp_path / "out"
    executor = FakeExecutor(lambda out, run: badly(out, run) if run == bad else finish(out, run))
    states = run_once(out, planner, executor)
    assert states == {run: "failed" if run == bad else "done" for run in ids(planner)}
    assert executor.tries() == {run: 3 if run == bad else 1 for run in ids(planner)}
    ends = [record for record in read_attempts(attempts_file(out, bad)) if isinstance(record, AttemptEnd)]
    assert [end.end for end in ends] == ["failed"] * 3
    assert all(end.reason for end in ends)
    # An orphan that still loads shall not begin beside the next one.
    assert {path.parent.parent.name for path in (out / JOBS).glob(f"*/*/{STOP}")} == {bad}

    executor.submitted.clear()
    run_once(out, planner, executor)
    assert executor.submitted == []  # the next sweep leaves it alone too
    run_once(out, planner, executor, retry_failed=True)
    assert executor.tries() == {bad: 3}


def test_a_death_is_noted_for_the_attempt_that_died(tmp_path: Path) -> None:
    """A worker of an earlier submitter took the number of the job's own attempt, which then became the second."""
    planner = planner_of(tmp_path, seeds=[0])
    out = tmp_path / "out"

    def be_second_and_die(out: Path, run: str) -> None:
        note_end(out, run, begin(out, run), "interrupted")
        begin(out, run)
        executor.does = finish

    executor = FakeExecutor(be_second_and_die)
    assert list(run_once(out, planner, executor).values()) == ["done"]
    records = read_attempts(attempts_file(out, ids(planner)[0]))
    assert [(one.attempt, getattr(one, "end", None)) for one in records] == [
        (1, None),
        (1, "interrupted"),
        (2, None),
        (2, "failed"),
        (3, None),
        (3, "finished"),
    ]


def test_a_run_without_a_fault_of_its_own_is_tried_for_ever(tmp_path: Path) -> None:
    """Seven interruptions, more than any number of retries."""
    planner = planner_of(tmp_path, seeds=[0])
    count = 0

    def interrupted_often(out: Path, run: str) -> None:
        nonlocal count
        count += 1
        if count > 7:
            finish(out, run)
        else:
            note_end(out, run, begin(out, run), "interrupted")

    executor = FakeExecutor(interrupted_often)
    assert list(run_once(tmp_path / "out", planner, executor).values()) == ["done"]
    assert len(executor.submitted) == 8


@pytest.mark.parametrize(("after", "tries", "state"), [("stop", 1, "timed-out"), ("continue", 4, "done")])
def test_time_limits(tmp_path: Path, after: str, tries: int, state: str) -> None:
    """A run that reaches its limit three times: it waits for the next sweep, or goes on at once."""
    planner = planner_of(tmp_path, seeds=[0], execution={"after_time_limit": after, "time_limit": "1m"})
    count = 0

    def reach_the_limit(out: Path, run: str) -> None:
        nonlocal count
        count += 1
        if count > 3:
            finish(out, run)
        else:
            note_end(out, run, begin(out, run), "timed-out")

    executor = FakeExecutor(reach_the_limit)
    assert list(run_once(tmp_path / "out", planner, executor).values()) == [state]
    assert len(executor.submitted) == tries
    if after == "stop":
        run_once(tmp_path / "out", planner, executor)
        assert len(executor.submitted) == 2


def test_a_run_that_diverged_is_a_result(tmp_path: Path) -> None:
    """It is not tried again, and the learning rate is chosen among the others."""
    planner = planner_of(tmp_path, seeds=[0], tuning={"multipliers": [0.5, 1, 2], "per": ["num_experts"], "extend": 0})
    losses = dict(zip(ids(planner)[:3], (2.0, 2.5, None), strict=True))

    def train(out: Path, run: str) -> None:
        attempt = begin(out, run)
        loss = losses.get(run, 1.9)
        set_status(out, run, state="finished" if loss else "diverged", loss=loss)
        note_end(out, run, attempt, "finished" if loss else "diverged")

    executor = FakeExecutor(train)
    states = run_once(tmp_path / "out", planner, executor)
    assert sorted(states.values()) == ["diverged", "done", "done"]
    assert set(executor.tries().values()) == {1}


def test_a_full_disk_stops_the_submitter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run at a time; the second finds no room, nor does the next sweep. With room it goes on."""
    planner = planner_of(tmp_path)
    free = 10**12

    def fill_up(out: Path, run: str) -> None:
        nonlocal free
        free = 10**6
        die(out, run)

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, free))
    executor = FakeExecutor(fill_up, slots=1)
    for tries in (1, 1):
        with pytest.raises(RunStopped, match=r"No space left on device.*make room"):
            run_once(tmp_path / "out", planner, executor)
        assert len(executor.submitted) == tries
    (run,) = executor.tries()
    ends = [getattr(record, "end", None) for record in read_attempts(attempts_file(tmp_path / "out", run))]
    assert ends == [None, "interrupted"]  # no fault of the run
    free = 10**12
    executor.does = finish
    assert set(run_once(tmp_path / "out", planner, executor).values()) == {"done"}


@pytest.mark.parametrize("where", ["write_mapping", "note_run"])
def test_a_disk_that_is_full_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Whatever cannot be written first: one line, and the next start works."""

    def full(*values: Any) -> None:
        raise OSError(28, os.strerror(28))

    planner = planner_of(tmp_path)
    place = "moewright.records" if where == "write_mapping" else "moewright.sweeps.running.scheduler"
    with monkeypatch.context() as patch:
        patch.setattr(f"{place}.{where}", full)
        with pytest.raises(RunStopped, match="No space left on device"):
            run_once(tmp_path / "out", planner, FakeExecutor(finish))
    assert set(run_once(tmp_path / "out", planner, FakeExecutor(finish)).values()) == {"done"}


def test_workers_of_an_earlier_submitter_keep_their_slots(tmp_path: Path) -> None:
    """While one lives, on slot 0, only slot 1 is used, and its run is not started; when it dies, it is."""
    planner = planner_of(tmp_path)
    out = tmp_path / "out"
    with submitting(out):
        pass
    foreign = ids(planner)[0]
    lock = take_lock(attempts_lock(out, foreign))
    assert lock is not None
    begin(out, foreign, cores=[0])

    def finish_and_let_go(out: Path, run: str) -> None:
        finish(out, run)
        if run == ids(planner)[2]:
            assert lock is not None
            os.close(lock)

    executor = FakeExecutor(finish_and_let_go)
    assert set(run_once(out, planner, executor).values()) == {"done"}
    assert executor.submitted[:2] == [(ids(planner)[1], 1), (ids(planner)[2], 1)]
    assert [run for run, _ in executor.submitted[2:]] == [foreign]


def test_what_a_worker_left_to_do_that_was_killed_at_the_very_end(tmp_path: Path) -> None:
    """Its run is done but for its checkpoints and the note: both are made up for, and nothing is run again."""
    planner = planner_of(tmp_path, seeds=[0, 1], execution={"keep": "none"})
    out = tmp_path / "out"
    with submitting(out):
        pass

    def almost(out: Path, run: str) -> None:
        begin(out, run)
        set_status(out, run, state="finished", loss=2.0)
        checkpoint = run_path(out, run) / run_folder.CHECKPOINTS / "step-00000010"
        checkpoint.mkdir(parents=True)
        (checkpoint / run_folder.STATE).write_text("{}")

    almost(out, ids(planner)[0])  # under an earlier submitter
    executor = FakeExecutor(almost)
    assert set(run_once(out, planner, executor).values()) == {"done"}
    assert executor.tries() == {ids(planner)[1]: 1}
    for run in ids(planner):
        assert last_end_of(out, run) == "finished"
        assert not list((run_path(out, run) / run_folder.CHECKPOINTS).glob("*"))


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """What a shell starts in the background ignores Ctrl-C, and a submitter there goes on; these tests may be there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_ctrl_c")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_a_job_is_submitted(tmp_path: Path, name: str) -> None:
    """No further one is, and this one is not forgotten."""
    planner = planner_of(tmp_path)

    def signalled(out: Path, run: str) -> None:
        os.kill(os.getpid(), signal.Signals[name])
        finish(out, run)

    executor = FakeExecutor(signalled, slots=3)
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        run_once(tmp_path / "out", planner, executor)
    assert executor.stopped == [run for run, _ in executor.submitted] == ids(planner)[:1]
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    executor.does = finish
    assert set(run_once(tmp_path / "out", planner, executor).values()) == {"done"}


@pytest.mark.parametrize("why", ["over", "stopped", "busy"])
def test_a_worker_that_should_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """The run is done, the submitter was told to stop, or another worker is at it: no attempt is noted."""
    monkeypatch.setattr("moewright.sweeps.running.worker._LOCK_SECONDS", 0.0)
    out, run = tmp_path / "out", "0123456789ab"
    with submitting(out):
        pass
    lock = take_lock(attempts_lock(out, run)) if why == "busy" else None
    if why == "over":
        finish(out, run)
    if why == "stopped":
        (tmp_path / STOP).touch()
    before = read_attempts(attempts_file(out, run))
    said = work(str(out), run, {}, threads=1, cores=[], keep="all", job="local", job_folder=str(tmp_path))
    assert said == why
    assert read_attempts(attempts_file(out, run)) == before
    if lock is not None:
        os.close(lock)


def test_a_submitter_that_is_killed_while_it_makes_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever that is, the folder is one of a sweep, or empty."""
    make = Path.mkdir

    def killed(self: Path, **more: Any) -> None:
        if self.name == CELLS:
            raise KeyboardInterrupt
        make(self, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", killed)
        with pytest.raises(KeyboardInterrupt), submitting(tmp_path / "out"):
            pass
    check_folder(tmp_path / "out")
    refused = pytest.raises(UserError, match="another `moewright sweep` is at work")
    with submitting(tmp_path / "out"), refused, submitting(tmp_path / "out"):
        pass
