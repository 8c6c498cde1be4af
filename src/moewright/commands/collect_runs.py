"""`moewright runs`: the run table of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from moewright.commands.checking import command

if TYPE_CHECKING:
    from moewright.experiment.collecting.collection import RunTable


@command
def collect_runs(path: str | Path, out: str | Path | None = None, curves: str | Path | None = None) -> RunTable:
    """What came of my runs? The run table, made anew from their files at any time, and what to know before a fit.

    Runs may be under way. One that did not finish has a row without a loss; one whose files cannot be read is left out
    and named among the findings. Nothing but `out` and `curves` is written.

    Args:
        path: A sweep's or a run's folder, or one with runs anywhere below it.
        out: Run table for `fit`: .parquet, .csv or .jsonl.
        curves: Learning curves: .parquet or .csv.gz.

    Raises:
        UserError: For a folder without a readable run.
    """
    from moewright.experiment.collecting.collection import collect

    return collect(path, out, curves)
