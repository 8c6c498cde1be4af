"""Folders of runs, written before their trainer is started, and again where they would differ."""

import json
import os
from contextlib import suppress
from pathlib import Path

from moewright.errors import NewerFileError, UserError
from moewright.experiment.recipe import Recipe
from moewright.experiment.sweep_folder import launch_path, run_path
from moewright.experiment.trainer_folder import LAUNCH, TRAINER, TrainerRecord
from moewright.experiment.trainer_outcome import reopen
from moewright.files import replaced, write_text
from moewright.foreign_text import to_json
from moewright.sweeps.sweep_spec import Execution
from moewright.sweeps.trainers.launch_script import lab_launch_script, launch_script
from moewright.sweeps.trainers.trainer import CellRun, Trainer

RECIPE = "recipe.json"
"""What `moewright train` is told."""


def write_cell_folder(out: Path, run: CellRun, trainer: Trainer) -> Path:
    """All that a run is started with, in its folder of the sweep's folder `out`. Raises OSError, and UserError for a
    folder that a newer moewright wrote."""
    folder, recipe = run.folder, run.recipe
    path = folder / TRAINER
    noted = _noted(path)
    told = trainer.cell(run)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in told.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _write(folder / name, text)
    _write(folder / LAUNCH, launch_script(out, run.id, folder, told.command, told.resumes, run.execution))
    (folder / LAUNCH).chmod(0o755)
    record = TrainerRecord(
        id=run.id,
        trainer=trainer.name,
        steps=recipe.total_steps,
        batch_tokens=recipe.batch_tokens,
        counts_steps=told.counts_steps,
        loss=told.loss,
        resumes=told.resumes,
        checkpoints=told.checkpoints,
        notes=told.notes,
    )
    if noted != record:
        record.write(path)  # last: it says that the folder is complete
    reopen(folder)
    return folder


def write_lab_folder(out: Path, run: str, recipe: Recipe, execution: Execution) -> Path:
    """The recipe of a run of the lab's and the script that trains it, in a folder of their own. Raises OSError.

    Not in the run's folder: that one is `moewright train`'s, which takes a new one or its own.
    """
    folder = launch_path(out, run)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RECIPE
    _write(path, to_json(json.dumps(recipe.to_dict(), indent=1)) + "\n")
    _write(folder / LAUNCH, lab_launch_script(out, run, path, run_path(out, run), execution))
    (folder / LAUNCH).chmod(0o755)
    return folder


def _noted(path: Path) -> TrainerRecord | None:
    """What the file says; None: it is not there, or damaged. All of it follows from the specification."""
    try:
        return TrainerRecord.read(path) if path.is_file() else None
    except NewerFileError:
        raise
    except UserError:
        return None


def _write(path: Path, content: str | bytes | Path) -> None:
    """A file as it is to be, or a link to one; one that is already so is left alone."""
    with suppress(OSError):
        if isinstance(content, Path):
            if path.readlink() == content:
                return
        elif path.read_bytes() == (content.encode() if isinstance(content, str) else content):
            return
    if isinstance(content, Path):
        link = path.with_name(f"{path.name}.new")
        link.unlink(missing_ok=True)
        link.symlink_to(content)
        os.replace(link, path)  # the link itself: what an older one names is somebody else's
    elif isinstance(content, bytes):
        with replaced(path) as partial:
            partial.write_bytes(content)
    else:
        write_text(path, content)
