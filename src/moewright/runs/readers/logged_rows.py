"""One logged run as one row of the run table: which loss is final, how many tokens, how it ended, what model it was."""

import json
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moewright.architecture.spec import Architecture
from moewright.errors import UserError
from moewright.hf.config import from_config
from moewright.runs.derived import read_architecture
from moewright.runs.readers.column_map import ColumnMap
from moewright.runs.readers.metric_roles import (
    SETTINGS,
    evaluation_losses,
    flat,
    setting,
    token_counters,
    tokens_per_step,
    training_losses,
)
from moewright.runs.readers.own_steps import step_name
from moewright.runs.readers.run_log import LoggedPoint, RunLog, number

LAST_STEPS = 10
"""`train_loss` is the mean over what was logged of these last steps: one record, where a log has every tenth."""
_STATES = {"finished": "done", "failed": "failed", "diverged": "diverged", "unfinished": "interrupted"}
ModelReader = Callable[[Mapping[str, Any]], Architecture | None]
"""From a run's settings to its model; None where they say none, UserError where they are not understood."""


def _no_model(config: Mapping[str, Any]) -> None:
    """Of settings that nobody reads."""


_Finding = tuple[str, str, str, str]
"""run_id, problem, column, detail."""


@dataclass
class Settled:
    """A run's metrics with each step once: the last branch of a run that went back."""

    points: dict[str, list[tuple[int, float]]]
    repeated: int
    restarts: int


def settle(log: RunLog, train: str | None) -> Settled:
    """Leaves out what a restart did again: what was written before it at its first step or later.

    A restart is where the steps of the training loss go back to one that was there already. Steps that are merely out
    of order are sorted.
    """
    cuts: list[tuple[int, int]] = []
    repeated = 0
    if train is not None:
        seen: set[int] = set()
        last = -math.inf
        for order, step, _ in log.points[train]:
            if step in seen and step < last:
                cuts.append((order, step))
            repeated += step in seen and step != last
            seen.add(step)
            last = step
    shift = 1 if _counts_from_zero(log, train) else 0
    points = {}
    for name, series in log.points.items():
        values = {
            step + shift: value
            for order, step, value in series
            if not cuts or not any(order < cut and step >= first for cut, first in cuts)
        }
        points[name] = sorted(values.items())
    return Settled(points, repeated, max(len(cuts), log.sessions - 1))


def _counts_from_zero(log: RunLog, train: str | None) -> bool:
    """Whether step 0 was trained: the logger says so, or its counter of tokens is not 0 there."""
    if log.counts_from_zero:
        return True
    series = log.points.get(train) if train is not None else None
    if not series or series[0][1] != 0:
        return False
    counter = next(iter(token_counters(log.points)), None)
    if counter is not None:
        first: LoggedPoint = log.points[counter][0]
        return first[1] == 0 and first[2] > 0
    planned = setting(flat(log.config), SETTINGS["planned_steps"])
    return planned is not None and max(step for _, step, _ in series) + 1 == planned[1]


def rows_of(
    logs: Sequence[RunLog],
    tops: Sequence[Path],
    mapping: ColumnMap | None = None,
    final_tokens: float | None = None,
    read_model: ModelReader = _no_model,
) -> tuple[list[dict[str, Any]], list[_Finding]]:
    """A row for each run, and what should be known of it.

    `final_tokens`: `loss` is the mean of the training loss over the last so many tokens, in place of the last
    evaluation. `read_model`: the architecture of settings that are no Hugging Face config. Raises UserError for a name
    in `mapping` that no run has.
    """
    names = _unique(logs, tops)
    if mapping is not None:
        known = {name for log in logs for name in (*log.points, *flat(log.config))}
        mapping.check(known)
    rows, findings = [], []
    for log, name in zip(logs, names, strict=True):
        row, found = _row(log, name, tops, mapping, final_tokens, read_model)
        rows.append(row)
        findings += [(name, *each) for each in found]
    _compare_lengths(rows)
    for row in rows:
        row["state"] = _STATES[row["status"]]
    return rows, findings


def _unique(logs: Sequence[RunLog], tops: Sequence[Path]) -> list[str]:
    """The runs' names; those that several have, with the place that tells them apart."""
    counts = Counter(log.id for log in logs)
    names = [log.id if counts[log.id] == 1 else f"{_relative(log.source, tops)}:{log.id}" for log in logs]
    again = Counter(names)
    return [
        name if again[name] == 1 else f"{name}:{log.key or place}"
        for place, (name, log) in enumerate(zip(names, logs, strict=True))
    ]


def _relative(path: Path, tops: Sequence[Path]) -> str:
    """Below the one place that was given; of several with that before it, since two may hold the same names."""
    if len(tops) > 1:
        return path.as_posix()
    for top in tops:
        if path.is_relative_to(top):
            return path.relative_to(top).as_posix() if path != top else path.name
    return str(path)


@dataclass
class LossSeries:
    """A run's losses of training and of evaluation by step, each step once, and what they are called in its log."""

    train: str | None
    evaluation: str | None
    settled: Settled

    @property
    def training(self) -> list[tuple[int, float]]:
        """Steps and losses; none where no metric is the loss."""
        return self.settled.points.get(self.train, []) if self.train is not None else []

    @property
    def evaluations(self) -> list[tuple[int, float]]:
        """The same of held-out text."""
        return self.settled.points.get(self.evaluation, []) if self.evaluation is not None else []


def loss_series(log: RunLog, mapping: ColumnMap | None = None) -> LossSeries:
    """The losses of one run, by the likeliest names or by `mapping`'s."""
    train = _chosen("train_loss", training_losses(log.points), mapping, log)
    evaluation = _chosen("loss", evaluation_losses(log.points), mapping, log)
    return LossSeries(train, evaluation, settle(log, train))


def _row(
    log: RunLog,
    name: str,
    tops: Sequence[Path],
    mapping: ColumnMap | None,
    final_tokens: float | None,
    read_model: ModelReader,
) -> tuple[dict[str, Any], list[tuple[str, str, str]]]:
    config = flat(log.config)
    if not log.points:
        _summary_as_points(log, config)
    found: list[tuple[str, str, str]] = [("log", "", problem) for problem in log.problems]
    losses = loss_series(log, mapping)
    train, evaluation, settled = losses.train, losses.evaluation, losses.settled
    training, evaluations = losses.training, losses.evaluations
    others = evaluation_losses(log.points)
    if evaluation is not None and len(others) > 1 and (mapping is None or mapping.metric("loss") is None):
        found.append(("several losses", "loss", f"{evaluation} is taken of {', '.join(others)}; --map can say another"))
    steps = max((series[-1][0] for series in (training, evaluations) if series), default=None)
    if training and steps is not None:
        steps = max(training[-1][0], evaluations[-1][0] if evaluations else 0)
    row: dict[str, Any] = {"run_id": name, "source": _relative(log.source, tops), "format": log.format}
    row |= _settings(config)
    planned = row.get("planned_steps")
    row |= _status(log, training, evaluations, steps, planned)
    row |= {"steps": steps, "restarts": settled.restarts, "repeated_steps": settled.repeated}
    row["schedule_fraction"] = min(1.0, steps / planned) if steps and planned else None
    row |= _tokens(settled, config, steps, found)
    row |= _losses(row, train, training, evaluation, evaluations, final_tokens)
    if row["status"] == "finished" and row["loss"] is None:
        row["status"], row["status_from"] = "unfinished", f"{row['status_from']}, but no loss was found"
        found.append(("no loss", "loss", f"no metric is a loss; logged: {', '.join(sorted(log.points)) or 'nothing'}"))
    row |= _model(log, row, found, read_model)
    if mapping is not None:
        row |= mapping.columns(config, settled.points)
    return row, found


def _chosen(column: str, likely: list[str], mapping: ColumnMap | None, log: RunLog) -> str | None:
    named = mapping.metric(column) if mapping is not None else None
    if named is not None:
        return named if named in log.points else None
    return likely[0] if likely else None


def _summary_as_points(log: RunLog, config: Mapping[str, Any]) -> None:
    """A row of a table of runs has last values only: they are those of the last step."""
    last = step_name(list(config))
    planned = setting(config, SETTINGS["planned_steps"])
    step = number(config[last]) if last is not None else None
    if step is None and planned is not None and log.ending == "finished":
        step = planned[1]
    if step is not None and math.isfinite(step):
        wanted = {*training_losses(config), *evaluation_losses(config), *token_counters(config)}
        values = [(key, value) for key in wanted if (value := number(config[key])) is not None]
        log.add(int(step), values)


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: found[1]
        for name, names in SETTINGS.items()
        if (found := setting(config, names)) is not None and math.isfinite(found[1])
    }


def _status(
    log: RunLog,
    training: list[tuple[int, float]],
    evaluations: list[tuple[int, float]],
    steps: int | None,
    planned: float | None,
) -> dict[str, Any]:
    if (training and not math.isfinite(training[-1][1])) or (evaluations and not math.isfinite(evaluations[-1][1])):
        first = next((step for step, value in training if not math.isfinite(value)), None)
        return {"status": "diverged", "status_from": f"loss not finite from step {first or evaluations[-1][0]} on"}
    complete = steps is not None and planned is not None and steps >= planned
    if log.ending == "failed" and not (complete and "signs" in log.ending_from):
        return {"status": "failed", "status_from": log.ending_from}
    if complete:
        return {"status": "finished", "status_from": "all planned steps"}
    if log.ending is not None and not (log.ending == "finished" and planned is not None and steps is None):
        return {"status": log.ending, "status_from": log.ending_from}
    if planned is not None:
        return {"status": "unfinished", "status_from": f"{steps or 0} of {planned:.0f} planned steps"}
    return {"status": "finished", "status_from": ""}  # `_compare_lengths` has the last word


def _compare_lengths(rows: list[dict[str, Any]]) -> None:
    """Where nothing tells a run's planned length, runs that are shorter than the longest beside them are unfinished."""
    unknown = [row for row in rows if row["status_from"] == ""]
    lengths = Counter(row["steps"] for row in rows if row["status"] in ("finished", "diverged"))
    usual = lengths.most_common(1)[0][0] if lengths else None
    for row in unknown:
        steps = row["steps"]
        if usual is not None and lengths[usual] > 1 and (steps is None or steps < usual):
            row["status"] = "unfinished"
            row["status_from"] = f"assumed: {steps or 0} steps, most others {usual}"
        else:
            row["status_from"] = "assumed: nothing says how it ended"


def _tokens(
    settled: Settled, config: Mapping[str, Any], steps: int | None, found: list[tuple[str, str, str]]
) -> dict[str, Any]:
    counter = next(iter(token_counters(settled.points)), None)
    by_settings = tokens_per_step(config)
    per_step, why = None, None
    if counter is not None:
        counted = [point for point in settled.points[counter] if point[0] > 0 and math.isfinite(point[1])]
        if counted and counted[-1][1] > 0:
            per_step = counted[-1][1] / counted[-1][0]
            why = f"{counter} at step {counted[-1][0]}"
    if by_settings is not None:
        if per_step is None:
            per_step, why = by_settings[0], f"steps x {by_settings[1]}"
        elif abs(per_step / by_settings[0] - 1) > 0.01 if by_settings[0] else False:
            detail = f"{why} means {per_step:,.0f} a step, {by_settings[1]} {by_settings[0]:,.0f}: the counter is taken"
            found.append(("tokens disagree", "train_tokens", detail))
    return {
        "batch_tokens": per_step,
        "train_tokens": per_step * steps if per_step is not None and steps else None,
        "tokens_from": why if per_step is not None and steps else None,
    }


def _losses(
    row: Mapping[str, Any],
    train: str | None,
    training: list[tuple[int, float]],
    evaluation: str | None,
    evaluations: list[tuple[int, float]],
    final_tokens: float | None,
) -> dict[str, Any]:
    """`loss` by its rule, which `final_rule` states; none for a run that diverged."""
    last = [value for step, value in training if step > training[-1][0] - LAST_STEPS]
    mean = sum(last) / len(last) if last else None
    columns: dict[str, Any] = {
        "train_loss": mean if mean is not None and math.isfinite(mean) else None,
        "loss": None,
        "final_rule": None,
        "final_step": None,
    }
    if row["status"] == "diverged":
        return columns
    if final_tokens is not None:
        per_step = row["batch_tokens"]
        if per_step is None or not training:
            return columns
        window = [value for step, value in training if step > training[-1][0] - final_tokens / per_step]
        value, why = sum(window) / len(window), f"mean of {train} over the last {final_tokens:,.0f} tokens"
        step = training[-1][0]
    elif evaluations:
        step, value = evaluations[-1]
        why = f"last evaluation: {evaluation}"
    elif mean is not None:
        step, value, why = training[-1][0], mean, f"no evaluation: mean of {train} over the last {LAST_STEPS} steps"
    else:
        return columns
    return columns | {"loss": value, "final_rule": why, "final_step": step} if math.isfinite(value) else columns


def _model(
    log: RunLog, row: Mapping[str, Any], found: list[tuple[str, str, str]], read_model: ModelReader
) -> dict[str, Any]:
    """The architecture, where the run's own settings are a Hugging Face config or `read_model` understands them."""
    config = next(_hf_configs(log.config), None)
    try:
        if config is None:
            model = read_model(log.config)
        else:
            with warnings.catch_warnings():  # of a run's other settings, which stand beside the model's
                warnings.simplefilter("ignore")
                model = from_config(config)
    except UserError as error:
        found.append(("no architecture", "architecture", str(error)))
        return {}
    if model is None:
        return {}
    text = json.dumps(model.to_dict())
    counted = read_architecture(text)
    logged = row.get("total_params")
    if logged is not None and abs(float(counted["total_params"]) / logged - 1) > 1e-3:
        detail = f"the run says {logged:,.0f} parameters, its config has {counted['total_params']:,.0f}"
        found.append(("sizes disagree", "total_params", detail))
    return {"architecture": text, **counted}


def _hf_configs(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if isinstance(config.get("model_type"), str) and "hidden_size" in config:
        yield {name: value for name, value in config.items() if not name.startswith("_")}
    for value in config.values():
        if isinstance(value, dict):
            yield from _hf_configs(value)
