"""Folders in which OLMo-core and torchtitan write one run in several ways."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

from moewright.files import read_text
from moewright.plain_values import UnfitTextError, parse_json
from moewright.runs.readers import json_lines, printed_logs, tensorboard_events
from moewright.runs.readers.metric_roles import evaluation_losses, training_losses
from moewright.runs.readers.opening import read_head
from moewright.runs.readers.run_log import RunLog, name_of, number, numbers

_SAVED = re.compile(r"metrics_step(\d+)\.json")
_STRUCTURED = "structured_logs"
_LOGS = (".log", ".txt", ".out")


def claims_olmo_core_folder(folder: Path, files: list[str], folders: list[str]) -> bool:
    """Whether OLMo-core's callbacks saved metrics there."""
    return any(_SAVED.fullmatch(name) for name in files)


def read_olmo_core_folder(folder: Path, top: Path) -> Iterator[RunLog]:
    """One run: training from the console, evaluations and what the console has not from the saved metrics."""
    log = RunLog(name_of(folder, top), "olmo_core", folder)
    steps = {int(found[1]): path for path in folder.iterdir() if (found := _SAVED.fullmatch(path.name))}
    for path in sorted(folder.iterdir()):
        if path.suffix in _LOGS and printed_logs.claims_olmo_core(path, read_head(path)):
            log.extend(next(printed_logs.read_olmo_core(path, top)))
    seen = set(log.points)
    config = folder / "config.json"
    if config.is_file():
        try:
            log.config = parse_json(read_text(config)) | log.config
        except UnfitTextError as error:
            log.problems.append(f"config.json: {error}")
    block = "model", "block", "feed_forward_moe"
    for name, place in (("hidden_size", ("model", "d_model")), ("expert_size", (*block, "hidden_size"))):
        size = _at(log.config, *place)
        if size is not None:
            log.config[name] = size
    called = log.config.get("run_name")
    log.id = called if isinstance(called, str) and called else log.id
    batch = _at(log.config, "data_loader", "global_batch_size")
    if batch is not None:
        log.config["tokens_per_step"] = batch  # OLMo-core's batch is in tokens
    # Written again at the same steps after a restart, so nothing in them is of a lost branch but what came after it.
    for step in sorted(steps):
        try:
            record = parse_json(read_text(steps[step]))
        except UnfitTextError as error:
            log.problems.append(f"{steps[step].name}: {error}")
            continue
        values = numbers(record) if isinstance(record, dict) else []
        log.add(step, [(name, value) for name, value in values if name not in seen])
    log.sessions = 1
    if (folder / "metrics.json").is_file():
        log.ending, log.ending_from = "finished", "metrics.json, which a clean end writes"
    elif log.ending is None:
        log.ending, log.ending_from = "unfinished", "no metrics.json, which a clean end writes"
    yield log


def claims_torchtitan_folder(folder: Path, files: list[str], folders: list[str]) -> bool:
    """Whether torchtitan's structured log, or its console beside TensorBoard's files, is there."""
    return _STRUCTURED in folders or any(
        name.endswith(_LOGS) and printed_logs.claims_torchtitan(folder / name, read_head(folder / name))
        for name in files
        if "tb" in folders or "tensorboard" in folders
    )


def read_torchtitan_folder(folder: Path, top: Path) -> Iterator[RunLog]:
    """One run: the structured log, TensorBoard's files or the console, whichever is there and most exact."""
    log = RunLog(name_of(folder, top), "torchtitan", folder)
    console = RunLog(log.id, "torchtitan", folder)
    for path in sorted(folder.iterdir()):
        if path.suffix in _LOGS and printed_logs.claims_torchtitan(path, read_head(path)):
            console.extend(next(printed_logs.read_torchtitan(path, top)))
    stops = [(step, value) for _, step, value in console.points.get("train/loss", ()) if not math.isfinite(value)]
    structured = sorted((folder / _STRUCTURED).glob("*rank_0.*")) if (folder / _STRUCTURED).is_dir() else []
    exact = [each for path in sorted(structured, key=_begin) for each in json_lines.read(path, top)]
    events = [
        each
        for place in sorted({path.parent for path in folder.rglob("*.tfevents.*")})
        for each in tensorboard_events.read_folder(place, top)
    ]
    # None has all: of each metric the first source that has it; names of losses differ, so one source's only.
    for parts in (exact, events, [console]):
        had = set(log.points)
        likely = [each for each in (training_losses, evaluation_losses) if each(had)]
        for part in parts:
            wanted = {
                name: series
                for name, series in part.points.items()
                if name not in had and not any(each([name]) for each in likely)
            }
            part.points = wanted
            log.extend(part)
    loss = next(iter(training_losses(log.points)), "train/loss")
    for step, value in stops:  # the console alone says at which loss the trainer stopped
        if not any(at == step for _, at, _ in log.points.get(loss, ())):
            log.add(step, [(loss, value)])
    log.ending, log.ending_from = console.ending, console.ending_from
    log.sessions = max(1, len(exact))
    yield log


def _begin(path: Path) -> float:
    head = read_head(path).decode("utf-8", "replace")
    found = re.search(r'"time_us": (\d+)', head)
    return float(found[1]) if found else 0.0


def _at(record: object, *names: str) -> float | None:
    for name in names:
        record = record.get(name) if isinstance(record, dict) else None
    return number(record)
