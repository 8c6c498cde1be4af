"""Which jobs Slurm still has, from `squeue`: it needs no accounting database, which `sacct` (and submitit) do."""

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from moewright.errors import UserError
from moewright.quantities import brief

# squeue itself gives up after about 10 s when nobody listens (MessageTimeout); a busy controller may take longer.
TIMEOUT_SECONDS = 60


class ClusterSilent(RuntimeError):  # noqa: N818  (no error of anyone's)
    """Slurm did not say which jobs it has. The jobs may be alive and well: wait, and ask again."""


# What Slurm's commands say when the controller does not answer them (slurm_strerror, src/common/slurm_errno.c).
_SILENCES = ("Unable to contact slurm controller", "Socket timed out", "Zero Bytes were transmitted", "standby mode")


def is_silence(complaint: str) -> bool:
    """Whether one of Slurm's commands failed because the controller did not answer: it may have done what was asked."""
    return any(silence.lower() in complaint.lower() for silence in _SILENCES)


@dataclass(frozen=True)
class QueuedJob:
    """A job that is not over."""

    state: str
    """Slurm's name: PENDING, RUNNING, COMPLETING, ...

    COMPLETING: ended, but processes of it may still run. A requeued job is PENDING again under its old id.
    """
    script: str
    """The file that sbatch was given, which may have moved since."""


def live_jobs(job_ids: Iterable[str]) -> dict[str, str]:
    """Those of my jobs that are not over, with the `QueuedJob.state` of each.

    A job that is not in the answer is over, or never was. Nothing is asked where no job is meant. Raises as `my_jobs`.
    """
    wanted = set(job_ids)
    return {job: queued.state for job, queued in my_jobs().items() if job in wanted} if wanted else {}


def cancel_jobs(job_ids: Iterable[str]) -> None:
    """Ask for the end of jobs; those that are over by now are none to be told of. Raises ClusterSilent."""
    try:
        subprocess.run(["scancel", *job_ids], capture_output=True, timeout=TIMEOUT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterSilent(f"scancel: {error}") from None


def my_jobs() -> dict[str, QueuedJob]:
    """All jobs of this user that are not over, by id. Element `i` of the array `id` is `id_i`, as submitit names it.

    One question to the controller, whatever the number of jobs; it is not about some only, because `--jobs` takes an id
    that Slurm has forgotten for an error. Raises ClusterSilent if squeue fails, and UserError if there is no squeue.
    """
    # A user's SQUEUE_STATES, SQUEUE_PARTITION and the like would hide jobs, SQUEUE_FORMAT2 change the lines.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
    command = ["squeue", "--me", "--array", "--noheader", "--format=%i %T %o"]
    try:
        answer = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_SECONDS
        )
    except FileNotFoundError:
        raise UserError("squeue: not found, so this is no machine of a Slurm cluster; use --executor local") from None
    except subprocess.TimeoutExpired:
        raise ClusterSilent(f"squeue: no answer after {TIMEOUT_SECONDS} s") from None
    except OSError as error:  # this machine has no memory or process left
        raise ClusterSilent(f"squeue: cannot be started: {error.strerror}") from None
    if answer.returncode:
        complaint = " ".join(answer.stderr.split()) or "it said nothing"
        raise ClusterSilent(f"squeue: failed with exit code {answer.returncode}: {complaint}")
    jobs: dict[str, QueuedJob] = {}
    for line in answer.stdout.splitlines():
        job, state, script, *_ = [*line.split(maxsplit=2), "", ""]
        if not job[:1].isdigit() or not state.isupper():
            raise ClusterSilent(f"squeue: not a job and its state: {brief(line)}")
        jobs[job] = QueuedJob(state, script.strip())
    return jobs
