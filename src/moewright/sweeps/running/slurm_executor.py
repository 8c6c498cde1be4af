"""Jobs of a Slurm cluster, through submitit: what sbatch is told, and which jobs there are."""

import io
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from moewright.errors import UserError
from moewright.experiment.attempts import AttemptBegin
from moewright.experiment.sweep_folder import JOBS
from moewright.foreign_text import shell_words
from moewright.sweeps.running.executor import Job, new_job_folder, signal_seconds, the_submitit, worker_arguments
from moewright.sweeps.running.slurm_queue import ClusterSilent, cancel_jobs, is_silence, live_jobs, my_jobs
from moewright.sweeps.running.worker import work
from moewright.sweeps.sbatch_options import ADDITIONAL, job_name, sbatch_parameters
from moewright.sweeps.sweep_spec import Execution

_SLURM_JOBS = 1000
"""At a time, if nobody says how many; the usual limit of a user's jobs (MaxSubmitJobs) is of this order."""
_SUBMITTED = "_submitted.pkl"
"""Ends the name of submitit's file of a job, after its id."""


class SlurmExecutor:
    """Jobs of a Slurm cluster. Which are under way is asked of squeue, which works without an accounting database."""

    name = "slurm"
    delay_seconds = 60.0
    """What an NFS client may remember of a folder or a file (acdirmax and acregmax of nfs(5), by default)."""
    stopping = "stopping: the jobs wait and run on without this process; the same command follows them again"

    def __init__(self, execution: Execution, jobs: int | None):
        """Raises UserError for parameters that jobs cannot have. Slurm need not be here: a dry run goes without."""
        self.slots = jobs or _SLURM_JOBS
        self._execution = execution
        shared, limit = sbatch_parameters(execution), execution.time_limit
        if limit is not None:  # B: the signal goes to the job's shell, which is the worker
            shared[ADDITIONAL]["signal"] = f"B:USR2@{signal_seconds(limit)}"
        # submitit's own default of a time limit is 5 minutes
        self._parameters = {"use_srun": False, "time": None, **shared}

    @property
    def measuring(self) -> None:
        """Its jobs may wait for hours."""

    def warning(self) -> None:
        """Nothing: the cluster gives each job what it asks for."""

    def submit(self, out: Path, run: str, attempt: int, recipe: Mapping[str, Any], slot: int) -> Job:
        """One sbatch. Raises UserError with what Slurm says against it; ClusterSilent if it does not answer."""
        execution = self._execution
        folder = new_job_folder(out, run, attempt)
        arguments = {
            "threads": execution.cores_per_run or 1,
            "cores": [],
            **worker_arguments(self.name, folder, execution),
        }
        try:
            # The job's shell becomes the worker, so that it gets each signal once: through srun SIGTERM comes twice at
            # the time limit, and srun forgets --cpus-per-task since Slurm 22.05.
            executor = the_submitit().SlurmExecutor(folder, python=f"exec {shell_words(sys.executable)}")
            executor.update_parameters(job_name=job_name(run), **self._parameters)
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
            Job(folder.parent.name, self.slots - 1 - position, the_submitit().SlurmJob(folder, job_id), folder)
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

    def waiting(self, jobs: Sequence[Job]) -> list[Job]:
        """All that squeue does not call running: those in the queue, suspended ones, such as are being ended."""
        live = live_jobs([job.handle.job_id for job in jobs]) if jobs else {}
        return [job for job in jobs if live.get(job.handle.job_id) != "RUNNING"]

    def kill(self, jobs: Sequence[Job], foreign: Sequence[AttemptBegin]) -> None:
        """scancel, which sends SIGTERM and then SIGKILL. All jobs of the folder were adopted: there are no others."""
        if jobs:
            cancel_jobs([job.handle.job_id for job in jobs])

    def slots_of(self, begun: AttemptBegin) -> set[int]:
        """None: the cluster gives each job its own cores."""
        return set()


def _finish_submission(folder: Path, job_id: str) -> None:
    """Give what a job is to do its final name: its submitter was killed, or heard nothing, while sbatch was at work.

    The job waits a minute for this file when it begins, and fails without it.
    """
    for written in folder.glob("*.pkl"):
        if "_" not in written.name:  # <random>.pkl, as opposed to <job>_submitted.pkl and <job>_0_result.pkl
            written.rename(folder / f"{job_id}{_SUBMITTED}")
