"""What is handed to Slurm, which of its jobs are found again, and the cores that local runs get. Slurm is played by
scripts on PATH; tests/slurm/run_sweep.py has the real one."""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from moewright.errors import UserError
from moewright.experiment.attempts import AttemptBegin
from moewright.experiment.sweep_folder import JOBS
from moewright.sweeps import sbatch_options
from moewright.sweeps.running.local_executor import LocalExecutor
from moewright.sweeps.running.slurm_executor import SlurmExecutor
from moewright.sweeps.running.slurm_queue import ClusterSilent
from moewright.sweeps.sweep_spec import Execution

RUN = "0123456789ab"


class Install(Protocol):
    """Replaces Slurm's commands by scripts."""

    def __call__(self, **scripts: str) -> None: ...


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Slurm's commands, each a script of sh. sbatch keeps a copy of the file that it is given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def install(**scripts: str) -> None:
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)

    install(srun="exit 1", squeue="exit 0", sbatch=f'cp "$1" {tmp_path}/given.sh; echo Submitted batch job 77')
    return install


def execution(**values: object) -> Execution:
    return Execution.model_validate(values)


def begun(cores: Sequence[int]) -> AttemptBegin:
    """The note of a worker on some cores."""
    return AttemptBegin(attempt=1, cores=tuple(cores))


def options(tmp_path: Path, **values: object) -> dict[str, str]:
    """The #SBATCH lines of a job, and under "command" what follows them."""
    SlurmExecutor(execution(**values), None).submit(tmp_path / "out", RUN, 1, {}, 0)
    text = (tmp_path / "given.sh").read_text()
    found = re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, flags=re.MULTILINE)
    return {**dict(found), "command": text.partition("# command")[2].strip()}


def test_the_file_for_sbatch(commands: Install, tmp_path: Path) -> None:
    folder = tmp_path / "out" / JOBS / RUN / "1"
    given = options(
        tmp_path,
        cores_per_run=3,
        time_limit="90m",
        slurm={"partition": "long", "account": "team", "mem_gb": 1.5, "additional_parameters": {"requeue": True}},
    )
    assert given == {
        "job-name": f"moewright-{RUN}",
        "cpus-per-task": "3",
        "ntasks-per-node": "1",
        "nodes": "1",
        "time": "90",
        "signal": "B:USR2@60",
        "partition": "long",
        "account": "team",
        "mem": "1536M",
        "requeue": "",
        "output": f"{folder}/%j_0_log.out",
        "error": f"{folder}/%j_0_log.err",
        "open-mode": "append",
        "wckey": "submitit",
        # exec: the worker takes the shell's place, so that signals for the shell reach it, without srun.
        "command": f"export SUBMITIT_EXECUTOR=slurm\nexec {sys.executable} -u -m submitit.core._submit {folder}",
    }
    assert (folder / "77_submitted.pkl").is_file()


@pytest.mark.parametrize(
    ("limit", "minutes", "seconds"), [("30s", "1", 3), ("2m", "2", 12), ("150s", "3", 15), ("2h", "120", 60)]
)
def test_the_signal_comes_before_the_limit(
    commands: Install, tmp_path: Path, limit: str, minutes: str, seconds: int
) -> None:
    given = options(tmp_path, time_limit=limit)
    assert (given["time"], given["signal"]) == (minutes, f"B:USR2@{seconds}")


def test_no_limit_is_none(commands: Install, tmp_path: Path) -> None:
    """And what nobody asked for is not there: gpus, memory."""
    given = options(tmp_path)
    assert not {"time", "gpus-per-node", "mem", "partition"} & given.keys()
    assert given["cpus-per-task"] == "1"
    assert options(tmp_path, gpus_per_run=2)["gpus-per-node"] == "2"


@pytest.mark.parametrize(
    ("slurm", "message"),
    [
        ({"time": 5}, "time is the sweep's own; use execution.time_limit"),
        ({"cpus_per_task": 5}, "use execution.cores_per_run"),
        ({"additional_parameters": {"cpus-per-task": 5}}, "use execution.cores_per_run"),
        ({"additional_parameters": {"signal": "INT@5"}}, "needs it to hear of the time limit"),
        ({"teardown": ["rm -r scratch"]}, "nothing runs after the worker"),
        ({"partitoin": "long"}, "partitoin is not known; did you mean partition?"),
        ({"licenses": "x"}, "licenses is not known; other options of sbatch go under additional_parameters"),
        ({"additional_parameters": ["requeue"]}, "is no mapping"),
        ({"setup": "module load python"}, "is no list of lines"),
        ({"mem_gb": "4GB"}, "mem_gb: expected a number, found '4GB'"),
        ({"mem_gb": 4, "mem": "4G"}, "mem and mem_gb are both given"),
        ({"account": None}, "execution.slurm.account: null is no text, number or true"),
        ({"exclusive": False}, "execution.slurm.exclusive: False is no text, number or true"),
        ({"exclude": ["a", "b"]}, "execution.slurm.exclude: ['a', 'b'] is no text"),
        ({"additional_parameters": {"requeue": None}}, "execution.slurm.requeue: null is no text"),
    ],
)
def test_parameters_that_are_refused(commands: Install, slurm: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        SlurmExecutor(execution(slurm=slurm), None)
    assert message in str(caught.value)
    assert str(caught.value).startswith("execution.slurm")
    assert "\n" not in str(caught.value)


def test_known_parameters_are_submitits() -> None:
    submitit = pytest.importorskip("submitit")
    given = {*submitit.SlurmExecutor._valid_parameters(), "mem_gb"}
    own = given - {*sbatch_options._SWEEPS_OWN, sbatch_options.ADDITIONAL}
    assert own == {*sbatch_options._KNOWN}


def test_no_slurm_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    executor = SlurmExecutor(execution(), None)  # enough for a dry run
    with pytest.raises(UserError, match=r"sbatch: not found.*--executor local"):
        executor.adopt(tmp_path, [RUN])


def test_what_sbatch_refuses_is_one_line(commands: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands(sbatch="echo 'sbatch: error: invalid partition specified: long' >&2; echo 'sbatch: no' >&2; exit 1")
    with pytest.raises(UserError, match="sbatch: error: invalid partition specified: long sbatch: no"):
        SlurmExecutor(execution(), None).submit(tmp_path, RUN, 1, {}, 0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "complaint", ["Unable to contact slurm controller (connect failure)", "Socket timed out on send/recv operation"]
)
def test_a_controller_that_is_away_is_nobodys_mistake(commands: Install, tmp_path: Path, complaint: str) -> None:
    commands(sbatch=f"echo 'sbatch: error: Batch job submission failed: {complaint}' >&2; exit 1")
    executor = SlurmExecutor(execution(), None)
    with pytest.raises(ClusterSilent, match=re.escape(complaint)):
        executor.submit(tmp_path, RUN, 1, {}, 0)


def test_jobs_are_found_again(commands: Install, tmp_path: Path) -> None:
    """Those that wait or run, with the attempt they are for; not those that are over, nor another sweep's."""
    executor = SlurmExecutor(execution(), 8)
    out = tmp_path / "out"
    runs = [f"{number:012x}" for number in range(4)]
    for number, run in enumerate(runs):
        commands(sbatch=f"echo Submitted batch job {100 + number}")
        executor.submit(out, run, 1 + number, {}, number)
    commands(
        squeue="echo '100 RUNNING /x'; echo '102 PENDING /x'; echo '103 COMPLETING /x'; echo '104 RUNNING /y/z.sh'"
    )
    found = executor.adopt(out, runs[:3])
    assert [(job.run, job.attempt, job.handle.job_id) for job in found] == [(runs[0], 1, "100"), (runs[2], 3, "102")]
    assert sorted(job.slot for job in found) == [6, 7]
    assert [job.run for job in executor.ended([*executor.adopt(out, runs)])] == []
    commands(squeue="echo '102 PENDING /x'")
    assert [job.run for job in executor.ended(found)] == [runs[0]]


def test_a_job_whose_submitter_was_killed_inside_of_sbatch(commands: Install, tmp_path: Path) -> None:
    """Or heard nothing from it: Slurm has the job, and submitit's file still has its first name."""
    executor = SlurmExecutor(execution(), 1)
    out = tmp_path / "out"
    commands(sbatch=f'echo "$1" > {tmp_path}/script; echo "sbatch: error: Socket timed out" >&2; exit 1')
    with pytest.raises(ClusterSilent):
        executor.submit(out, RUN, 1, {}, 0)
    folder = out / JOBS / RUN / "1"
    (before,) = (path.read_bytes() for path in folder.glob("*.pkl"))
    commands(squeue=f"echo 55 PENDING $(cat {tmp_path}/script)")
    (job,) = executor.adopt(out, [RUN])
    assert (job.run, job.attempt, job.handle.job_id, job.folder) == (RUN, 1, "55", folder)
    assert (folder / "55_submitted.pkl").read_bytes() == before
    assert [path.name for path in folder.glob("*.pkl")] == ["55_submitted.pkl"]
    (again,) = executor.adopt(out, [RUN])
    assert again.handle.job_id == "55"


def test_jobs_that_need_not_get_on_and_jobs_that_hang(
    commands: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the queue, suspended, being ended: all but the running one. scancel gets those that hang, and may be away."""
    executor = SlurmExecutor(execution(), 8)
    jobs = []
    for number, run in enumerate(f"{number:012x}" for number in range(5)):
        commands(sbatch=f"echo Submitted batch job {100 + number}")
        jobs.append(executor.submit(tmp_path / "out", run, 1, {}, number))
    commands(
        squeue="for it in '100 RUNNING' '101 PENDING' '102 SUSPENDED' '103 COMPLETING'; do echo $it /x; done",
        scancel=f'echo "$@" > {tmp_path}/cancelled; exit 1',
    )
    assert [job.handle.job_id for job in executor.waiting(jobs)] == ["101", "102", "103", "104"]
    executor.kill(jobs[:2], [begun([0])])
    assert (tmp_path / "cancelled").read_text() == "100 101\n"
    (tmp_path / "bin" / "scancel").unlink()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    executor.kill([], [begun([0])])
    with pytest.raises(ClusterSilent, match="scancel"):
        executor.kill(jobs[:1], [])


def test_a_silent_cluster_is_not_an_empty_one(commands: Install, tmp_path: Path) -> None:
    commands(squeue="echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(ClusterSilent):
        SlurmExecutor(execution(), None).adopt(tmp_path, [RUN])


def use_cores(monkeypatch: pytest.MonkeyPatch, *cores: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(cores))


@pytest.mark.parametrize(
    ("cores", "jobs", "per_run", "expected"),
    [
        (4, None, None, [[0], [1], [2], [3]]),
        (4, 2, None, [[0, 1], [2, 3]]),
        (4, 3, None, [[0], [1], [2]]),
        (5, None, 2, [[0, 1], [2, 3]]),
        (5, 1, 2, [[0, 1]]),
        (1, None, None, [[0]]),
    ],
)
def test_each_slot_has_cores_of_its_own(
    monkeypatch: pytest.MonkeyPatch, cores: int, jobs: int | None, per_run: int | None, expected: list[list[int]]
) -> None:
    use_cores(monkeypatch, *range(cores))
    executor = LocalExecutor(execution(cores_per_run=per_run), jobs)
    assert executor.slots == len(expected)
    for slot, own in enumerate(expected):
        assert executor.slots_of(begun(own)) == {slot}


def test_gpus_of_this_machine_are_named(tmp_path: Path) -> None:
    executor = LocalExecutor(execution(cores_per_run=1, gpus_per_run=2), 1)
    with pytest.raises(UserError, match=r"execution\.gpus_per_run: 2, and execution\.gpus does not say which"):
        executor.submit(tmp_path, "run", 1, {}, 0)


def test_cores_of_other_submitters(monkeypatch: pytest.MonkeyPatch) -> None:
    use_cores(monkeypatch, 2, 3, 6, 7)  # a share of a machine
    executor = LocalExecutor(execution(cores_per_run=2), None)
    assert executor.slots_of(begun([3, 6])) == {0, 1}
    assert executor.slots_of(begun([0, 1])) == executor.slots_of(begun([])) == set()


@pytest.mark.parametrize(
    ("jobs", "per_run", "needed"),
    [(2, 3, "2 at a time with 3 cores"), (None, 5, "1 at a time with 5 cores"), (5, None, "5 at a time with 1 cores")],
)
def test_more_cores_than_there_are(
    monkeypatch: pytest.MonkeyPatch, jobs: int | None, per_run: int | None, needed: str
) -> None:
    use_cores(monkeypatch, 0, 1, 2, 3)
    with pytest.raises(UserError, match=rf"jobs: {needed}.*the 4 cores here; lower --jobs"):
        LocalExecutor(execution(cores_per_run=per_run), jobs)
