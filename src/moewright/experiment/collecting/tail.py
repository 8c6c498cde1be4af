"""The end of a run's metrics: its last records, without reading what came before. No torch."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from moewright.experiment.run_folder import METRICS

HEAD, TAIL = 4096, 65536
"""Bytes read from the beginning, for the first record, and at first from the end: whole files of short runs."""
AVERAGED = 10
"""Logged steps that the training loss is the mean of."""

_TIME = re.compile(rb'"time": (\d+(?:\.\d+)?)\}$', re.MULTILINE)


@dataclass(frozen=True)
class Tail:
    """What the last records of a run say."""

    started: float | None = None
    ended: float | None = None
    """Unix times of the first and of the last record, by the clock of the machine that wrote them."""
    step: int | None = None
    """The last optimizer step that was logged."""
    train_loss: float | None = None
    """Mean over the last 10 logged steps, in nats per token."""
    drop_fraction: float | None = None
    """Share of the choices dropped in the last logged step, averaged over layers."""
    evaluation: Mapping[str, Any] | None = None
    """The last record of that kind; None if there is none."""
    steps_back: float = 0.0
    """The largest number of seconds by which a record is older than the one before it."""


def read_tail(folder: Path) -> Tail:
    """The tail of a run's metrics; an empty one without the file. Raises OSError. Lines that are cut are left out."""
    try:
        file = open(folder / METRICS, "rb")  # noqa: SIM115  (closed below, opened apart for the missing one)
    except FileNotFoundError:
        return Tail()
    with file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(HEAD) if size > TAIL else b""
        wanted = TAIL
        while True:
            start = max(0, size - wanted)
            file.seek(start)
            block = file.read()
            if start:
                block = block[block.find(b"\n") + 1 :]
            train, evaluation = _last_records(block)
            if start == 0 or (len(train) == AVERAGED and evaluation is not None):
                break
            wanted *= 4
    return _summary(head, block, train, evaluation)


def _last_records(block: bytes) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """The last training records of distinct steps, newest first, and the last evaluation."""
    train: list[dict[str, Any]] = []
    evaluation: dict[str, Any] | None = None
    for line in reversed(block.splitlines()):
        is_train = b'"kind": "train"' in line[:40]
        if (is_train and len(train) == AVERAGED) or (not is_train and b'"kind": "evaluation"' not in line[:40]):
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(record, dict) or not isinstance(record.get("step"), int):
            continue
        if not is_train:
            evaluation = evaluation or record
        elif all(record["step"] < later["step"] for later in train):  # else it was trained again, later in the file
            train.append(record)
        if evaluation is not None and len(train) == AVERAGED:
            break
    return train, evaluation


def _summary(head: bytes, block: bytes, train: list[dict[str, Any]], evaluation: dict[str, Any] | None) -> Tail:
    times = [float(text) for text in (*_TIME.findall(head)[:1], *_TIME.findall(block))]
    losses = [record["loss"] for record in train if isinstance(record.get("loss"), float)]
    return Tail(
        started=times[0] if times else None,
        ended=times[-1] if times else None,
        step=train[0]["step"] if train else None,
        train_loss=sum(losses) / len(losses) if losses else None,
        drop_fraction=mean_of(train[0].get("routing"), "drop_fraction") if train else None,
        evaluation=evaluation,
        steps_back=max((before - after for before, after in pairwise(times) if before > after), default=0.0),
    )


def mean_of(routing: object, name: str) -> float | None:
    """The mean over layers of one of the routing metrics; None where there are none."""
    values = routing.get(name) if isinstance(routing, Mapping) else None
    if not isinstance(values, list) or not values or not all(isinstance(value, int | float) for value in values):
        return None
    return sum(values) / len(values)
