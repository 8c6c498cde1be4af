"""`moewright runs`: the run table of folders, whoever trained and logged."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from moewright.commands.checking import as_list, command, writes
from moewright.complaints import check_number
from moewright.errors import UserError
from moewright.outputs import CURVES, RUN_TABLE

if TYPE_CHECKING:
    import pandas as pd

    from moewright.experiment.collecting.collection import RunTable

AUTO, OUR_OWN = "auto", "moewright"


@command
@writes(out=RUN_TABLE, curves=CURVES)
def collect_runs(
    path: str | Path | Iterable[str | Path],
    out: str | Path | None = None,
    curves: str | Path | None = None,
    *,
    from_: str = AUTO,
    map_: str | Path | None = None,
    final_tokens: float | None = None,
    force: bool = False,
) -> RunTable:
    """What came of my runs? The run table, made anew from their files at any time, and what to know before a fit.

    Runs may be under way. One of moewright's that did not finish has a row without a loss; one of another trainer has
    its last evaluation and another status than finished. What cannot be read is left out and named among the findings.
    Nothing but `out` and `curves` is written.

    Args:
        path: A sweep's or a run's folder, or folders and files with runs of any logger anywhere below.
        out: Run table for `fit`: .parquet, .csv or .jsonl.
        curves: Learning curves: .parquet or .csv.gz.
        from_: Who logged: auto, moewright, wandb, tensorboard, mlflow, ... (docs/how-to/runs_from_any_logger.md).
        map_: YAML file: our column, and the logger's metric or setting that it is of.
        final_tokens: Loss as the mean of the training loss over so many last tokens, not the last evaluation.
        force: Replace existing files. Without it only Parquet that this command wrote is replaced; inputs never are.

    Raises:
        UserError: For a folder without a readable run, or with moewright's own among others', or a place where nothing
            can be written.
        RunStopped: When such a place was lost meanwhile; says where the result is instead.
    """
    from moewright.experiment.collecting.collection import collect, holds_own_runs, refuse_mixed
    from moewright.experiment.collecting.logged_runs import collect_logs
    from moewright.runs.table_files import is_run_table

    paths = [Path(each) for each in as_list(path)]
    if final_tokens is not None:
        check_number(final_tokens, "final-tokens", above=0)
    if from_ == AUTO:
        if made := next((each for each in paths if each.is_file() and is_run_table(each)), None):
            raise UserError(f"path: {made} is a run table already; `fit`, `next` and `report` take it as it is")
        refuse_mixed(paths)
    own = from_ == OUR_OWN or (from_ == AUTO and len(paths) == 1 and holds_own_runs(paths[0]))
    if own:
        if len(paths) > 1:
            raise UserError("path: of moewright's own runs one folder is read at a time")
        for name, value in (("map", map_), ("final-tokens", final_tokens)):
            if value is not None:
                raise UserError(f"{name}: is for other loggers' runs; those of moewright say it themselves")
        return collect(paths[0], out, curves, force)
    only = None if from_ == AUTO else from_
    from moewright.exporters.trained_models import trained_model

    mapping = None if map_ is None else Path(map_)
    return collect_logs(paths, out, curves, only, mapping, final_tokens, force, trained_model)


def run_table_of(runs: str | Path | pd.DataFrame) -> pd.DataFrame:
    """The run table that a file holds, that a folder's runs make, or that a data frame is."""
    import moewright.runs as run_tables

    if isinstance(runs, str | Path) and Path(runs).is_dir():
        return collect_runs(runs).table
    return run_tables.load(runs) if isinstance(runs, str | Path) else run_tables.prepare(runs)
