"""trackio's databases: one SQLite file per project, a JSON object per call of `log`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moewright.plain_values import parse_loosely
from moewright.runs.readers.run_log import RunLog, numbers
from moewright.runs.readers.sqlite_files import has_tables, opened

FORMAT = "trackio"


def claims(path: Path, head: bytes) -> bool:
    """Whether the file is a project's database."""
    return has_tables(path, head, "metrics", "configs")


def read(path: Path, top: Path) -> Iterator[RunLog]:
    """All runs of a project."""
    with opened(path) as base:
        columns = {row[1] for row in base.execute("pragma table_info(metrics)")}
        run = "run_id" if "run_id" in columns else "run_name"  # older versions know names only
        logs: dict[str, RunLog] = {}
        for key, name, step, record in base.execute(f"select {run}, run_name, step, metrics from metrics order by id"):
            log = logs.setdefault(key, RunLog(name, FORMAT, path, key=key))
            log.add(step, numbers(_mapping(record)))
        if base.execute("select 1 from sqlite_master where name = 'configs'").fetchone():
            columns = {row[1] for row in base.execute("pragma table_info(configs)")}
            run = "run_id" if "run_id" in columns else "run_name"
            for key, record in base.execute(f"select {run}, config from configs"):
                if key in logs:
                    logs[key].config = _mapping(record)
    yield from logs.values()


def _mapping(record: str | bytes) -> dict[str, Any]:
    try:
        found = parse_loosely(record)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
