"""`moewright runs`: the run table, made anew from the files of runs at any time, while they run too. No torch."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

import moewright.runs as run_tables
from moewright.display import ShownTable
from moewright.errors import UserError
from moewright.experiment.attempts import begins
from moewright.experiment.binding import check_status
from moewright.experiment.collecting.findings import (
    RunFinding,
    about_attempts,
    about_mixtures,
    about_run,
    finding,
)
from moewright.experiment.collecting.learning_curves import read_curves, read_tail
from moewright.experiment.collecting.run_rows import (
    fact_columns,
    outcome_columns,
    settings_columns,
    trainer_columns,
)
from moewright.experiment.run_folder import CHECKPOINTS, METRICS, RUN, STATUS, RunRecord, is_run_folder
from moewright.experiment.states import STATES, UNDER_WAY, Observed, observe, observe_run, sweep_time
from moewright.experiment.sweep_folder import ATTEMPTS, CELLS, RUNS, SWEEP, CellRecord, run_path
from moewright.experiment.trainer_folder import is_of_another_trainer
from moewright.experiment.trainer_outcome import read_outcome
from moewright.outputs import CURVES, CURVES_MARK, RUN_TABLE, RUN_TABLE_MARK, Destination, deliver
from moewright.progress import track
from moewright.records import Items, Output
from moewright.runs.derived import model_of, read_architecture
from moewright.runs.readers.discovery import logged_places
from moewright.runs.schema import SCHEMA
from moewright.runs.table_files import LONG_ENDINGS, TABLE_ENDINGS, as_records, check_ending, frame_of, write_frame

AXIS_PREFIX = "axis_"
"""A column `axis_<setting>` holds what a sweep's axis set; mappings and lists as JSON."""
SHOWN_COLUMNS = ("run_id", "state", "active_params", "total_params", "train_tokens", "learning_rate", "loss")
"""Of a run table in a notebook; the frame has all."""


@dataclass(frozen=True)
class RunSource:
    """One run that should be in the table."""

    run_id: str
    folder: Path
    cell: Path | None = None
    """What a sweep says the run is; None outside of sweeps, and where the file is missing."""


class RunsAnswer(Output):
    """The run table of a folder, and what should be known before it is fitted."""

    command: ClassVar[str] = "runs"
    folder: str
    is_sweep: bool
    states: dict[str, int]
    """How many runs are in each state."""
    findings: Items[RunFinding]
    written: Items[str]
    """Files."""
    runs: Items[dict[str, bool | int | float | str | None]]
    """One row per run, by the columns of docs/run_table.md; null for what is missing or not finite."""


@dataclass(frozen=True, repr=False)
class RunTable(ShownTable):
    """The run table of a folder, and what should be known before it is fitted."""

    folder: Path
    table: pd.DataFrame
    """One row per run, as `moewright.runs.load` gives it; docs/run_table.md has the columns."""
    findings: tuple[RunFinding, ...]
    """row (from 1; None for a run that is not in the table, or for all), run_id, problem, column, detail."""
    is_sweep: bool
    written: tuple[Path, ...] = field(default=())

    @property
    def states(self) -> dict[str, int]:
        """How many runs are in each state."""
        counts = Counter(self.table["state"])
        return {state: counts[state] for state in STATES if counts[state]}

    def answer(self) -> RunsAnswer:
        """For JSON."""
        return RunsAnswer(
            folder=str(self.folder),
            is_sweep=self.is_sweep,
            states=self.states,
            findings=self.findings,
            written=tuple(str(path) for path in self.written),
            runs=tuple(as_records(self.table)),
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright runs --json`."""
        return self.answer().to_dict()

    def to_frame(self) -> pd.DataFrame:
        """The table itself, one row per run."""
        return self.table

    def _facts(self) -> dict[str, Any]:
        return {"folder": self.folder, "runs": len(self.table), **self.states, "findings": len(self.findings)}

    def _rows(self) -> list[dict[str, Any]]:
        columns = [name for name in SHOWN_COLUMNS if name in self.table]
        return [{str(name): value for name, value in row.items()} for row in self.table[columns].to_dict("records")]


def collect(
    folder: str | Path, out: str | Path | None = None, curves: str | Path | None = None, force: bool = False
) -> RunTable:
    """The table of all runs in a folder: a sweep's, a run's, or one with runs anywhere below it.

    `out` writes it for `fit` (.parquet, .csv or .jsonl), `curves` the learning curves (.parquet or .csv.gz). Nothing
    else is written, and no file of others is replaced without `force`; runs may be under way. Runs that did not finish
    have rows without a loss. A run whose files cannot be read is left out and named among the findings. Raises
    UserError for a folder without a readable run.

    The command line calls this `runs`, which in Python is the module of run tables: there it is
    `moewright.collect_runs`.
    """
    folder = Path(folder)
    for path, endings, option in ((out, TABLE_ENDINGS, "out"), (curves, LONG_ENDINGS, "curves")):
        if path is not None:
            check_ending(Path(path), endings, option)
    swept = is_sweep(folder)
    sources = find_runs(folder)
    now = sweep_time(folder) if swept else None
    rows, findings = [], []
    for source in track("reading", sources, len(sources), "runs"):
        try:
            row, found = _read(source, folder, swept, now)
        except UserError as error:
            findings.append(finding(source.run_id, "unreadable", "", str(error)))
        except OSError as error:
            findings.append(finding(source.run_id, "unreadable", "", f"{error.filename}: {error.strerror}"))
        else:
            rows.append(row)
            findings += found
    table, wrong = prepare_rows(rows, str(folder))
    findings += wrong
    if table.empty:
        raise UserError(f"{folder}: none of its {len(sources)} runs can be read; {findings[0].detail}")
    findings += [*diagnose_ended(table), *about_mixtures(table)]
    written = deliver_table(table, lambda: _curves(sources, set(table["run_id"])), out, curves, force)
    return RunTable(folder, table, numbered(findings, table), swept, written)


def _read(source: RunSource, folder: Path, swept: bool, now: float | None) -> tuple[dict[str, Any], list[RunFinding]]:
    """A run's row and what is wrong with it. Raises UserError, which names the file, and OSError."""
    cell = None if source.cell is None else CellRecord.read(source.cell)
    if cell is not None and cell.id != source.run_id:
        raise UserError(f"{source.cell}: is of run {cell.id}; {cell.remedy}")
    run = RunRecord.read(source.folder / RUN) if (source.folder / RUN).is_file() else None
    if run is not None:
        where, recipe, fingerprint = source.folder / RUN, run.recipe, run.data.fingerprint
        weights = run.initial_weights
    elif cell is not None and source.cell is not None:
        where, recipe, fingerprint = source.cell, cell.recipe, cell.data_fingerprint
        weights = cell.initial_weights
    else:
        raise UserError(f"{source.folder}: no {RUN} says what this run is")
    seen = observe(folder, source.run_id, now) if swept else observe_run(source.folder)
    if seen.problem is not None:
        raise UserError(seen.problem)
    if seen.status is not None and seen.state not in ("done", "diverged"):
        check_status(source.folder, run, seen.status)
    tail = read_tail(source.folder)
    row: dict[str, Any] = {
        "run_id": source.run_id,
        "source": source.folder.relative_to(folder).as_posix(),
    }
    try:
        row |= settings_columns(recipe, fingerprint, weights)
        read_architecture(row["architecture"])
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if run is not None:
        tokens = seen.status.tokens if seen.status is not None and seen.state == "done" else None
        known = fact_columns(run, row["batch_tokens"], tokens)
        row |= {name: value for name, value in known.items() if value is not None}
    row |= outcome_columns(recipe, None if run is None else run.facts.steps, seen.state, seen.status, tail)
    if swept:
        row |= _sweep_columns(cell, seen)
    found = list(about_attempts(source.run_id, seen.attempts, now))
    if is_of_another_trainer(source.folder):
        outcome = read_outcome(source.folder)
        row |= trainer_columns(outcome, cell)
        found += [finding(source.run_id, *each) for each in outcome.findings]
    else:
        found += about_run(source.run_id, run, cell, seen.state, seen.status, tail, model_of(row["architecture"]))
    if swept and cell is None:
        found.append(finding(source.run_id, "no cell", "", f"{source.folder}: the sweep does not know this run"))
    return row, found


def _sweep_columns(cell: CellRecord | None, seen: Observed) -> dict[str, Any]:
    return {
        "stage": None if cell is None else cell.stage,
        "group": None if cell is None else cell.group,
        "code": None if cell is None else cell.code,
        "attempts": len(begins(seen.attempts)),
        **{f"{AXIS_PREFIX}{name}": _plain(value) for name, value in ({} if cell is None else cell.settings).items()},
    }


def _plain(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value


def prepare_rows(rows: list[dict[str, Any]], where: str) -> tuple[pd.DataFrame, list[RunFinding]]:
    """The rows as a run table; those with impossible values are left out and named."""
    try:
        return _completed(rows, where), []
    except UserError:  # of one or more rows; which ones is slow to find out, and rare
        possible: list[dict[str, Any]] = []
        findings = []
        for row in rows:
            try:
                _completed([row], row["source"])
            except UserError as error:
                findings.append(finding(row["run_id"], "unreadable", "", str(error)))
            else:
                possible.append(row)
    return _completed(possible, where), findings


def _completed(rows: list[dict[str, Any]], where: str) -> pd.DataFrame:
    """Checked, with what follows from the architecture; the schema's columns first and in its order."""
    if not rows:
        return pd.DataFrame()
    table = run_tables.prepare(frame_of(rows), where)
    known = [column.name for column in SCHEMA if column.name in table]
    return table[[*known, *(name for name in table if name not in known)]]


def diagnose_ended(table: pd.DataFrame) -> Iterator[RunFinding]:
    """What the table's own diagnosis finds among runs that are not under way."""
    ended = table[~table["state"].isin(UNDER_WAY)]
    for record in run_tables.diagnose(ended).to_dict("records"):
        yield finding(record["run_id"], record["problem"], record["column"], record["detail"])


def numbered(findings: list[RunFinding], table: pd.DataFrame) -> tuple[RunFinding, ...]:
    """Findings with the numbers of their rows, those of no row first."""
    rows = {run: number for number, run in enumerate(table["run_id"], start=1)}
    numbered = [each.model_copy(update={"row": rows.get(each.run_id)}) for each in findings]
    return tuple(sorted(numbered, key=lambda each: each.row or 0))


def deliver_table(
    table: pd.DataFrame,
    long: Callable[[], pd.DataFrame],
    out: str | Path | None,
    curves: str | Path | None,
    force: bool,
) -> tuple[Path, ...]:
    """Writes the run table, and the learning curves that `long` makes, where they are wanted; the files."""
    results: list[tuple[Destination, Callable[[Path], object]]] = []
    if out is not None:
        results.append((Destination("out", out, RUN_TABLE), lambda path: write_frame(table, path, RUN_TABLE_MARK)))
    if curves is not None:
        made = long()
        results.append((Destination("curves", curves, CURVES), lambda path: write_frame(made, path, CURVES_MARK)))
    deliver(*results, force=force)
    return tuple(Path(output.path) for output, _ in results)


def _curves(sources: list[RunSource], known: set[str]) -> pd.DataFrame:
    try:
        return read_curves((source.run_id, source.folder) for source in sources if source.run_id in known)
    except OSError as error:
        raise UserError(f"curves: {error.filename} cannot be read: {error.strerror}") from None


# Where the runs of a folder are


def is_sweep(folder: Path) -> bool:
    """Whether a folder is that of a sweep."""
    return (folder / SWEEP).is_file() or (folder / CELLS).is_dir()


def holds_own_runs(folder: Path) -> bool:
    """Whether runs of moewright's own lie in a folder; also of one that is not there, so that it is complained of."""
    return not folder.exists() or (
        folder.is_dir() and (is_sweep(folder) or is_run_folder(folder) or any(path.is_dir() for path in _below(folder)))
    )


def refuse_mixed(paths: Sequence[Path]) -> None:
    """UserError where runs of moewright's own lie among those of other loggers: one table says either in full."""
    own = next((path for path in paths if path.is_dir() and holds_own_runs(path)), None)
    if own is None:
        return
    if len(paths) > 1:
        raise UserError(f"path: {own} has runs of moewright's own; give it alone, and the others without it")
    if is_sweep(own) or is_run_folder(own):
        return  # what is in it is its own
    others = logged_places(own, lambda folder: is_sweep(folder) or is_run_folder(folder))
    if others:
        raise UserError(
            f"path: {own} has runs of moewright's own and {len(others):,} of other loggers ({others[0]} is the first); "
            "read the ones with --from moewright and the others with --from FORMAT"
        )


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
    elif is_run_folder(folder):
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
        if {RUN, METRICS, STATUS} & set(files) and Path(place) != folder and is_run_folder(Path(place)):
            found.append(Path(place))
            folders.clear()
        folders[:] = [name for name in folders if not name.startswith(".") and name != CHECKPOINTS]
    return sorted(found)


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if not path.name.startswith(".")]
