"""Where jobs run: processes of this machine, or a Slurm cluster, through submitit, behind one interface."""

import math
import os
import platform
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import submitit

from moewright.errors import RunStopped, UserError
from moewright.lab.sweep.layout import JOBS, STOP
from moewright.lab.sweep.slurm import ClusterSilent, live_jobs
from moewright.lab.sweep.spec import Execution
from moewright.lab.sweep.worker import work

_WITHOUT_LIMIT_MINUTES = 60 * 24 * 365.0
"""submitit's local jobs must have a time limit: a year."""
_SLURM_JOBS = 1000
"""At a time, if nobody says how many; the usual limit of a user's jobs (MaxSubmitJobs) is of this order."""
_SIGNAL_SECONDS = 60
"""Before its time limit a job is told to write a checkpoint; a tenth of the limit where that is less."""


@dataclass(frozen=True)
class Job:
    """A run that was handed over."""

    run: str
    slot: int
    handle: "submitit.Job[str]"
    folder: Path
    """Of submitit's files."""

    @property
    def log(self) -> str:
        """The end of what it printed to standard error."""
        return "".join(path.read_text(errors="replace")[-2000:] for path in sorted(self.folder.glob("*.err")))


class Executor(Protocol):
    """Takes runs, and knows which are still under way."""

    name: str
    slots: int
    """Jobs at a time."""

    def submit(self, out: Path, run: str, attempt: int, recipe: Mapping[str, Any], slot: int) -> Job:
        """Hand over a run."""

    def ended(self, jobs: Sequence[Job]) -> list[Job]:
        """Those that are no longer under way or waiting."""

    def stop(self, jobs: Sequence[Job], foreign: Sequence[Mapping[str, Any]]) -> bool:
        """Ask them to write a checkpoint and end, and workers of other submitters, by the notes of their beginnings.

        Returns whether they will: waiting for that makes sense.
        """

    def adopt(self, out: Path, runs: Sequence[str]) -> list[Job]:
        """Jobs of an earlier submitter of these runs that are under way or waiting, and can be followed."""

    def slots_of(self, begun: Mapping[str, Any]) -> set[int]:
        """The slots that a worker of another submitter takes up, by the note of its beginning."""


class LocalExecutor:
    """Processes of this machine: each slot has cores of its own, so that many small runs fill the machine."""

    name = "local"

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
        execution = self._execution
        folder = _job_folder(out, run, attempt)
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
        arguments = {"threads": len(cores), "cores": cores, **_arguments(self.name, folder, execution)}
        # Ctrl-C in a terminal reaches all processes there; workers hear of it from the submitter, by SIGTERM.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            handle = executor.submit(work, str(out), run, dict(recipe), **arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return Job(run, slot, handle, folder)

    def ended(self, jobs: Sequence[Job]) -> list[Job]:
        """Those whose process is gone."""
        return [job for job in jobs if job.handle.done()]

    def stop(self, jobs: Sequence[Job], foreign: Sequence[Mapping[str, Any]]) -> bool:
        """SIGTERM to their controllers, which pass it on; a file for workers that are too young to hear of it."""
        for begun in foreign:
            if begun.get("host") == platform.node() and begun.get("job") == self.name:
                with suppress(ProcessLookupError):
                    os.kill(begun["pid"], signal.SIGTERM)
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

    def slots_of(self, begun: Mapping[str, Any]) -> set[int]:
        """Those whose cores it has."""
        cores = set(begun.get("cores", ()))
        return {slot for slot, own in enumerate(self._cores) if cores & set(own)}


class SlurmExecutor:
    """Jobs of a Slurm cluster. Which are under way is asked of squeue, which works without an accounting database."""

    name = "slurm"

    def __init__(self, execution: Execution, jobs: int | None):
        self.slots = jobs or _SLURM_JOBS
        self._execution = execution

    def submit(self, out: Path, run: str, attempt: int, recipe: Mapping[str, Any], slot: int) -> Job:
        """One sbatch. Raises UserError with what Slurm says against it."""
        execution = self._execution
        folder = _job_folder(out, run, attempt)
        cores = execution.cores_per_run or 1
        arguments = {"threads": cores, "cores": [], **_arguments(self.name, folder, execution)}
        try:
            # The job's shell becomes the worker, so that it gets each signal once: through srun SIGTERM comes twice at
            # the time limit, and srun forgets --cpus-per-task since Slurm 22.05.
            executor = submitit.SlurmExecutor(folder, python=f"exec {shlex.quote(sys.executable)}")
            executor.update_parameters(**{**self._parameters(run, cores), **execution.slurm})
            handle = executor.submit(work, str(out), run, dict(recipe), **arguments)
        except ValueError as error:  # a parameter that submitit does not know
            raise UserError(f"execution.slurm: {' '.join(str(error).split())}") from None
        except (RuntimeError, OSError) as error:  # sbatch refuses, or is not there
            raise UserError(f"sbatch: {' '.join(str(error).split())}") from None
        return Job(run, slot, handle, folder)

    def _parameters(self, run: str, cores: int) -> dict[str, Any]:
        execution = self._execution
        minutes = execution.time_limit
        parameters: dict[str, Any] = {
            "job_name": f"moewright-{run}",
            "use_srun": False,
            "cpus_per_task": cores,
            "ntasks_per_node": 1,
            "time": None if minutes is None else max(1, math.ceil(minutes)),  # submitit's own default is 5 minutes
        }
        if execution.gpus_per_run:
            parameters["gpus_per_node"] = execution.gpus_per_run
        if minutes is not None:  # B: the signal goes to the job's shell, which is the worker
            parameters["additional_parameters"] = {"signal": f"B:USR2@{_signal_seconds(minutes)}"}
        return parameters

    def adopt(self, out: Path, runs: Sequence[str]) -> list[Job]:
        """The jobs of an earlier submitter that still wait or run, by the files that submitit left."""
        found: dict[str, tuple[str, Path]] = {}
        for run in runs:
            for submitted in sorted((out / JOBS / run).glob("*/*_submitted.pkl")):
                found[submitted.name.removesuffix("_submitted.pkl")] = (run, submitted.parent)
        try:
            live = live_jobs(found)
        except ClusterSilent as silence:
            raise RunStopped(f"{silence}; without its answer runs might be started twice") from None
        adopted = [(job_id, *found[job_id]) for job_id in found if job_id in live]
        return [
            Job(run, self.slots - 1 - position, submitit.SlurmJob(folder, job_id), folder)
            for position, (job_id, run, folder) in enumerate(adopted)
        ]

    def ended(self, jobs: Sequence[Job]) -> list[Job]:
        """Those that squeue no longer lists."""
        live = live_jobs([job.handle.job_id for job in jobs]) if jobs else {}
        return [job for job in jobs if job.handle.job_id not in live]

    def stop(self, jobs: Sequence[Job], foreign: Sequence[Mapping[str, Any]]) -> bool:
        """No: the cluster goes on without the submitter, and the next one finds the runs in their files."""
        return False

    def slots_of(self, begun: Mapping[str, Any]) -> set[int]:
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


def _signal_seconds(minutes: float) -> int:
    return round(min(_SIGNAL_SECONDS, 60 * minutes / 10))
