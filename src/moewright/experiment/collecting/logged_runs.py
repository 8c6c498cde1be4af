"""`moewright runs` of what other trainers logged: rows by `runs.readers`, checked, diagnosed and written as our own."""

from collections.abc import Sequence
from pathlib import Path

from moewright.errors import UserError
from moewright.experiment.collecting.collection import (
    RunTable,
    diagnose_ended,
    numbered,
    prepare_rows,
)
from moewright.experiment.collecting.findings import about_mixtures, finding
from moewright.outputs import RUN_TABLE, RUN_TABLE_MARK, Destination, deliver
from moewright.runs.readers.column_map import ColumnMap
from moewright.runs.readers.discovery import LOG_FORMATS, find_logs
from moewright.runs.readers.logged_rows import rows_of
from moewright.runs.table_files import TABLE_ENDINGS, check_ending, write_frame

# `train_loss` is taken for a slip where there is no `train_flops`.
ALWAYS = ("train_flops", "active_params", "total_params", "num_experts", "top_k", "train_tokens", "learning_rate")


def collect_logs(
    paths: Sequence[Path],
    out: str | Path | None = None,
    only: str | None = None,
    mapping: Path | None = None,
    final_tokens: float | None = None,
    force: bool = False,
) -> RunTable:
    """The table of all runs of any logger below the paths.

    `only` is one of the formats; `mapping` a file that says which metric or setting is which column. `final_tokens`
    makes `loss` the mean of the training loss over so many last tokens. Raises UserError where nothing can be read.
    """
    if out is not None:
        check_ending(Path(out), TABLE_ENDINGS, "out")
    columns = None if mapping is None else ColumnMap.read(mapping)
    logs, problems = find_logs(paths, only)
    if not logs:
        where = ", ".join(str(path) for path in paths)
        first = f"; {problems[0].detail}" if problems else ""
        raise UserError(f"{where}: holds no runs; read are those of moewright and of {', '.join(LOG_FORMATS)}{first}")
    rows, found = rows_of(logs, paths, columns, final_tokens)
    rows = [dict.fromkeys(ALWAYS) | row for row in rows]
    without = [row["run_id"] for row in rows if "architecture" not in row]
    if without and len(without) < len(rows):  # a table has it in every row or in none; what it counts stays
        for row in rows:
            row.pop("architecture", None)
        detail = f"{len(without)} runs have none ({without[0]} is the first), so the table has only the sizes"
        found.append(("", "no architecture", "architecture", detail))
    findings = [finding("", "unreadable", "", problem.detail) for problem in problems]
    findings += [finding(run, problem, column, detail) for run, problem, column, detail in found]
    table, wrong = prepare_rows(rows, str(paths[0]))
    findings += wrong
    if table.empty:
        raise UserError(f"{paths[0]}: none of its {len(rows)} runs can be read; {(wrong or findings)[0].detail}")
    findings += [*diagnose_ended(table), *about_mixtures(table)]
    if out is not None:
        place = Destination("out", out, RUN_TABLE)
        deliver((place, lambda path: write_frame(table, path, RUN_TABLE_MARK)), force=force)
    written = () if out is None else (Path(out),)
    return RunTable(paths[0], table, numbered(findings, table), False, written)
