"""MLflow's stores: the folder of files (`mlruns/<experiment>/<run>/meta.yaml`) and the SQLite database."""

import math
from collections.abc import Iterator
from pathlib import Path

from moewright.files import read_text
from moewright.plain_values import UnfitTextError, parse_yaml
from moewright.runs.readers.opening import log_lines
from moewright.runs.readers.run_log import RunEnding, RunLog, number, plain_setting, whole
from moewright.runs.readers.sqlite_files import has_tables, opened

FORMAT = "mlflow"
META, _METRICS, PARAMS = "meta.yaml", "metrics", "params"
_ENDINGS: dict[str, RunEnding] = {
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "failed",
    "RUNNING": "unfinished",
    "SCHEDULED": "unfinished",
}
_NUMBERS = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}


def claims_folder(folder: Path, files: list[str], folders: list[str]) -> bool:
    """Whether the folder is that of one run in MLflow's store of files."""
    return META in files and _METRICS in folders


def read_folder(folder: Path, top: Path) -> Iterator[RunLog]:
    """One run of the store of files; nothing for a deleted one."""
    log = RunLog(folder.name, FORMAT, folder)
    try:
        meta = parse_yaml(read_text(folder / META)) or {}
    except UnfitTextError as error:
        meta = {}
        log.problems.append(f"{META}: {error}")
    if meta.get("lifecycle_stage") == "deleted":
        return
    named = folder / "tags" / "mlflow.runName"
    log.id = str(meta.get("run_name") or (read_text(named).strip() if named.is_file() else "") or folder.name)
    status = meta.get("status")
    _end(log, str(_NUMBERS.get(status, status) if isinstance(status, int) else status))
    for path in sorted((folder / PARAMS).rglob("*")) if (folder / PARAMS).is_dir() else []:
        if path.is_file():
            log.config[path.relative_to(folder / PARAMS).as_posix()] = plain_setting(read_text(path))
    rows: list[tuple[int, int, str, int, float]] = []
    for path in sorted((folder / _METRICS).rglob("*")):
        if path.is_file():
            name = path.relative_to(folder / _METRICS).as_posix()
            for line in log_lines(path):
                words = line.split()
                value, time = (number(words[1]), whole(words[0])) if len(words) >= 2 else (None, None)
                if value is None or time is None:
                    log.problems.append(f"{name}: a line that is not time, value, step")
                    continue
                rows.append((time, len(rows), name, whole(words[2]) or 0 if len(words) > 2 else 0, value))
    _add(log, rows)
    yield log


def claims(path: Path, head: bytes) -> bool:
    """Whether the file is MLflow's database."""
    return has_tables(path, head, "runs", "metrics", "params", "experiments")


def read(path: Path, top: Path) -> Iterator[RunLog]:
    """All runs of a database but deleted ones."""
    with opened(path) as base:
        columns = {row[1] for row in base.execute("pragma table_info(runs)")}
        name = "name" if "name" in columns else "run_uuid"
        for run, called, status in base.execute(
            f"select run_uuid, {name}, status from runs where lifecycle_stage != 'deleted' "
            "order by start_time, run_uuid"
        ).fetchall():
            log = RunLog(called or run, FORMAT, path, key=run)
            _end(log, status)
            for key, value in base.execute("select key, value from tags where run_uuid = ?", (run,)):
                if key == "mlflow.runName" and value:
                    log.id = value
            for key, value in base.execute("select key, value from params where run_uuid = ?", (run,)):
                log.config[key] = plain_setting(value)
            rows = [
                (time, place, key, step, math.nan if is_nan else value)
                for place, (key, value, time, step, is_nan) in enumerate(
                    base.execute(
                        "select key, value, timestamp, step, is_nan from metrics where run_uuid = ? "
                        "order by timestamp, rowid",
                        (run,),
                    )
                )
            ]
            _add(log, rows)
            yield log


def _end(log: RunLog, status: str) -> None:
    log.ending, log.ending_from = _ENDINGS.get(status), f"MLflow's status {status}"


def _add(log: RunLog, rows: list[tuple[int, int, str, int, float]]) -> None:
    for _, _, name, step, value in sorted(rows):
        log.add(step, [(name, value)])
