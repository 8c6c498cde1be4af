"""The run table: one row per training run, read, checked, completed and diagnosed before any fit."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from moewright.runs.derived import derive
from moewright.runs.diagnosis import diagnose
from moewright.runs.importers import IMPORTERS, import_source
from moewright.runs.schema import SCHEMA, RunColumn
from moewright.runs.table_files import read_frame
from moewright.runs.validation import require, under_names, validate

__all__ = [
    "IMPORTERS",
    "SCHEMA",
    "RunColumn",
    "derive",
    "diagnose",
    "load",
    "prepare",
    "require",
    "validate",
]


def load(path: str | Path, source: str | None = None, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read a run table from CSV, Parquet or JSON lines.

    With `source`, the file is one of the public tables in `IMPORTERS` and is mapped to the schema, its other columns
    kept. `columns`: names of ours -> what the table calls them. Raises UserError, in one line naming row and column,
    for whatever cannot be right.

    >>> from moewright import runs
    >>> table = runs.load("examples/small_mixtures/runs.parquet")
    >>> len(table), float(table["loss"].min().round(3))
    (130, 4.312)
    """
    frame = read_frame(path)
    if source is not None:
        frame = import_source(frame, source, str(path))
    return prepare(frame, str(path), columns)


def prepare(frame: pd.DataFrame, where: str = "run table", columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """A data frame made a run table: validated, and completed with the variables that follow from it.

    `where` names the frame in messages; `columns`: names of ours -> what the frame calls them. The frame itself is not
    changed.
    """
    if columns:
        frame = under_names(frame, columns, where)
    return derive(validate(frame, where), where)


def __dir__() -> list[str]:
    return __all__
