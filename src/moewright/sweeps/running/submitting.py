"""The folder of a sweep as the submitter uses it: whose it is, which specifications and runs it knows."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moewright.errors import RunStopped, UserError
from moewright.experiment import run_folder
from moewright.experiment.locks import holding
from moewright.experiment.sweep_folder import (
    ATTEMPTS,
    CELLS,
    JOBS,
    RUNS,
    SUBMITTER,
    SWEEP,
    CellRecord,
    NotedSpecification,
    SubmitterRecord,
    SweepRecord,
    cell_path,
    read_cells,
    run_path,
)
from moewright.sweeps.planner import PlannedRun, Planner
from moewright.sweeps.trainers.cell_folders import write_cell_folder
from moewright.sweeps.trainers.trainer import CellRun

_LOCK = ".lock"


@contextmanager
def submitting(out: Path) -> Iterator[None]:
    """Be the one submitter of a sweep's folder, which is made if need be.

    UserError if it is somebody else's; RunStopped when the disk is full, then or inside the block.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out: {out} cannot be used: {error.strerror}") from None
    check_folder(out)
    try:
        with _lock(out):
            SubmitterRecord(pid=os.getpid(), host=platform.node(), time=time.time()).write(out / SUBMITTER)
            if not (out / SWEEP).is_file():  # the first thing to be seen: a folder without it is no sweep's
                SweepRecord().write(out / SWEEP)
            for name in (CELLS, ATTEMPTS, RUNS, JOBS):
                (out / name).mkdir(exist_ok=True)
            yield
    except OSError as error:
        raise RunStopped(
            f"{error.filename or out}: {error.strerror or error}; runs under way go on by themselves, and the same "
            "command goes on from here"
        ) from None


@contextmanager
def _lock(out: Path) -> Iterator[None]:
    with holding(out / _LOCK) as is_mine:
        if not is_mine:
            raise UserError(
                f"out: another `moewright sweep` is at work in {out}{_holder(out)}; --watch shows its progress"
            )
        yield


def check_folder(out: Path) -> None:
    """UserError if a folder holds something else than a sweep; a folder that is not there is fine."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"out: {out} is not a folder")
    if (out / SWEEP).is_file():
        SweepRecord.read(out / SWEEP)
        return
    others = [path.name for path in out.iterdir() if not path.name.startswith(".")]
    if run_folder.RUN in others:
        raise UserError(f"out: {out} is the folder of a run, not of a sweep; name a new folder")
    if others:
        raise UserError(f"out: {out} is not empty and holds no sweep ({SWEEP}); name a new folder")


def note_specification(out: Path, specification: dict[str, Any], code: str) -> None:
    """Add a specification to the ones that were run here, unless it is the last one."""
    path = out / SWEEP
    known = SweepRecord.read(path).specifications
    if not known or (known[-1].specification, known[-1].code) != (specification, code):
        noted = NotedSpecification(specification=specification, code=code, time=time.time())
        SweepRecord(specifications=(*known, noted)).write(path)


def note_run(out: Path, planner: Planner, run: PlannedRun) -> None:
    """Write what a run is, once; again only when it serves another stage too."""
    path = cell_path(out, run.id)
    if path.is_file() and CellRecord.read(path).stage == run.stage:
        return
    cell = CellRecord(
        id=run.id,
        settings=run.settings,
        stage=run.stage,
        group=run.group,
        recipe=run.recipe.to_dict(),
        data_fingerprint=planner.fingerprint(run.recipe),
        initial_weights=planner.initial_weights(run.recipe),
        training_version=planner.training_version,
        code=planner.code,
        warnings=run.recipe.warnings,
        trainer=None if planner.trainer is None else planner.trainer.decisive(),
    )
    cell.write(path)


def write_trainer_folder(out: Path, planner: Planner, run: PlannedRun) -> Path | None:
    """All that another trainer is started with for a run; None: the lab needs nothing. Raises OSError."""
    if planner.trainer is None:
        return None
    told = CellRun(
        id=run.id,
        recipe=run.recipe,
        dataset=planner.dataset(run.recipe),
        folder=run_path(out, run.id),
        execution=planner.spec.execution,
        beside=planner.beside,
    )
    return write_cell_folder(out, told, planner.trainer)


def _holder(out: Path) -> str:
    try:
        found = SubmitterRecord.read(out / SUBMITTER)
    except UserError:
        return ""
    return f" (process {found.pid} on {found.host})"


ADD_OR_MOVE = "name a new folder, or --add to run these beside them"


def check_noted(out: Path, specification: dict[str, Any], planner: Planner) -> None:
    """UserError unless a specification was run in a folder, or all that it says for certain to run is there."""
    noted = SweepRecord.read(out / SWEEP).specifications
    if not noted or any(each.specification == specification for each in noted):
        return
    planned = [run.id for run in planner.plan({}).known]
    missing = sum(not cell_path(out, run).is_file() for run in planned)
    if missing:
        raise UserError(
            f"out: {out} holds another sweep: {missing:,} of this specification's {len(planned):,} runs are not there; "
            "give the one that runs there"
        )


def runs_beside(out: Path, planner: Planner, add: bool, remedy: str = ADD_OR_MOVE) -> int:
    """How many runs of the folder are none of this sweep's. UserError if no run is, unless it is to be added there.

    Then it is another sweep's folder, or other tokens or other code would train everything again: seldom meant.
    """
    cells = {path.stem for path in (out / CELLS).glob("*.json")}
    own = {run.id for run in planner.plan({}).known} & cells
    if not cells or own or add:
        return len(cells) - len(own)
    other = next(iter(read_cells(out).values()), None)
    why = "it is another sweep's"
    if other is not None and other.training_version != planner.training_version:
        version = "unknown" if other.training_version is None else other.training_version
        why = f"other code trained them (training version {version}, now {planner.training_version}), or {why}"
    elif other is not None and other.data_fingerprint not in map(planner.fingerprint, planner.recipes):
        why = "they have other tokens"
    raise UserError(f"out: {out} holds {len(cells):,} runs and none of this specification's: {why}; {remedy}")
