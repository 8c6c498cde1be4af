"""`moewright runs`: the run table of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from moewright.commands.checking import command, writes
from moewright.outputs import CURVES, RUN_TABLE

if TYPE_CHECKING:
    from moewright.experiment.collecting.collection import RunTable


@command
@writes(out=RUN_TABLE, curves=CURVES)
def collect_runs(
    path: str | Path, out: str | Path | None = None, curves: str | Path | None = None, *, force: bool = False
) -> RunTable:
    """What came of my runs? The run table, made anew from their files at any time, and what to know before a fit.

    Runs may be under way. One that did not finish has a row without a loss; one whose files cannot be read is left out
    and named among the findings. Nothing but `out` and `curves` is written.

    Args:
        path: A sweep's or a run's folder, or one with runs anywhere below it.
        out: Run table for `fit`: .parquet, .csv or .jsonl.
        curves: Learning curves: .parquet or .csv.gz.
        force: Replace existing files. Without it only Parquet that this command wrote is replaced; inputs never are.

    Raises:
        UserError: For a folder without a readable run, or a place where nothing can be written.
        RunStopped: When such a place was lost meanwhile; says where the result is instead.
    """
    from moewright.experiment.collecting.collection import collect

    return collect(path, out, curves, force)
