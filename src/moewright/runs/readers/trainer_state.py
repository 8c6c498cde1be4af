"""transformers' Trainer: `trainer_state.json` of a run's folder, else that of its newest checkpoint."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moewright.files import read_text
from moewright.plain_values import UnfitTextError, parse_json
from moewright.runs.readers.run_log import RunLog, name_of, numbers, whole

FORMAT = "hf_trainer"
_STATE_FILE = "trainer_state.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_NO_METRIC = {"step", "train_loss", "train_runtime", "total_flos"}
"""The step itself, and what the last entry has of the whole training."""


def claims_folder(folder: Path, files: list[str], folders: list[str]) -> bool:
    """Whether the folder, or a checkpoint in it, holds the Trainer's state."""
    return _STATE_FILE in files or any(
        _CHECKPOINT.fullmatch(name) and (folder / name / _STATE_FILE).is_file() for name in folders
    )


def read_folder(folder: Path, top: Path) -> Iterator[RunLog]:
    """One run: each state holds the history of those before it, so the newest that can be read is enough."""
    log = RunLog(name_of(folder, top), FORMAT, folder)
    checkpoints = [path for path in folder.iterdir() if _CHECKPOINT.fullmatch(path.name)]
    checkpoints.sort(key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for place in (folder, *checkpoints):
        if not (place / _STATE_FILE).is_file():
            continue
        try:
            state = parse_json(read_text(place / _STATE_FILE))
            history = [entry for entry in state["log_history"] if isinstance(entry, dict)]
        except (UnfitTextError, KeyError, TypeError) as error:
            log.problems.append(f"{place.name}/{_STATE_FILE}: {error}")
            continue
        log.source = place / _STATE_FILE
        _take(log, state, history)
        if place == folder and whole(state.get("global_step")) == whole(state.get("max_steps")):
            log.ending, log.ending_from = "finished", f"{_STATE_FILE} with global_step = max_steps"
        elif place != folder:
            log.ending, log.ending_from = "unfinished", f"only checkpoints have {_STATE_FILE}"
        for config in (place / "config.json", folder / "config.json"):
            if config.is_file():
                try:
                    log.config = parse_json(read_text(config)) | log.config
                    break
                except UnfitTextError as error:
                    log.problems.append(f"config.json: {error}")
        break
    yield log


def _take(log: RunLog, state: dict[str, Any], history: list[dict[str, Any]]) -> None:
    log.config = {
        name: state[key]
        for name, key in (("max_steps", "max_steps"), ("train_batch_size_per_device", "train_batch_size"))
        if state.get(key) is not None
    }
    filtered = 0
    for entry in history:
        step = whole(entry.get("step"))
        if step is None:
            continue
        values = {name: value for name, value in numbers(entry) if name not in _NO_METRIC}
        if values.get("loss") == 0 and math.isnan(values.get("grad_norm", math.nan)):
            values["loss"] = math.nan  # logging_nan_inf_filter: the Trainer leaves NaN out of its mean
            filtered += 1
        log.add(step, values.items())
    if filtered:
        log.problems.append(f"{filtered} entries with loss 0 are the Trainer's filter of NaN: taken for NaN")
