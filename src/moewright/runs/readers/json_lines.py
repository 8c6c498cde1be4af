"""JSON lines: a trainer's own, W&B's history, torchtitan's structured log; and one JSON list of such records."""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from moewright.plain_values import parse_loosely
from moewright.runs.readers.metric_roles import other_model
from moewright.runs.readers.opening import log_lines, read_bytes
from moewright.runs.readers.own_steps import add_record, step_name
from moewright.runs.readers.run_log import RunEnding, RunLog, name_of, number, plain_setting, whole

FORMAT = "jsonl"
_NAMES = ("run", "run_id", "run_name", "name")
_KINDS = ("type", "event", "kind", "split", "phase", "stage")
_EVALUATIONS = ("eval", "evaluation", "val", "valid", "validation", "test")
_ENDS: dict[str, RunEnding] = {
    **dict.fromkeys(("ok", "finished", "done", "success", "completed", "complete", "0"), "finished"),
    **dict.fromkeys(("failed", "crashed", "error", "killed", "oom"), "failed"),
}
_END_KINDS = ("end", "finish", "finished", "done", "summary", "exit")
_SETTINGS = ("config", "hparams", "params", "args", "arguments", "hyperparameters")
_SPECIAL = {*_NAMES, *_KINDS, *_SETTINGS, "event_name", "metric", "tag"}
"""Keys that make a record something else than metrics, or those of another run."""
_DECODE = json.JSONDecoder().raw_decode


def claims(path: Path, head: bytes) -> bool:
    """Whether the first line is a JSON object, or the file one list of them, and something in it has a step."""
    if not path.name.lower().removesuffix(".gz").endswith((".jsonl", ".ndjson", ".json", ".log", ".txt")):
        return False
    text = head.decode("utf-8-sig", "replace").lstrip()
    if text.startswith("["):
        return '"step' in text or '_step"' in text or '"iter' in text
    first = text.partition("\n")[0].strip()
    if not (first.startswith("{") and first.endswith("}")):
        return False
    try:
        parse_loosely(first)
    except ValueError:
        return False
    return '"step' in text or 'step"' in text or '"iter' in text


def read(path: Path, top: Path) -> Iterator[RunLog]:
    """The runs of one file: one, or as many as its records name."""
    logs: dict[str, RunLog] = {}
    ended: list[RunLog] = []
    default = name_of(path, top)
    current = default
    torn = 0
    plain: dict[tuple[str, ...], bool] = {}
    """Whether records of such keys are metrics alone; a log has millions of them, of a few sorts."""
    for record in _records(path):
        if record is None:
            torn += 1
            continue
        keys = tuple(record)
        is_plain = plain.get(keys)
        if is_plain is None:
            is_plain = plain[keys] = _SPECIAL.isdisjoint(keys)
        if is_plain and current in logs:
            add_record(logs[current], record)
            continue
        name = next((str(record[key]) for key in _NAMES if isinstance(record.get(key), str) and record[key]), None)
        kind = next((str(record[key]).lower() for key in _KINDS if isinstance(record.get(key), str)), "")
        # The name of one record at the top of a file is that of all that follow without one.
        current = name or current
        log = logs.get(current)
        if log is None:
            log = logs[current] = RunLog(current, FORMAT, path)
        settings = _settings_in(record, kind)
        if settings and (words := other_model(settings, log.config)):
            ended.append(log)
            log = logs[current] = RunLog(current, FORMAT, path)
            log.problems.append(f"another model under the same name: {words}; a run of its own")
        _take(log, record, kind, settings)
    for log in (*ended, *logs.values()):
        if torn:
            log.problems.append(f"{torn} lines that are not JSON")
        yield log


def _records(path: Path) -> Iterator[dict[str, Any] | None]:
    lines = log_lines(path)
    first = next(lines, "")
    if first.lstrip().startswith("["):
        try:
            values = parse_loosely(read_bytes(path))
        except ValueError:
            yield None
            return
        yield from (value if isinstance(value, dict) else None for value in values)
        return
    for line in chain((first,), lines):
        text = line.strip()
        if not text:
            continue
        try:
            value, end = _DECODE(text)
        except (ValueError, RecursionError):  # as `parse_loosely`, without its time for each of millions of lines
            yield None
            continue
        yield value if isinstance(value, dict) and end == len(text) else None


def _settings_in(record: dict[str, Any], kind: str) -> dict[str, Any]:
    """What a record says that the run was set to; empty of most."""
    settings = _own_settings(record)
    if settings is None and kind in ("config", "hparams", "start", "args") and step_name(record) is None:
        settings = {name: value for name, value in record.items() if name not in _KINDS}
    return {name: plain_setting(value) for name, value in (settings or {}).items()}


def _own_settings(record: dict[str, Any]) -> dict[str, Any] | None:
    return next((record[key] for key in _SETTINGS if isinstance(record.get(key), dict)), None)


def _take(log: RunLog, record: dict[str, Any], kind: str, settings: dict[str, Any]) -> None:
    log.config |= settings
    if settings and log.points and _own_settings(record) is not None:
        log.sessions += 1
        log.ending, log.ending_from = None, ""
    if kind in _END_KINDS:
        word = str(record.get("status", record.get("state", "ok"))).lower()
        log.ending, log.ending_from = _ENDS.get(word, "finished"), f"end record, status {word}"
        return
    if isinstance(record.get("event_name"), str) and "value" in record:  # torchtitan's: one scalar a line
        step, value = whole(record.get("step")), number(record["value"])
        if step is not None and value is not None:
            log.add(step, [(record["event_name"], value)])
        return
    rest = {key: value for key, value in record.items() if key not in _SETTINGS}
    metric = rest.get("metric", rest.get("tag"))
    if isinstance(metric, str) and "value" in rest:  # one scalar a line, anyone's
        value = number(rest["value"])
        rest = {key: each for key, each in rest.items() if key not in ("metric", "tag", "value")}
        name = step_name(rest)
        step = None if name is None else whole(rest[name])
        if step is not None and value is not None:
            log.add(step, [(metric, value)])
        return
    add_record(log, rest, f"{kind}/" if kind in _EVALUATIONS else "")
