"""launch.sh of a run: one start of its trainer, by a worker of the sweep or by people in their own way."""

import sys
from pathlib import Path

from moewright.errors import UserError
from moewright.experiment.sweep_folder import attempts_lock
from moewright.experiment.trainer_folder import EXIT_CODE, OUTPUT, PRINTED
from moewright.foreign_text import shell_words
from moewright.sweeps.sbatch_options import sbatch_header, setup_lines
from moewright.sweeps.sweep_spec import Execution

HELD = "MOEWRIGHT_LOCK_IS_HELD"
"""Set where a worker starts the script: it holds the run's lock, which the trainer inherits."""
BUSY = 75
"""Exit code where another process is at the run: EX_TEMPFAIL of sysexits.h."""

_BEGIN = """#!/bin/bash
{header}# Run {run}. Written by `moewright sweep`, which writes it again: what you change here is lost.
cd {folder} || exit 1
if [ -z "${{{held}:-}}" ]; then
  exec 9>>{lock}
  if ! command -v flock >/dev/null; then
    echo "warning: flock is not here, so nothing keeps a second start of run {run} from running beside this one" >&2
  elif ! flock --nonblock 9; then
    echo "another process is at run {run}" >&2
    exit {busy}
  fi
fi
"""
_SCRIPT = """if [ "$(cat {code} 2>/dev/null)" = 0 ]; then
  echo "run {run} has ended well; delete $PWD/{code} to start it again"
  exit 0
fi
rm -f {code}
{fresh}mkdir -p {output}
{setup}stopped=
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
_SETUP = """# execution.slurm.setup: in a job that sbatch started; a worker's job has done it.
if [ -n "${{SLURM_JOB_ID:-}}" ] && [ -z "${{{held}:-}}" ]; then
  :
{lines}
fi
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
    """The script of a run in the sweep's folder `out`; `folder` is the run's. UserError for paths of no shell,
    and for parameters of Slurm that cannot be set."""
    names = {"output": OUTPUT, "printed": PRINTED}
    return _begin(out, run, folder, execution) + _SCRIPT.format(
        run=run,
        code=EXIT_CODE,
        fresh="" if resumes else _FRESH.format(**names),
        setup=_setup(execution),
        command=command.rstrip("\n"),
        **names,
    )


def lab_launch_script(out: Path, run: str, recipe: Path, folder: Path, execution: Execution) -> str:
    """The script of a run of the lab's in the sweep's folder `out`: it trains the file `recipe` in `folder`. UserError
    as above."""
    threads = f"export OMP_NUM_THREADS={execution.cores_per_run}\n" if execution.cores_per_run else ""
    # The shell becomes the trainer, which thus hears of SIGTERM and keeps the lock.
    train = shell_words(sys.executable, "-m", "moewright", "train", recipe, "--out", folder)
    return f"{_begin(out, run, out, execution)}{_setup(execution)}{threads}exec {train}\n"


def _begin(out: Path, run: str, folder: Path, execution: Execution) -> str:
    try:
        lock, place = shell_words(attempts_lock(out, run)), shell_words(folder)
    except ValueError as error:
        raise UserError(f"out: {out} cannot be written in a script: {error}") from None
    return _BEGIN.format(header=sbatch_header(run, execution), run=run, folder=place, held=HELD, lock=lock, busy=BUSY)


def _setup(execution: Execution) -> str:
    lines = "\n".join(setup_lines(execution))
    return _SETUP.format(held=HELD, lines=lines) if lines else ""
