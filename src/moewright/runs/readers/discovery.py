"""All runs of any logger below some paths: which reader knows what, and which sessions and copies are one run."""

import math
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from moewright.complaints import hint
from moewright.errors import UserError
from moewright.progress import track
from moewright.quantities import brief
from moewright.runs.readers import (
    json_lines,
    megatron_log,
    metric_tables,
    mlflow_store,
    printed_logs,
    tensorboard_events,
    trackio_base,
    trainer_folders,
    trainer_state,
    wandb_offline,
)
from moewright.runs.readers.metric_roles import is_loss, other_model
from moewright.runs.readers.opening import read_head
from moewright.runs.readers.run_log import RunLog

Read = Callable[[Path, Path], Iterator[RunLog]]


@dataclass(frozen=True)
class LogReader:
    """How one format is recognised and read: whole folders by the names in them, or files by their first bytes."""

    name: str
    read: Read
    claims: Callable[[Path, bytes], bool] | None = None
    claims_folder: Callable[[Path, list[str], list[str]], bool] | None = None
    prunes: bool = True
    """Whether nothing else is looked for in and below a folder that it knows."""


READERS: tuple[LogReader, ...] = (
    LogReader(
        "olmo_core", trainer_folders.read_olmo_core_folder, claims_folder=trainer_folders.claims_olmo_core_folder
    ),
    LogReader(
        "torchtitan", trainer_folders.read_torchtitan_folder, claims_folder=trainer_folders.claims_torchtitan_folder
    ),
    LogReader("hf_trainer", trainer_state.read_folder, claims_folder=trainer_state.claims_folder),
    LogReader("mlflow", mlflow_store.read_folder, claims_folder=mlflow_store.claims_folder),
    LogReader(
        "tensorboard",
        tensorboard_events.read_folder,
        claims_folder=tensorboard_events.claims_folder,
        prunes=False,
    ),
    LogReader("wandb", wandb_offline.read, wandb_offline.claims),
    LogReader("mlflow", mlflow_store.read, mlflow_store.claims),
    LogReader("trackio", trackio_base.read, trackio_base.claims),
    LogReader("megatron", megatron_log.read, megatron_log.claims),
    LogReader("torchtitan", printed_logs.read_torchtitan, printed_logs.claims_torchtitan),
    LogReader("olmo_core", printed_logs.read_olmo_core, printed_logs.claims_olmo_core),
    LogReader("nanogpt", printed_logs.read_nanogpt, printed_logs.claims_nanogpt),
    LogReader("llm.c", printed_logs.read_llm_c, printed_logs.claims_llm_c),
    LogReader("jsonl", json_lines.read, json_lines.claims),
    LogReader("table", metric_tables.read, metric_tables.claims),
)
"""Every format, one line each; the first that knows a folder or a file reads it."""

LOG_FORMATS = tuple(dict.fromkeys(reader.name for reader in READERS))
_COPIES = ("jsonl", "table")
_ALIKE, _MOSTLY = 1e-3, 0.5
"""Copies may have been written with fewer digits: as a share of the value, and of the values that both have."""


@dataclass(frozen=True)
class LogProblem:
    """A file or a folder that could not be read as a whole."""

    place: Path
    detail: str


def find_logs(
    paths: Sequence[Path], only: str | None = None, is_other: Callable[[Path], bool] = lambda folder: False
) -> tuple[list[RunLog], list[LogProblem]]:
    """All runs below the paths, each once, and what could not be read. `only` is one of LOG_FORMATS.

    Folders for which `is_other` is true are left out, with all that is in them.

    Raises UserError for a path that is not there and for an unknown format.
    """
    if only is not None and only not in LOG_FORMATS:
        raise UserError(f"from: {brief(only)} is no format that is read{hint(only, ('auto', *LOG_FORMATS))}")
    readers = [reader for reader in READERS if only in (None, reader.name)]
    logs: list[RunLog] = []
    problems: list[LogProblem] = []
    for top in paths:
        if not top.exists():
            raise UserError(f"{top}: no such file or folder")
        places = list(_places(top, readers, is_other))
        for reader, place in track("reading", places, len(places), "logs"):
            try:
                logs += reader.read(place, top if top.is_dir() else top.parent)
            except UserError as error:
                problems.append(LogProblem(place, str(error)))
            except OSError as error:
                problems.append(LogProblem(place, f"{error.filename or place}: {error.strerror or error}"))
            except (ValueError, KeyError, TypeError, IndexError, OverflowError, sqlite3.Error) as error:
                # A file of a kind that this reader does not know is that file's loss alone.
                problems.append(LogProblem(place, f"{place}: not as {reader.name} writes it: {error}"))
    return _united(logs), problems


def logged_places(top: Path, is_other: Callable[[Path], bool]) -> list[Path]:
    """Files and folders below `top` that a logger wrote, without tables and JSON lines, which anything may be."""
    readers = [reader for reader in READERS if reader.name not in _COPIES]
    return [place for _, place in _places(top, readers, is_other)]


def _places(
    top: Path, readers: Sequence[LogReader], is_other: Callable[[Path], bool]
) -> Iterator[tuple[LogReader, Path]]:
    if top.is_file():
        yield from _known(top, readers)
        return
    for place, folders, files in os.walk(top):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if is_other(here):
            folders.clear()
            continue
        reader = next(
            (each for each in readers if each.claims_folder is not None and each.claims_folder(here, files, folders)),
            None,
        )
        if reader is not None:
            yield reader, here
            if reader.prunes:
                folders.clear()
                continue
        for name in sorted(files):
            if not name.startswith(".") and (reader is None or tensorboard_events.MARK not in name):
                yield from _known(here / name, readers)


def _known(path: Path, readers: Iterable[LogReader]) -> Iterator[tuple[LogReader, Path]]:
    try:
        head = read_head(path)
    except OSError:
        return
    for reader in readers:
        if reader.claims is not None and reader.claims(path, head):
            yield reader, path
            return


def _united(logs: list[RunLog]) -> list[RunLog]:
    """Sessions of one run put together, settings given to the runs that they are of, copies left out.

    What has another model, or other losses at the same steps, is another run, whatever its name.
    """
    runs: dict[tuple[str, ...], RunLog] = {}
    settings: list[RunLog] = []
    for log in logs:
        if not log.points and log.format in _COPIES:
            settings.append(log)
            continue
        key: tuple[str, ...] = (log.format, log.key, "" if log.key else f"{log.source}\n{log.id}")
        while key in runs and (words := other_model(log.config, runs[key].config)):
            log.problems.append(f"another model under the same name: {words}; a run of its own")
            key = (*key, words)
        if key in runs:
            runs[key].extend(log)
        else:
            runs[key] = log
    kept: list[RunLog] = []
    for log in sorted(runs.values(), key=_completeness):
        same = [other for other in kept if other.id == log.id and _may_be_copy(other, log)]
        why = [_why_none(log, other) for other in same]
        if not same or all(why):
            log.problems += (f"{reason}; a run of its own" for reason in why)
            kept.append(log)
    for each in settings:
        owners = [log for log in kept if log.id == each.id and _beside(log.source, each.source)]
        for log in owners:
            log.config = each.config | log.config
            if log.ending is None and each.ending is not None:
                log.ending, log.ending_from = each.ending, each.ending_from
        if not owners:
            kept.append(each)
    kept.sort(key=lambda log: (str(log.source), log.id))
    return kept


def _completeness(log: RunLog) -> tuple[bool, int, str]:
    """Of copies the first is kept: one whose steps are the trainer's, with the most metrics."""
    order = (".jsonl", ".ndjson", ".parquet", ".csv")
    ending = next((place for place, each in enumerate(order) if each in log.source.name), len(order))
    return _is_chart(log), ending, str(log.source)


def _may_be_copy(one: RunLog, other: RunLog) -> bool:
    return one.format in _COPIES and other.format in _COPIES and one.source.parent == other.source.parent


def _why_none(log: RunLog, other: RunLog) -> str:
    """Why a run is no copy of the other of its name in its folder; empty where nothing speaks against it."""
    if words := other_model(log.config, other.config):
        return f"another model than that of the same name in {other.source.name}: {words}"
    if _is_chart(log) or _is_chart(other):  # whose steps are others
        return ""
    shared = alike = 0
    for name in filter(is_loss, log.points):
        theirs: dict[int, list[float]] = {}
        for _, step, value in other.points.get(name, ()):
            theirs.setdefault(step, []).append(value)
        for _, step, value in log.points[name]:
            if step in theirs:
                shared += 1
                alike += any(_is_alike(value, each) for each in theirs[step])
    if alike >= _MOSTLY * shared:
        return ""
    return f"other losses than the run of the same name in {other.source.name}, at {shared - alike} of {shared} steps"


def _is_alike(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_ALIKE) or (math.isnan(one) and math.isnan(other))


def _is_chart(log: RunLog) -> bool:
    return any("calls of log()" in problem for problem in log.problems)


def _beside(one: Path, other: Path) -> bool:
    """Whether settings lie where runs may find them: in the same folder, or above."""
    return other.parent == one.parent or other.parent in one.parents
