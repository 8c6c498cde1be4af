"""Which jobs Slurm still has, from `squeue`: it needs no accounting database, which `sacct` (and submitit) do."""

import os
import subprocess
from collections.abc import Iterable

from moewright.errors import UserError

# squeue itself gives up after about 10 s when nobody listens (MessageTimeout); a busy controller may take longer.
TIMEOUT_SECONDS = 60


class ClusterSilent(RuntimeError):  # noqa: N818  (no error of anyone's)
    """Slurm did not say which jobs it has. The jobs may be alive and well: wait, and ask again."""


def live_jobs(job_ids: Iterable[str]) -> dict[str, str]:
    """Those of my jobs that are not over, with Slurm's name of their state: PENDING, RUNNING, COMPLETING, ...

    COMPLETING: ended, but processes of it may still run. A requeued job is PENDING again under its old id. A job that
    is not in the answer is over, or never was. Element `i` of the array `id` is `id_i`, as submitit names it.

    One question to the controller, whatever the number of jobs; it is about all jobs of this user, because `--jobs`
    takes an id that Slurm has forgotten for an error.

    Raises ClusterSilent if squeue fails, and UserError if there is no squeue.
    """
    wanted = set(job_ids)
    if not wanted:
        return {}
    # A user's SQUEUE_STATES, SQUEUE_PARTITION and the like would hide jobs, SQUEUE_FORMAT2 change the lines.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
    command = ["squeue", "--me", "--array", "--noheader", "--format=%i %T"]
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
    states: dict[str, str] = {}
    for line in answer.stdout.splitlines():
        words = line.split()
        if len(words) != 2:
            raise ClusterSilent(f"squeue: not a job and its state: {line!r}")
        states[words[0]] = words[1]
    return {job: state for job, state in states.items() if job in wanted}
