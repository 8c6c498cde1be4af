"""The submitter where the cluster does not answer, and beside jobs that an earlier submitter left."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from moewright.experiment.attempts import AttemptEnd, note_begin, note_end, read_attempts
from moewright.experiment.sweep_folder import ATTEMPTS, CELLS, JOBS, attempts_file, run_path
from moewright.files import write_mapping
from moewright.sweeps.planner import Planner
from moewright.sweeps.running import scheduler
from moewright.sweeps.running.executor import Job
from moewright.sweeps.running.scheduler import Scheduler
from moewright.sweeps.running.slurm_queue import ClusterSilent
from moewright.sweeps.sweep_spec import LoadedSweep
from tests.lab.tiny import recipe, write_tokens


class Cluster:
    """Jobs end when they are next looked at: interrupted while `interruptions` says so, and then done."""

    name, slots, stopping = "slurm", 1000, ""

    def __init__(self, out: Path, answers: Sequence[bool] = (), interruptions: int = 0):
        self.out, self.interruptions = out, interruptions
        self._answers = list(answers)
        self.queue: dict[str, Job] = {}
        self.submitted: list[tuple[str, int]] = []

    def _ask(self) -> None:
        if self._answers and not self._answers.pop(0):
            raise ClusterSilent("squeue: no answer after 60 s")

    def submit(self, out: Path, run: str, attempt: int, recipe: Mapping[str, Any], slot: int) -> Job:
        assert run not in self.queue, "two jobs of a run at once"
        self.submitted.append((run, attempt))
        self.queue[run] = Job(run, slot, None, out / JOBS / run / str(attempt))  # type: ignore[arg-type]
        self._ask()  # the job is there, whether or not sbatch hears of it
        note_begin(out, run, attempt, step=0)
        return self.queue[run]

    def adopt(self, out: Path, runs: Sequence[str]) -> list[Job]:
        self._ask()
        return [self.queue[run] for run in runs if run in self.queue]

    def ended(self, jobs: Sequence[Job]) -> list[Job]:
        if jobs:
            self._ask()
        for job in jobs:
            self.interruptions -= 1
            end = "interrupted" if self.interruptions >= 0 else "finished"
            if end == "finished":
                write_mapping(run_path(self.out, job.run) / "status.json", {"state": "finished", "loss": 2.0})
            note_end(self.out, job.run, job.attempt, end)  # type: ignore[arg-type]
            del self.queue[job.run]
        return list(jobs)

    def stop(self, *_: Any) -> bool:
        return False

    def slots_of(self, begun: Mapping[str, Any]) -> set[int]:
        return set()

    def warning(self) -> None:
        return None


class Events(list[str]):
    """A watcher that writes them down."""

    def event(self, text: str) -> None:
        self.append(text)

    def refresh(self, snapshot: Any) -> None:
        pass


@pytest.fixture
def planner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planner:
    """Of three runs."""
    monkeypatch.setattr(scheduler, "_POLL_SECONDS", 0.0)
    made = Planner(LoadedSweep.from_dict({"recipe": recipe(write_tokens(tmp_path)), "seeds": [0, 1, 2]}))
    out = tmp_path / "out"
    for folder in (out / CELLS, out / ATTEMPTS, *(run_path(out, run.id) for run in made.plan({}).runs)):
        folder.mkdir(parents=True)
    return made


def run_sweep(out: Path, planner: Planner, cluster: Cluster) -> tuple[set[str], Events]:
    events = Events()
    states = Scheduler(out, planner, cluster, events, retry_failed=False).run().states  # type: ignore[arg-type]
    return set(states.values()), events


@pytest.mark.parametrize(
    ("answers", "silences"),
    [
        ([False] * 5, 1),  # from the beginning: nothing is submitted before it is known what there is
        ([True, True, False], 1),  # sbatch fails, and the job is there all the same
        ([True, True, False, False, False, True, True, True, False], 2),  # and later questions too
    ],
)
def test_nothing_is_submitted_twice(tmp_path: Path, planner: Planner, answers: list[bool], silences: int) -> None:
    cluster = Cluster(tmp_path / "out", answers)
    states, events = run_sweep(tmp_path / "out", planner, cluster)
    assert states == {"done"}
    assert sorted(cluster.submitted) == sorted((run.id, 1) for run in planner.plan({}).runs)
    assert sum("; waiting" in event for event in events) == silences


def test_jobs_of_an_earlier_submitter(tmp_path: Path, planner: Planner) -> None:
    """One that runs and is then interrupted: that attempt is no failure, and the next job is the second."""
    out = tmp_path / "out"
    run = planner.plan({}).runs[0].id
    cluster = Cluster(out, interruptions=1)
    cluster.submit(out, run, 1, {}, 0)
    states, events = run_sweep(out, planner, cluster)
    assert states == {"done"}
    assert events[0].endswith("followed: 1")
    ends = [(note.attempt, note.end) for note in read_attempts(attempts_file(out, run)) if isinstance(note, AttemptEnd)]
    assert [attempt for name, attempt in cluster.submitted if name == run] == [1, 2]
    assert ends == [(1, "interrupted"), (2, "finished")]
