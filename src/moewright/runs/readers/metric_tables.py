"""Tables of metrics: CSV and Parquet of anyone's own, of Lightning's CSVLogger, and of W&B's exports.

A table has one row a step, with a column for each metric; or, with a column that names runs, several runs; or, with a
row per run and no step, what runs were set to.
"""

import csv
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from moewright.errors import UserError
from moewright.runs.readers.opening import log_lines, read_head
from moewright.runs.readers.own_steps import step_name
from moewright.runs.readers.run_log import RunEnding, RunLog, name_of, number, plain_setting, whole

FORMAT = "table"
RUN_COLUMNS = ("run", "run_id", "run_name", "name", "Name", "Run", "experiment")
_CHART = re.compile(r"(.+) - ([^-]+?)(__MIN|__MAX)?")
_ENDS: dict[str, RunEnding] = {
    "finished": "finished",
    "crashed": "failed",
    "failed": "failed",
    "killed": "failed",
    "running": "unfinished",
    "preempted": "unfinished",
}
_STATES = ("State", "state", "status")
HPARAMS = "hparams.yaml"


def claims(path: Path, head: bytes) -> bool:
    """Whether the first line names columns of which one is a step, or one a run."""
    if head.startswith(b"PAR1"):
        return True
    if b"\0" in head or not path.name.lower().removesuffix(".gz").endswith((".csv", ".tsv")):
        return False
    names = _names(head)
    return len(names) > 1 and (step_name(names) is not None or any(name in names for name in RUN_COLUMNS))


def _names(head: bytes) -> list[str]:
    line = head.decode("utf-8-sig", "replace").partition("\n")[0].rstrip("\r")
    return next(csv.reader([line], delimiter=_delimiter(line)), [])


def _delimiter(line: str) -> str:
    return max(",\t;", key=line.count)


def read(path: Path, top: Path) -> Iterator[RunLog]:
    """The runs of one table; of a table without steps their settings and endings only."""
    names, rows = _parquet(path) if read_head(path).startswith(b"PAR1") else _csv(path)
    step = step_name(names)
    run = next((name for name in RUN_COLUMNS if name in names), None)
    if run is not None:
        rows = list(rows)
        at = names.index(run)
        called = [row[at] for row in rows if len(row) == len(names)]
        if step is None or len(set(called)) == len(called):
            yield from _settings(path, names, rows, run)
            return
    if step is None:
        return
    charts = [(place, found) for place, name in enumerate(names) if (found := _CHART.fullmatch(name))]
    if charts and step == "Step":
        yield from _chart(path, names, rows, [(place, found) for place, found in charts if not found[3]])
        return
    logs: dict[str, RunLog] = {}
    places = {name: place for place, name in enumerate(names)}
    where = None if run is None else places[run]
    numeric = [(place, name) for place, name in enumerate(names) if name not in (step, run)]
    torn = 0
    default = name_of(path, top)
    present: dict[str, list[tuple[int, frozenset[str]]]] = {}
    for row in rows:
        now = whole(row[places[step]]) if len(row) == len(names) else None
        if now is None:
            torn += 1
            continue
        name = str(row[where]) if where is not None else default
        log = logs.get(name)
        if log is None:
            log = logs[name] = RunLog(name, FORMAT, path)
            present[name] = []
        values = []
        for place, metric in numeric:
            cell = row[place]
            if cell == "" or cell is None:
                continue
            value = number(cell)
            if value is not None:
                values.append((metric, value))
        log.add(now, values)
        present[name].append((now, frozenset(metric for metric, value in values if not math.isnan(value))))
    for name, log in logs.items():
        _mark_stopped(log, present[name])
        if torn:
            log.problems.append(f"{torn} rows that are torn or have no step")
        if path.with_name(HPARAMS).is_file() and path.name.startswith("metrics.csv"):
            _lightning(log, path)
        yield log


def _mark_stopped(log: RunLog, rows: Sequence[tuple[int, frozenset[str]]]) -> None:
    """NaN and absence look alike in some exports: a metric that always came with another, and then no more, is NaN."""
    metrics = set().union(*(found for _, found in rows)) if rows else set()
    for metric in [each for each in metrics if "loss" in each.lower()]:
        last = max(place for place, (_, found) in enumerate(rows) if metric in found)
        before = [found for _, found in rows[: last + 1]]
        always = [
            other
            for other in metrics - {metric}
            if (count := sum(other in found for found in before)) > 2
            and count == sum(other in found and metric in found for found in before)
        ]
        for step, found in rows[last + 1 :]:
            if any(other in found for other in always):
                log.points[metric] = [point for point in log.points[metric] if not math.isnan(point[2])]
                log.add(step, [(metric, math.nan)])
                log.problems.append(f"{metric} is empty from step {step} on while others go on: taken for NaN")
                return


def _csv(path: Path) -> tuple[list[str], Iterable[Sequence[Any]]]:
    lines = log_lines(path)
    first = next(lines, "")
    delimiter = _delimiter(first)
    names = next(csv.reader([first], delimiter=delimiter), [])

    def rows() -> Iterator[Sequence[Any]]:
        for row in csv.reader((line for line in lines if "\0" not in line), delimiter=delimiter):
            if row:
                yield row

    return names, rows()


def _parquet(path: Path) -> tuple[list[str], Iterable[Sequence[Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a whole Parquet file: {error}") from None
    return list(table.column_names), zip(*(column.to_pylist() for column in table.columns), strict=True)


def _chart(
    path: Path, names: list[str], rows: Iterable[Sequence[Any]], charts: list[tuple[int, "re.Match[str]"]]
) -> Iterator[RunLog]:
    """The CSV of a chart of W&B: a column for each run, and the logger's own count of calls as steps."""
    logs = {found[1]: RunLog(found[1], FORMAT, path) for _, found in charts}
    for log in logs.values():
        log.problems.append("a chart's steps are calls of log(), not steps of the trainer")
    for row in rows:
        step = whole(row[names.index("Step")]) if len(row) == len(names) else None
        for place, found in charts if step is not None else []:
            value = number(row[place])
            if value is not None and step is not None:
                logs[found[1]].add(step, [(found[2], value)])
    yield from logs.values()


def _settings(path: Path, names: list[str], rows: Iterable[Sequence[Any]], run: str) -> Iterator[RunLog]:
    """What a table without steps says of runs: their settings, and W&B's state."""
    state = next((name for name in _STATES if name in names), None)
    for row in rows:
        if len(row) != len(names):
            continue
        values = dict(zip(names, row, strict=True))
        log = RunLog(str(values.pop(run)), FORMAT, path)
        word = "" if state is None else str(values.pop(state))
        log.ending = _ENDS.get(word.lower())
        log.ending_from = f"state {word} of {path.name}" if log.ending else ""
        log.config = {name: plain_setting(value) for name, value in values.items() if value not in ("", None)}
        yield log


def _lightning(log: RunLog, path: Path) -> None:
    """Lightning's steps are counted from 0, and settings lie beside; `version_1` may be a restart of `version_0`."""
    from moewright.files import read_text
    from moewright.plain_values import UnfitTextError, parse_yaml

    log.format = "lightning"
    log.counts_from_zero = True
    try:
        found = parse_yaml(read_text(path.with_name(HPARAMS)))
        log.config |= found if isinstance(found, dict) else {}
    except UnfitTextError as error:
        log.problems.append(f"{HPARAMS}: {error}")
    first = min((series[0][1] for series in log.points.values() if series), default=0)
    folder = path.parent
    if folder.name.startswith("version_"):
        if folder.name != "version_0" and first == 0:
            log.id = f"{log.id}/{folder.name}" if log.id != folder.name else log.id
            log.key = str(folder)
        else:
            log.key = str(folder.parent)
