"""Where the runs of a folder are: a sweep's cells, or run folders wherever they lie. No torch."""

import os
from dataclasses import dataclass
from pathlib import Path

from moewright.errors import UserError
from moewright.experiment.run_folder import CHECKPOINTS, METRICS, RUN, STATUS
from moewright.experiment.sweep_layout import ATTEMPTS, CELLS, RUNS, SWEEP, run_path


@dataclass(frozen=True)
class RunSource:
    """One run that should be in the table."""

    run_id: str
    folder: Path
    cell: Path | None = None
    """What a sweep says the run is; None outside of sweeps, and where the file is missing."""


def is_sweep(folder: Path) -> bool:
    """Whether a folder is that of a sweep."""
    return (folder / SWEEP).is_file() or (folder / CELLS).is_dir()


def find_runs(folder: Path) -> list[RunSource]:
    """The runs of a sweep, of one run folder, or of all run folders below; in the order of their names.

    Hidden folders are skipped, and nothing inside a run folder is looked at. Raises UserError if there is no such
    folder, or no run in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a sweep's or a run's folder, or one that holds runs")
    if is_sweep(folder):
        cells = {path.stem for path in _entries(folder / CELLS) if path.suffix == ".json"}
        begun = {path.name for path in _entries(folder / RUNS) if path.is_dir()}
        tried = {path.stem for path in _entries(folder / ATTEMPTS) if path.suffix == ".jsonl"}
        found = [
            RunSource(run, run_path(folder, run), folder / CELLS / f"{run}.json" if run in cells else None)
            for run in sorted(cells | begun | tried)
        ]
    elif _is_run(folder):
        found = [RunSource(folder.resolve().name, folder)]
    else:
        found = [RunSource(path.relative_to(folder).as_posix(), path) for path in _below(folder)]
    if not found:
        raise UserError(f"{folder}: holds no runs (no {RUN} in it or below)")
    return found


def _below(folder: Path) -> list[Path]:
    found: list[Path] = []
    # A folder that cannot be listed stands among the runs, so that reading it names it.
    for place, folders, files in os.walk(folder, onerror=lambda error: found.append(Path(error.filename))):
        if {RUN, METRICS, STATUS} & set(files) and Path(place) != folder:
            found.append(Path(place))
            folders.clear()
        folders[:] = [name for name in folders if not name.startswith(".") and name != CHECKPOINTS]
    return sorted(found)


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (RUN, METRICS, STATUS))


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if not path.name.startswith(".")]
