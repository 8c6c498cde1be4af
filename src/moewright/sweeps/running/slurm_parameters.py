"""What sbatch is told about the jobs of a sweep: what the sweep decides, and what people add in execution.slurm."""

import math
from collections.abc import Mapping
from typing import Any

import submitit

from moewright.complaints import hint
from moewright.errors import UserError
from moewright.sweeps.spec import Execution

_SWEEPS_OWN = {
    "time": "use execution.time_limit",
    "timeout_min": "use execution.time_limit",
    "cpus_per_task": "use execution.cores_per_run",
    "cpus_per_gpu": "use execution.cores_per_run",
    "gpus_per_node": "use execution.gpus_per_run",
    "gpus_per_task": "use execution.gpus_per_run",
    "num_gpus": "use execution.gpus_per_run",
    "nodes": "a run is one process",
    "ntasks_per_node": "a run is one process",
    "ntasks": "a run is one process",
    "job_name": "jobs are named after their runs",
    "array": "each run is a job of its own",
    "array_parallelism": "each run is a job of its own; --jobs limits how many there are at a time",
    "signal": "the sweep needs it to hear of the time limit",
    "signal_delay_s": "the sweep needs it to hear of the time limit",
    "use_srun": "jobs run without srun",
    "srun_args": "jobs run without srun",
    "teardown": "nothing runs after the worker; Slurm's own epilog does",
    "output": "logs are in the sweep's folder",
    "error": "logs are in the sweep's folder",
    "stderr_to_stdout": "logs are in the sweep's folder",
}
"""Parameters that people cannot set, and what to do instead."""
_ADDITIONAL = "additional_parameters"


def sbatch_parameters(execution: Execution, signal_seconds: int | None) -> dict[str, Any]:
    """The parameters of `submitit.SlurmExecutor` that all jobs of a sweep share.

    `signal_seconds`: how long before the time limit a job is told. UserError for what cannot be set.
    """
    given = dict(execution.slurm)
    additional = given.pop(_ADDITIONAL, {})
    if not isinstance(additional, Mapping):
        raise UserError(f"execution.slurm.{_ADDITIONAL}: {additional!r} is no mapping of sbatch's options")
    for name in (*given, *additional):
        _refuse(name)
    _check_names(given)
    parameters: dict[str, Any] = {
        "use_srun": False,
        "cpus_per_task": execution.cores_per_run or 1,
        "ntasks_per_node": 1,
        # submitit's own default is 5 minutes
        "time": None if execution.time_limit is None else max(1, math.ceil(execution.time_limit)),
        **_with_memory(given),
    }
    if execution.gpus_per_run:
        parameters["gpus_per_node"] = execution.gpus_per_run
    # B: the signal goes to the job's shell, which is the worker.
    signal = {} if execution.time_limit is None else {"signal": f"B:USR2@{signal_seconds}"}
    return {**parameters, _ADDITIONAL: {**additional, **signal}}


def _refuse(name: str) -> None:
    instead = _SWEEPS_OWN.get(name.replace("-", "_"))
    if instead is not None:
        raise UserError(f"execution.slurm: {name} is the sweep's own; {instead}")


def _check_names(given: Mapping[str, Any]) -> None:
    known = {*submitit.SlurmExecutor._valid_parameters(), "mem_gb"} - {*_SWEEPS_OWN}
    for name in given:
        if name not in known:
            rest = f"other options of sbatch go under {_ADDITIONAL}"
            raise UserError(f"execution.slurm: {name} is not known{hint(name, known, rest)}")
    setup = given.get("setup", [])
    if not isinstance(setup, list) or not all(isinstance(line, str) for line in setup):
        raise UserError(f"execution.slurm.setup: {setup!r} is no list of lines for the job's shell")


def _with_memory(given: Mapping[str, Any]) -> dict[str, Any]:
    """`mem_gb`, which submitit takes elsewhere, as sbatch's --mem in its own unit, of 2^20 bytes."""
    parameters = dict(given)
    if "mem_gb" in parameters:
        memory = parameters.pop("mem_gb")
        if "mem" in parameters:
            raise UserError("execution.slurm: mem and mem_gb are both given; leave one out")
        if isinstance(memory, bool) or not isinstance(memory, int | float) or not memory > 0:
            raise UserError(f"execution.slurm.mem_gb: {memory!r} is no number above 0")
        parameters["mem"] = f"{math.ceil(memory * 1024)}M"
    return parameters
