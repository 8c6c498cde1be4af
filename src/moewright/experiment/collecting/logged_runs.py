"""`moewright runs` of what other trainers logged: rows by `runs.readers`, checked, diagnosed and written as our own."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from moewright.errors import UserError
from moewright.experiment.collecting.collection import (
    RunTable,
    deliver_table,
    diagnose_ended,
    numbered,
    prepare_rows,
)
from moewright.experiment.collecting.findings import about_mixtures, finding
from moewright.experiment.collecting.learning_curves import CurvePoint, curve_frame
from moewright.experiment.run_folder import is_run_folder
from moewright.quantities import counted
from moewright.runs.readers.column_map import ColumnMap
from moewright.runs.readers.discovery import LOG_FORMATS, find_logs
from moewright.runs.readers.logged_rows import ModelReader, loss_series, rows_of
from moewright.runs.readers.metric_roles import learning_rates
from moewright.runs.readers.run_log import RunLog
from moewright.runs.table_files import LONG_ENDINGS, TABLE_ENDINGS, check_ending

# `train_loss` is taken for a slip where there is no `train_flops`.
ALWAYS = ("train_flops", "active_params", "total_params", "num_experts", "top_k", "train_tokens", "learning_rate")


def collect_logs(
    paths: Sequence[Path],
    out: str | Path | None = None,
    curves: str | Path | None = None,
    only: str | None = None,
    mapping: Path | None = None,
    final_tokens: float | None = None,
    force: bool = False,
    read_model: ModelReader | None = None,
) -> RunTable:
    """The table of all runs of any logger below the paths.

    `only` is one of the formats; `mapping` a file that says which metric or setting is which column. `final_tokens`
    makes `loss` the mean of the training loss over so many last tokens; `read_model` knows models by other settings
    than a Hugging Face config. Raises UserError where nothing can be read.
    """
    for path, endings, option in ((out, TABLE_ENDINGS, "out"), (curves, LONG_ENDINGS, "curves")):
        if path is not None:
            check_ending(Path(path), endings, option)
    columns = None if mapping is None else ColumnMap.read(mapping)
    logs, problems = find_logs(paths, only, is_run_folder)
    if not logs:
        where = ", ".join(str(path) for path in paths)
        first = f"; {problems[0].detail}" if problems else ""
        raise UserError(f"{where}: holds no runs; read are those of moewright and of {', '.join(LOG_FORMATS)}{first}")
    known = {} if read_model is None else {"read_model": read_model}
    rows, found = rows_of(logs, paths, columns, final_tokens, **known)
    rows = [dict.fromkeys(ALWAYS) | row for row in rows]
    without = [row["run_id"] for row in rows if "architecture" not in row]
    if without and len(without) < len(rows):  # a table has it in every row or in none; what it counts stays
        for row in rows:
            row.pop("architecture", None)
        detail = (
            f"no model: {counted(len(without), 'run')} ({without[0]} is the first), so the table has only the sizes"
        )
        found.append(("", "no architecture", "architecture", detail))
    findings = [finding("", "unreadable", "", problem.detail) for problem in problems]
    findings += [finding(run, problem, column, detail) for run, problem, column, detail in found]
    table, wrong = prepare_rows(rows, str(paths[0]))
    findings += wrong
    if table.empty:
        raise UserError(f"{paths[0]}: none of its {len(rows)} runs can be read; {(wrong or findings)[0].detail}")
    findings += [*diagnose_ended(table), *about_mixtures(table)]
    written = deliver_table(table, lambda: _curves(logs, rows, set(table["run_id"]), columns), out, curves, force)
    return RunTable(paths[0], table, numbered(findings, table), False, written)


def _curves(
    logs: Sequence[RunLog], rows: Sequence[Mapping[str, Any]], known: set[str], mapping: ColumnMap | None
) -> pd.DataFrame:
    """Learning curves of the runs that are in the table, as `read_curves` has those of our own."""
    points: list[CurvePoint] = []
    for log, row in zip(logs, rows, strict=True):
        if row["run_id"] in known:
            points += _points(log, row["run_id"], row["batch_tokens"], mapping)
    return curve_frame(points)


def _points(log: RunLog, run_id: str, batch_tokens: float | None, mapping: ColumnMap | None) -> Iterator[CurvePoint]:
    """Tokens are steps times those of one, where these are known."""
    losses = loss_series(log, mapping)
    name = next(iter(learning_rates(log.points)), None)
    rates = {} if name is None else dict(losses.settled.points[name])

    def point(kind: Literal["train", "evaluation"], step: int, loss: float, rate: float | None) -> CurvePoint:
        tokens = None if batch_tokens is None else batch_tokens * step
        return CurvePoint(run_id, kind, step, tokens, loss if math.isfinite(loss) else None, rate)

    for step, loss in losses.training:
        yield point("train", step, loss, rates.get(step))
    for step, loss in losses.evaluations:
        yield point("evaluation", step, loss, None)
