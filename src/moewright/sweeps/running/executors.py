"""Where jobs run: processes of this machine, or a Slurm cluster, through submitit, behind one interface."""

import io
import os
import platform
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import submitit

from moewright.errors import UserError
from moewright.experiment.attempts import AttemptBegin
from moewright.experiment.sweep_folder import JOBS, STOP
from moewright.sweeps.running.slurm import ClusterSilent, is_silence, live_jobs, my_jobs
from moewright.sweeps.running.slurm_parameters import sbatch_parameters
from moewright.sweeps.running.worker import work
from moewright.sweeps.spec import Execution

_WITHOUT_LIMIT_MINUTES = 60 * 24 * 365.0
"""submitit's local jobs must have a time limit: a year."""
_SLURM_JOBS = 1000
"""At a time, if nobody says how many; the usual limit of a user's jobs (MaxSubmitJobs) is of this order."""
_SUBMITTED = "_submitted.pkl"
"""Ends the name of submitit's file of a job, after its id."""
_SIGNAL_SECONDS = 60
"""Before its time limit a job is told to write a checkpoint; a tenth of the limit where that is less."""


@dataclass(frozen=True)
class Job:
    """A run that was handed over."""

    run: str
    slot: int
    handle: "submitit.Job[Any]"
    folder: Path
    """Of submitit's files."""

    @property
    def attempt(self) -> int:
        """The number that its worker was to note; a job that Slurm requeues makes further ones. See `_job_folder`."""
        return int(self.folder.name.partition(".")[0])

    @property
    def log(self) -> str:
        """The end of what it printed to standard error."""
        return "".join(path.read_text(errors="replace")[-2000:] for path in sorted(self.folder.glob("*.err")))


class Executor(Protocol):
    """Takes runs, and knows which are still under way."""

    name: str
    slots: int
    """Jobs at a time."""
    stopping: str
    """What becomes of the jobs when the submitter is told to stop, in words."""

    def submit(self, out: Path, run: str, attempt: int, recipe: Mapping[str, Any], slot: int) -> Job:
        """Hand over a run."""

    def ended(self, jobs: Sequence[Job]) -> list[Job]:
        """Those that are no longer under way or waiting."""

    def stop(self, jobs: Sequence[Job], foreign: Sequence[AttemptBegin]) -> bool:
        """Ask them to write a checkpoint and end, and workers of other submitters, by the notes of their beginnings.

        Returns whether they will: waiting for that makes sense.
        """

    def adopt(self, out: Path, runs: Sequence[str]) -> list[Job]:
        """Jobs of these runs that are under way or waiting, and can be followed: an earlier submitter's."""

    def slots_of(self, begun: AttemptBegin) -> set[int]:
        """The slots that a worker of another submitter takes up, by the note of its beginning."""


class LocalExecutor:
    """Processes of this machine: each slot has cores of its own, so that many small runs fill the machine."""

    name = "local"
    stopping = "stopping: the workers write their checkpoints; Ctrl-C again leaves them to it"

    def __init__(self, execution: Execution, jobs: int | None):
        """Raises UserError if the jobs need more cores than there are."""
        cores = sorted(os.sched_getaffinity(0))
        per_run = execution.cores_per_run or max(1, len(cores) // (jobs or len(cores)))
        self.slots = jobs or max(1, len(cores) // per_run)
        if self.slots * per_run > len(cores):
            raise UserError(
                f"jobs: {self.slots} at a time with {per_run} cores each need more than the {len(cores)} cores here; "
                "lower --jobs or execution.cores_per_run"
            )
        self._cores = [cores[slot * per_run : (slot + 1) * per_run] for slot in range(self.slots)]
        self._execution = execution

    def submit(self, out: Path, run: str, attempt: int, recipe: Mapping[str, Any], slot: int) -> Job:
        """Start a process."""
        folder = _job_folder(out, run, attempt)
        told = _arguments(self.name, folder, self._execution)
        return Job(run, slot, self.start(folder, slot, work, str(out), run, dict(recipe), **told), folder)

    def start(self, folder: Path, slot: int, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a function in a process of its own, told `threads` and `cores` of the slot. Returns submitit's job."""
        execution = self._execution
        executor = submitit.LocalExecutor(folder)
        minutes = execution.time_limit or _WITHOUT_LIMIT_MINUTES
        first = slot * execution.gpus_per_run
        gpus = [execution.gpus[(first + i) % len(execution.gpus)] for i in range(execution.gpus_per_run)]
        executor.update_parameters(
            timeout_min=minutes,
            signal_delay_s=_signal_seconds(minutes),
            gpus_per_node=len(gpus),
            visible_gpus=gpus,
        )
        cores = self._cores[slot]
        # Ctrl-C in a terminal reaches all processes there; workers hear of it from the submitter, by SIGTERM.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return executor.submit(function, *arguments, threads=len(cores), cores=cores, **named)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def ended(self, jobs: Sequence[Job]) -> list[Job]:
        """Those whose process is gone."""
        return [job for job in jobs if job.handle.done()]

    def stop(self, jobs: Sequence[Job], foreign: Sequence[AttemptBegin]) -> bool:
        """SIGTERM to their controllers, which pass it on; a file for workers that are too young to hear of it."""
        for begun in foreign:
            if begun.host == platform.node() and begun.job == self.name and begun.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(begun.pid, signal.SIGTERM)
        for job in jobs:
            with suppress(OSError):  # a full disk
                (job.folder / STOP).touch()
            process = job.handle._process  # type: ignore[attr-defined]  # submitit's cancel sends SIGINT, which kills
            if process is not None and process.poll() is None:
                process.terminate()
        return True

    def adopt(self, out: Path, runs: Sequence[str]) -> list[Job]:
        """None: processes are known to their parent alone; the locks of the runs tell of them."""
        return []

    @property
    def threads(self) -> int:
        """Of each job."""
        return len(self._cores[0])

    def slots_of(self, begun: AttemptBegin) -> set[int]:
        """Those whose cores it has."""
        cores = set(begun.cores)
        return {slot for slot, own in enumerate(self._cores) if cores & set(own)}


class SlurmExecutor:
    """Jobs of a Slurm cluster. Which are under way is asked of squeue, which works without an accounting database."""

    name = "slurm"
    stopping = "stopping: the jobs wait and run on without this process; the same command follows them again"

    def __init__(self, execution: Execution, jobs: int | None):
        """Raises UserError for parameters that jobs cannot have. Slurm need not be here: a dry run goes without."""
        self.slots = jobs or _SLURM_JOBS
        self._execution = execution
        limit = execution.time_limit
        self._parameters = sbatch_parameters(execution, None if limit is None else _signal_seconds(limit))

    def submit(self, out: Path, run: str, attempt: int, recipe: Mapping[str, Any], slot: int) -> Job:
        """One sbatch. Raises UserError with what Slurm says against it; ClusterSilent if it does not answer."""
        execution = self._execution
        folder = _job_folder(out, run, attempt)
        arguments = {"threads": execution.cores_per_run or 1, "cores": [], **_arguments(self.name, folder, execution)}
        try:
            # The job's shell becomes the worker, so that it gets each signal once: through srun SIGTERM comes twice at
            # the time limit, and srun forgets --cpus-per-task since Slurm 22.05.
            executor = submitit.SlurmExecutor(folder, python=f"exec {shlex.quote(sys.executable)}")
            executor.update_parameters(job_name=f"moewright-{run}", **self._parameters)
            with redirect_stderr(io.StringIO()):  # submitit prints sbatch's complaint, and raises it
                handle = executor.submit(work, str(out), run, dict(recipe), **arguments)
        except (RuntimeError, OSError) as error:
            complaint = " ".join(str(error).split())
            if is_silence(complaint):
                raise ClusterSilent(f"sbatch: {complaint}") from None
            raise UserError(f"sbatch: {complaint}") from None
        return Job(run, slot, handle, folder)

    def adopt(self, out: Path, runs: Sequence[str]) -> list[Job]:
        """Jobs of these runs that wait or run, by the files that submitit left.

        Raises ClusterSilent, and UserError on a machine that cannot submit jobs: this is asked before any is.
        """
        for command in ("sbatch", "squeue", "srun"):  # jobs go without srun, but submitit looks for it
            if shutil.which(command) is None:
                raise UserError(f"{command}: not found, so this is no machine of a Slurm cluster; use --executor local")
        queued = my_jobs()
        found: dict[str, Path] = {}
        for run in runs:
            folders = [folder for folder in (out / JOBS / run).glob("*") if folder.is_dir()]
            for folder in folders:
                found |= {path.name.removesuffix(_SUBMITTED): folder for path in folder.glob(f"*{_SUBMITTED}")}
            for job_id, job in queued.items():
                folder = Path(job.script).parent
                if folder in folders and job_id not in found:
                    _finish_submission(folder, job_id)
                    found[job_id] = folder
        adopted = [job_id for job_id in found if job_id in queued]
        return [
            Job(folder.parent.name, self.slots - 1 - position, submitit.SlurmJob(folder, job_id), folder)
            for position, job_id in enumerate(adopted)
            for folder in [found[job_id]]
        ]

    def ended(self, jobs: Sequence[Job]) -> list[Job]:
        """Those that squeue no longer lists."""
        live = live_jobs([job.handle.job_id for job in jobs]) if jobs else {}
        return [job for job in jobs if job.handle.job_id not in live]

    def stop(self, jobs: Sequence[Job], foreign: Sequence[AttemptBegin]) -> bool:
        """No: the cluster goes on without the submitter, and the next one finds the runs in their files."""
        return False

    def slots_of(self, begun: AttemptBegin) -> set[int]:
        """None: the cluster gives each job its own cores."""
        return set()


EXECUTORS: dict[str, Callable[[Execution, int | None], Executor]] = {
    "local": LocalExecutor,
    "slurm": SlurmExecutor,
}


def _arguments(name: str, folder: Path, execution: Execution) -> dict[str, Any]:
    """What a worker is told wherever it runs."""
    return {"keep": execution.keep, "job": name, "job_folder": str(folder)}


def _job_folder(out: Path, run: str, attempt: int) -> Path:
    """A folder that no earlier job had: submitit names files by process ids, which come again."""
    folder = out / JOBS / run / str(attempt)
    number = 1
    while folder.exists():
        number += 1
        folder = out / JOBS / run / f"{attempt}.{number}"
    folder.mkdir(parents=True)
    return folder


def _finish_submission(folder: Path, job_id: str) -> None:
    """Give what a job is to do its final name: its submitter was killed, or heard nothing, while sbatch was at work.

    The job waits a minute for this file when it begins, and fails without it.
    """
    for written in folder.glob("*.pkl"):
        if "_" not in written.name:  # <random>.pkl, as opposed to <job>_submitted.pkl and <job>_0_result.pkl
            written.rename(folder / f"{job_id}{_SUBMITTED}")


def _signal_seconds(minutes: float) -> int:
    return round(min(_SIGNAL_SECONDS, 60 * minutes / 10))
