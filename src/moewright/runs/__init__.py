"""The run table: one row per training run, read, checked, completed and diagnosed before any fit."""

from pathlib import Path

import pandas as pd

from moewright.runs.derived import derive
from moewright.runs.diagnosis import diagnose
from moewright.runs.importers import IMPORTERS, import_source
from moewright.runs.schema import SCHEMA, RunColumn
from moewright.runs.table_files import read_frame
from moewright.runs.validation import require, validate

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


def load(path: str | Path, source: str | None = None) -> pd.DataFrame:
    """Read a run table from CSV, Parquet or JSON lines.

    With `source`, the file is one of the public tables in `IMPORTERS` and is mapped to the schema, its other columns
    kept. Raises UserError, in one line naming row and column, for whatever cannot be right.

    >>> from moewright import runs
    >>> table = runs.load("examples/small_mixtures/runs.parquet")
    >>> len(table), float(table["loss"].min().round(3))
    (130, 4.312)
    """
    frame = read_frame(path)
    if source is not None:
        frame = import_source(frame, source, str(path))
    return prepare(frame, str(path))


def prepare(frame: pd.DataFrame, where: str = "run table") -> pd.DataFrame:
    """A data frame made a run table: validated, and completed with the variables that follow from it.

    `where` names the frame in messages. The frame itself is not changed.
    """
    return derive(validate(frame, where), where)


def __dir__() -> list[str]:
    return __all__
