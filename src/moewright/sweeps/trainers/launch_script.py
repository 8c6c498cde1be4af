"""launch.sh of a run: one start of its trainer, by a worker of the sweep or by people in their own way."""

from pathlib import Path

from moewright.errors import UserError
from moewright.experiment.sweep_folder import attempts_lock
from moewright.experiment.trainer_folder import EXIT_CODE, OUTPUT, PRINTED
from moewright.foreign_text import shell_words
from moewright.sweeps.sweep_spec import Execution

HELD = "MOEWRIGHT_LOCK_IS_HELD"
"""Set where a worker starts the script: it holds the run's lock, which the trainer inherits."""
BUSY = 75
"""Exit code where another process is at the run: EX_TEMPFAIL of sysexits.h."""

_SCRIPT = """#!/bin/bash
{header}# Run {run}. Written by `moewright sweep`, which writes it again: what you change here is lost.
cd {folder} || exit 1
if [ -z "${{{held}:-}}" ]; then
  exec 9>>{lock}
  if command -v flock >/dev/null && ! flock --nonblock 9; then
    echo "another process is at run {run}" >&2
    exit {busy}
  fi
fi
if [ "$(cat {code} 2>/dev/null)" = 0 ]; then
  echo "run {run} has ended well; delete $PWD/{code} to start it again"
  exit 0
fi
rm -f {code}
{fresh}mkdir -p {output}
stopped=
trap 'stopped=1' TERM INT
(
{command}
) >>{printed} 2>&1
code=$?
# A trainer that was told to stop is not done, however it ends: the next start goes on with it.
if [ -z "$stopped" ]; then
  echo "$code" >{code}.new && mv {code}.new {code}
fi
exit "$code"
"""
_FRESH = """# It cannot go on where it was: what an earlier start left is put aside.
if [ -e {output} ] || [ -e {printed} ]; then
  aside=1
  while [ -e "earlier-$aside" ]; do aside=$((aside + 1)); done
  mkdir "earlier-$aside" || exit 1
  for each in {output} {printed}; do
    if [ -e "$each" ]; then mv "$each" "earlier-$aside/" || exit 1; fi
  done
fi
"""


def launch_script(out: Path, run: str, folder: Path, command: str, resumes: bool, execution: Execution) -> str:
    """The script of a run in the sweep's folder `out`; `folder` is the run's. UserError for paths of no shell."""
    try:
        lock, place = shell_words(attempts_lock(out, run)), shell_words(folder)
    except ValueError as error:
        raise UserError(f"out: {out} cannot be written in a script: {error}") from None
    names = {"output": OUTPUT, "printed": PRINTED}
    return _SCRIPT.format(
        header=_sbatch_header(run, execution),
        run=run,
        folder=place,
        held=HELD,
        lock=lock,
        busy=BUSY,
        code=EXIT_CODE,
        fresh="" if resumes else _FRESH.format(**names),
        command=command.rstrip("\n"),
        **names,
    )


def _sbatch_header(run: str, execution: Execution) -> str:
    """What sbatch reads from the script; elsewhere these are comments."""
    options = {"job-name": f"moewright-{run}", "cpus-per-task": str(execution.cores_per_run or 1)}
    if execution.gpus_per_run:
        options["gpus-per-node"] = str(execution.gpus_per_run)
    if execution.time_limit is not None:
        options["time"] = str(max(1, round(execution.time_limit)))
    for name in ("partition", "account", "qos", "constraint", "mem"):
        if name in execution.slurm:
            options[name] = str(execution.slurm[name])
    if "mem_gb" in execution.slurm:
        options["mem"] = f"{execution.slurm['mem_gb']}G"
    return "".join(f"#SBATCH --{name}={' '.join(value.split())}\n" for name, value in options.items())
