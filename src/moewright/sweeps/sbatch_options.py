"""What Slurm's sbatch is told of a run: by the sweep's own jobs, and by scripts that people submit."""

import math
from collections.abc import Mapping
from typing import Any

from moewright.complaints import check_number, hint
from moewright.errors import UserError
from moewright.foreign_text import shell_words
from moewright.quantities import brief
from moewright.sweeps.sweep_spec import Execution

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
_KNOWN = (
    *("account", "comment", "constraint", "dependency", "exclude", "exclusive", "gres", "mail_type", "mail_user"),
    *("mem", "mem_gb", "mem_per_cpu", "mem_per_gpu", "nodelist", "partition", "qos", "setup", "wckey"),
)
"""The others of submitit's Slurm executor, and `mem_gb`, which submitit takes elsewhere."""
ADDITIONAL = "additional_parameters"


def job_name(run: str) -> str:
    """What the job of a run is called."""
    return f"moewright-{run}"


def sbatch_parameters(execution: Execution) -> dict[str, Any]:
    """What all jobs of a sweep share, by submitit's names; sbatch's have dashes.

    `setup` is lines of the job's shell, and `additional_parameters` has sbatch's options by their own names. UserError
    for what cannot be set.
    """
    given = dict(execution.slurm)
    additional = given.pop(ADDITIONAL, {})
    if not isinstance(additional, Mapping):
        raise UserError(f"execution.slurm.{ADDITIONAL}: {brief(additional)} is no mapping of sbatch's options")
    for name in (*given, *additional):
        _refuse(name)
    _check_names(given)
    for name, value in (*given.items(), *additional.items()):
        if name not in ("setup", "mem_gb"):
            _check_value(name, value)
    parameters: dict[str, Any] = {
        "cpus_per_task": execution.cores_per_run or 1,
        "ntasks_per_node": 1,
        **_with_memory(given),
    }
    if execution.time_limit is not None:
        parameters["time"] = max(1, math.ceil(execution.time_limit))
    if execution.gpus_per_run:
        parameters["gpus_per_node"] = execution.gpus_per_run
    return {**parameters, ADDITIONAL: dict(additional)}


def sbatch_header(run: str, execution: Execution) -> str:
    """The same as `#SBATCH` lines of a script, which are comments where it is started otherwise. UserError as above."""
    parameters = sbatch_parameters(execution)
    additional = parameters.pop(ADDITIONAL)
    parameters.pop("setup", None)
    options = {name.replace("_", "-"): value for name, value in {"job_name": job_name(run), **parameters}.items()}
    return "".join(f"#SBATCH --{_option(name, value)}\n" for name, value in {**options, **additional}.items())


def setup_lines(execution: Execution) -> tuple[str, ...]:
    """What a job's shell does first. UserError as above."""
    return tuple(sbatch_parameters(execution).get("setup", ()))


def _option(name: str, value: Any) -> str:
    """An option as submitit spells it: True has no value, others are quoted for a shell."""
    return name if value is True else f"{name}={shell_words(' '.join(str(value).split()))}"


def _refuse(name: str) -> None:
    instead = _SWEEPS_OWN.get(name.replace("-", "_"))
    if instead is not None:
        raise UserError(f"execution.slurm: {name} is the sweep's own; {instead}")


def _check_names(given: Mapping[str, Any]) -> None:
    for name in given:
        if name not in _KNOWN:
            rest = f"other options of sbatch go under {ADDITIONAL}"
            raise UserError(f"execution.slurm: {name} is not known{hint(name, _KNOWN, rest)}")
    setup = given.get("setup", [])
    if not isinstance(setup, list) or not all(isinstance(line, str) for line in setup):
        raise UserError(f"execution.slurm.setup: {brief(setup)} is no list of lines for the job's shell")


def _check_value(name: str, value: Any) -> None:
    if value is False or not isinstance(value, str | int | float):
        said = "null" if value is None else brief(value)
        raise UserError(f"execution.slurm.{name}: {said} is no text, number or true; leave out what is not to be set")


def _with_memory(given: Mapping[str, Any]) -> dict[str, Any]:
    """`mem_gb` as sbatch's --mem in its own unit, of 2^20 bytes."""
    parameters = dict(given)
    if "mem_gb" in parameters:
        memory = parameters.pop("mem_gb")
        if "mem" in parameters:
            raise UserError("execution.slurm: mem and mem_gb are both given; leave one out")
        parameters["mem"] = f"{math.ceil(check_number(memory, 'execution.slurm.mem_gb', above=0) * 1024)}M"
    return parameters
