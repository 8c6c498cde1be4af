"""The folder of a sweep, and the records in it that say which runs it has. No torch.

sweep.json           every specification that was ever run here (`SweepRecord`)
.submitter.json      who submits its runs now (`SubmitterRecord`)
cells/<id>.json      what a run is (`CellRecord`); written once
attempts/<id>.jsonl  append-only: a line when a worker begins and one when it ends (`experiment.attempts`); <id>.lock is
                     held in between
runs/<id>/           the run's own folder (`experiment.run_folder`)
launch/<id>/         with --write-only: the recipe of a run of the lab's, and the script by which people start it
jobs/<id>/<attempt>/ submitit's files; a file `stop` there asks a worker that has not begun not to
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from moewright.errors import UserError
from moewright.experiment import initial_weights, run_folder
from moewright.experiment.identity import FORMER_CODE, RunIdentity
from moewright.experiment.recipe import Recipe
from moewright.experiment.schedule import peak_learning_rate
from moewright.experiment.trainer_folder import reached_step
from moewright.records import Count, FileRecord, Items, Record, Sha256
from moewright.sealed_records import SealedRecord

SWEEP, CELLS, ATTEMPTS, RUNS, JOBS = "sweep.json", "cells", "attempts", "runs", "jobs"
SUBMITTER = ".submitter.json"
STOP = "stop"

SweepStage = Literal["tune", "main", "tune+main"]
"""What a run of a sweep is for: to find a learning rate, a cell's result, or both."""


def attempts_file(out: Path, run: str) -> Path:
    """Where a run's attempts are noted."""
    return out / ATTEMPTS / f"{run}.jsonl"


def attempts_lock(out: Path, run: str) -> Path:
    """What the worker that is at a run holds."""
    return out / ATTEMPTS / f"{run}.lock"


def run_path(out: Path, run: str) -> Path:
    """The run's own folder."""
    return out / RUNS / run


def launch_path(out: Path, run: str) -> Path:
    """Where people find what starts a run of the lab's."""
    return out / "launch" / run


def cell_path(out: Path, run: str) -> Path:
    """What a run is."""
    return out / CELLS / f"{run}.json"


class NotedSpecification(Record):
    """A specification that was run in a folder."""

    specification: dict[str, Any]
    """As it was given, with the recipe that it names."""
    code: str
    """The digest of the sources; for the record only."""
    time: float
    """Unix time by the clock of the submitter's machine."""


class SweepRecord(FileRecord):
    """sweep.json: every specification that was ever run in a folder."""

    format: Literal["moewright-sweep-folder/1"] = "moewright-sweep-folder/1"
    specifications: Items[NotedSpecification] = ()


class SubmitterRecord(FileRecord):
    """.submitter.json: who is at work in a folder, to name in a complaint; what keeps others out is a lock."""

    format: Literal["moewright-submitter/1"] = "moewright-submitter/1"
    version_without_format = 1
    pid: Count
    host: str
    time: float
    """Unix time by the clock of the submitter's machine."""


class CellRecord(SealedRecord):
    """cells/<id>.json: what a run of a sweep is."""

    remedy: ClassVar[str] = "delete it: `moewright sweep` writes it again"
    format: Literal["moewright-cell/2"] = "moewright-cell/2"
    version_without_format = 0
    id: str
    settings: dict[str, Any]
    """What the axes set, and the seed."""
    stage: SweepStage
    group: str | None
    """Whose learning rate it shares, in words; None without tuning."""
    recipe: dict[str, Any]
    """Resolved; `Recipe.from_dict` takes it."""
    data_fingerprint: str
    initial_weights: Sha256 | None = None
    """The fingerprint of the recipe's; see `initial_weights.fingerprint`. None: without them, or not recorded."""
    training_version: int | None
    """See `identity.TRAINING_VERSION`. None: of code before there were versions, not known to compute the same."""
    code: str | None
    """The digest of the sources that planned it; for the record only."""
    warnings: Items[str] = ()
    trainer: dict[str, Any] | None = None
    """Another trainer than the lab, with what decides of it; see `RunIdentity.trainer`."""

    def identity(self) -> RunIdentity:
        """What makes it the run that it is.

        Raises UserError for a recipe that this version cannot read, and for initial weights that are gone and whose
        fingerprint is not recorded.
        """
        rate = self.recipe.get("learning_rate")
        peak = rate if isinstance(rate, float) else peak_learning_rate(Recipe.from_dict(self.recipe))
        weights = self.initial_weights
        if weights is None and self.recipe.get("initial_weights") is not None:  # of a version that noted the path alone
            weights = initial_weights.fingerprint(Recipe.from_dict(self.recipe))
        version = self.training_version
        return RunIdentity.recorded(self.recipe, peak, self.data_fingerprint, version, weights, self.trainer)


@CellRecord.upgrade(0)
def _with_version(values: dict[str, Any]) -> dict[str, Any]:
    """Before there were versions, the digest of the sources stood for them."""
    return {**values, "training_version": FORMER_CODE.get(str(values.get("code")))}


@CellRecord.upgrade(1)
def _unsealed_cell(values: dict[str, Any]) -> dict[str, Any]:
    """Version 1 held no digest of itself."""
    return values


def read_cells(out: Path) -> dict[str, CellRecord]:
    """What is known of the runs of a folder, by id; damaged files and those of another run are left out."""
    found = {}
    for path in sorted((out / CELLS).glob("*.json")):
        try:
            cell = CellRecord.read(path)
        except UserError:
            continue
        if cell.id == path.stem:
            found[cell.id] = cell
    return found


def names_in_folder(out: Path, cells: Mapping[str, CellRecord]) -> dict[str, str]:
    """What the runs of a folder are called there, by the id that `identity.run_id` gives them now.

    A run keeps the name that it was begun under, so that a folder whose runs an older version named goes on as it is.
    Of several that are the same run by now, the one that came farthest counts.
    """
    names: dict[str, str] = {}
    for name, cell in cells.items():
        try:
            now = cell.identity().id
        except UserError:  # of a recipe that cannot be trained any more
            continue
        if now not in names or _progress(out, name) > _progress(out, names[now]):
            names[now] = name
    return names


def _progress(out: Path, run: str) -> tuple[bool, int]:
    folder = run_path(out, run)
    try:
        status = run_folder.read_status(folder)
    except UserError:
        status = None
    return status is not None and status.state in ("finished", "diverged"), reached_step(folder)
