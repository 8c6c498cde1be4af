"""How a run of another trainer stands, read from what that trainer wrote. No torch.

Nothing of ours is written about the outcome: it follows from the trainer's files whenever somebody asks, so that runs
which people started in their own way count like those of a sweep's workers.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from moewright.complaints import hint
from moewright.errors import UserError
from moewright.experiment.run_folder import Outcome, RunStatus
from moewright.experiment.trainer_folder import EXIT_CODE, OUTPUT, PRINTED, TRAINER, LossPlace, TrainerRecord, exit_code
from moewright.files import open_regular
from moewright.quantities import brief
from moewright.runs.readers.column_map import ColumnMap
from moewright.runs.readers.discovery import find_logs
from moewright.runs.readers.logged_rows import rows_of
from moewright.runs.readers.run_log import RunLog, number, whole

_BY_PATTERN = "eval_loss"
"""What the readings of a pattern are called among metrics: the final loss is the last of them."""
_LONGEST_LINE = 200
_LAST_BYTES = 4096


@dataclass(frozen=True)
class TrainerOutcome:
    """What the files of another trainer say of a run."""

    record: TrainerRecord
    status: RunStatus | None
    """None before it logged anything or ended."""
    columns: dict[str, Any] = field(default_factory=dict)
    """Of the run table, beside those that every run has: by which rule the loss is final, restarts."""

    findings: tuple[tuple[str, str, str], ...] = ()
    """What the reader of its log found odd: problem, column and detail."""


def read_outcome(folder: Path) -> TrainerOutcome:
    """How a run of another trainer stands, from what that wrote. Raises UserError for a damaged trainer.json."""
    record = TrainerRecord.read(folder / TRAINER)
    code = exit_code(folder)
    if code is None and not (folder / PRINTED).exists():
        return TrainerOutcome(record, None)
    try:
        columns, found = _logged(folder, record)
    except UserError as problem:
        state: Outcome = "failed" if code is not None else "interrupted"
        why = _ending(folder, code) if code else str(problem)
        return TrainerOutcome(record, RunStatus(state=state, run=record.id, reason=why))
    steps = int(columns.get("steps") or 0)
    state, reason = _state(folder, record, columns, code)
    status = RunStatus(
        state=state,
        run=record.id,
        step=steps,
        tokens=steps * record.batch_tokens,
        loss=columns["loss"] if state == "finished" else None,
        reason=reason,
    )
    kept = ("final_rule", "final_step", "train_loss", "restarts", "repeated_steps")
    return TrainerOutcome(record, status, {name: columns.get(name) for name in kept}, found)


def reopen(folder: Path) -> None:
    """Let a run whose last start ended with 0 before its last step be started again: launch.sh takes 0 for done."""
    if exit_code(folder) != 0:
        return
    status = read_outcome(folder).status
    if status is not None and status.state == "interrupted":
        (folder / EXIT_CODE).unlink(missing_ok=True)


def _state(
    folder: Path, record: TrainerRecord, columns: dict[str, Any], code: int | None
) -> tuple[Outcome, str | None]:
    if code is None:
        return "interrupted", None
    if columns["status"] == "diverged":
        return "diverged", columns["status_from"]
    if code != 0:
        return "failed", _ending(folder, code)
    if columns["loss"] is None:
        return "failed", "it ended well, and logged no loss"
    if not columns["loss"] > 0:  # which no run table takes
        return "failed", f"it ended well, and its loss {columns['loss']:g} is none: one is positive, in nats per token"
    steps = int(columns.get("steps") or 0)
    if record.counts_steps and steps < record.steps:
        return "interrupted", f"it ended after step {steps:,} of {record.steps:,}"
    return "finished", None


def _ending(folder: Path, code: int) -> str:
    """How a start ended that did not end well, with the last line that it printed."""
    try:
        with open_regular(folder / PRINTED) as file:
            file.seek(max(0, file.seek(0, 2) - _LAST_BYTES))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    said = f": {lines[-1].strip()[:_LONGEST_LINE]}" if lines else ""
    return f"exit code {code}{said}; see {folder / PRINTED}"


# What it logged


def _logged(folder: Path, record: TrainerRecord) -> tuple[dict[str, Any], tuple[tuple[str, str, str], ...]]:
    """The run as a row of the run table, by its own log, and what is odd in it. UserError where no loss is found."""
    place = record.loss
    log = _by_pattern(folder, place) if place.pattern is not None else _by_reader(folder, place)
    mapping = None
    metric = _BY_PATTERN if place.pattern is not None else place.metric
    if metric is not None:
        if metric not in log.points:
            (row,), _ = rows_of([log], [folder], None, None)
            if row["status"] == "diverged":  # before its first evaluation
                return row, ()
            known = sorted(log.points)
            raise UserError(f"loss: {folder / OUTPUT} has no metric {brief(metric)}{hint(metric, known, quoted=True)}")
        mapping = ColumnMap({"loss": metric}, "loss")
    rows, found = rows_of([log], [folder], mapping, None)
    return rows[0], tuple((problem, column, detail) for _, problem, column, detail in found)


def _by_reader(folder: Path, place: LossPlace) -> RunLog:
    # Some trainers log by printing alone.
    tops = [each for each in (folder / OUTPUT, folder / PRINTED) if each.exists()]
    logs, problems = find_logs(tops, place.format)
    logs = [log for log in logs if log.points]
    if place.metric is not None:
        logs = [log for log in logs if place.metric in log.points] or logs
    if not logs:
        why = f": {problems[0].detail}" if problems else ""
        raise UserError(f"loss: nothing in {folder / OUTPUT} is a log that is read{why}")
    return max(logs, key=lambda log: sum(map(len, log.points.values())))


def _by_pattern(folder: Path, place: LossPlace) -> RunLog:
    path = folder / PRINTED if place.file is None else folder / OUTPUT / place.file
    assert place.pattern is not None
    log, readings, unread = RunLog(folder.name, "pattern", path), 0, []
    for line, said_step, said_loss in _readings(path, place.pattern):
        loss, step = number(said_loss), readings + 1 if said_step is None else whole(said_step)
        if loss is None or step is None:
            wrong = f"{brief(said_loss)} is no number" if loss is None else f"{brief(said_step)} is no step"
            unread.append(f"{path.name}:{line}: {wrong}")
            continue
        readings += 1
        log.add(step, [(_BY_PATTERN, loss)])
    if unread:
        more = f", and {len(unread) - 1:,} lines more" if len(unread) > 1 else ""
        log.problems.append(f"lines like the pattern are left out: {unread[0]}{more}")
    if not log.points:
        if unread:
            raise UserError(f"loss: no line of {path} has a number where the pattern says: {unread[0]}")
        raise UserError(f"loss: no line of {path} is like {place.pattern}")
    return log


def _readings(path: Path, pattern: str) -> Iterator[tuple[int, str | None, str]]:
    """Of each line that is like the pattern: its number, and what stands for the step, if anything, and the loss."""
    wanted = re.compile(pattern)
    try:
        with TextIOWrapper(open_regular(path), encoding="utf-8", errors="replace") as lines:
            for place, line in enumerate(lines, start=1):
                found = wanted.search(line)
                if found is not None:
                    yield place, found["step"] if "step" in wanted.groupindex else None, found["loss"] or ""
    except OSError as error:
        raise UserError(f"loss: {path} cannot be read: {error.strerror}") from None
