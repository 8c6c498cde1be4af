"""Names in the folder of a sweep.

sweep.json           every specification that was ever run here
cells/<id>.json      what a run is; written once
attempts/<id>.jsonl  append-only: a line when a worker begins and one when it ends; <id>.lock is held in between
runs/<id>/           the run's own folder (`experiment.run_folder`)
jobs/<id>/<attempt>/ submitit's files; a file `stop` there asks a worker that has not begun not to
"""

from pathlib import Path

SWEEP, CELLS, ATTEMPTS, RUNS, JOBS = "sweep.json", "cells", "attempts", "runs", "jobs"
STOP = "stop"


def attempts_file(out: Path, run: str) -> Path:
    """Where a run's attempts are noted."""
    return out / ATTEMPTS / f"{run}.jsonl"


def attempts_lock(out: Path, run: str) -> Path:
    """What the worker that is at a run holds."""
    return out / ATTEMPTS / f"{run}.lock"


def run_path(out: Path, run: str) -> Path:
    """The run's own folder."""
    return out / RUNS / run
