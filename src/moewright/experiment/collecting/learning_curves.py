"""What a run's metrics say: their end, without reading what came before, and the whole learning curve. No torch."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from moewright.experiment.metrics import EvaluationLine, TrainLine, read_metrics, times_written
from moewright.experiment.run_folder import METRICS
from moewright.files import open_regular
from moewright.plain_values import parse_loosely

if TYPE_CHECKING:
    import pandas as pd

HEAD, TAIL = 4096, 65536
"""Bytes read from the beginning, for the first record, and at first from the end: whole files of short runs."""
AVERAGED = 10
"""Logged steps that the training loss is the mean of."""


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
    tokens_per_second: float | None = None
    """Mean over those steps; each was measured by a clock that does not jump."""
    drop_fraction: float | None = None
    """Share of the choices dropped in the last logged step, averaged over layers."""
    evaluation: EvaluationLine | None = None
    """The last one; None if there is none."""
    steps_back: float = 0.0
    """The largest number of seconds by which a record is older than the one before it."""


def read_tail(folder: Path) -> Tail:
    """The tail of a run's metrics; an empty one without the file. Raises OSError. Lines that are cut are left out."""
    try:
        file = open_regular(folder / METRICS)  # closed below, opened apart for the missing one
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


_SAMPLE = 16384
"""Bytes in which a line of training is looked for: those of a hundred layers with experts fit."""


def sample_losses(folder: Path, points: int = 10) -> list[float]:
    """Training losses at about equal distances along a run's metrics, in nats per token: the shape of its curve.

    However long the run, `points` short pieces are read. Empty without the file. Raises OSError.
    """
    try:
        file = open_regular(folder / METRICS)  # closed below, opened apart for the missing one
    except FileNotFoundError:
        return []
    found: list[TrainLine] = []
    with file:
        size = os.fstat(file.fileno()).st_size
        for place in range(points):
            is_last = place == points - 1
            start = max(0, size - _SAMPLE) if is_last else size * place // points
            file.seek(start)
            block = file.read(_SAMPLE)
            lines = block[block.find(b"\n") + 1 :] if start else block
            found += _last_records(lines)[0][:1] if is_last else _first_record(lines)
    by_step = {line.step: line.loss for line in found if line.loss is not None}
    return [by_step[step] for step in sorted(by_step)]


def _first_record(block: bytes) -> list[TrainLine]:
    """The first whole training record."""
    for line in block.splitlines():
        if b'"kind": "train"' in line[:40]:
            with suppress(ValueError):  # cut short, or damaged
                return [TrainLine.model_validate(parse_loosely(line))]
    return []


def _last_records(block: bytes) -> tuple[list[TrainLine], EvaluationLine | None]:
    """The last training records of distinct steps, newest first, and the last evaluation."""
    train: list[TrainLine] = []
    evaluation: EvaluationLine | None = None
    for line in reversed(block.splitlines()):
        is_train = b'"kind": "train"' in line[:40]
        if (is_train and len(train) == AVERAGED) or (not is_train and b'"kind": "evaluation"' not in line[:40]):
            continue
        try:
            record = (TrainLine if is_train else EvaluationLine).model_validate(parse_loosely(line))
        except ValueError:  # cut short, or damaged
            continue
        if isinstance(record, EvaluationLine):
            evaluation = evaluation or record
        elif all(record.step < later.step for later in train):  # else it was trained again, later in the file
            train.append(record)
        if evaluation is not None and len(train) == AVERAGED:
            break
    return train, evaluation


def _summary(head: bytes, block: bytes, train: list[TrainLine], evaluation: EvaluationLine | None) -> Tail:
    times = [*times_written(head)[:1], *times_written(block)]
    losses = [record.loss for record in train if record.loss is not None]
    speeds = [record.tokens_per_second for record in train if record.tokens_per_second is not None]
    return Tail(
        started=times[0] if times else None,
        ended=times[-1] if times else None,
        step=train[0].step if train else None,
        train_loss=sum(losses) / len(losses) if losses else None,
        tokens_per_second=sum(speeds) / len(speeds) if speeds else None,
        drop_fraction=mean(train[0].routing.drop_fraction) if train and train[0].routing is not None else None,
        evaluation=evaluation,
        steps_back=max((before - after for before, after in pairwise(times) if before > after), default=0.0),
    )


def mean(values: Sequence[float | None]) -> float | None:
    """The mean over layers; None without layers, or where one has no finite value."""
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers and len(numbers) == len(values) else None


# The whole curve


class CurvePoint(NamedTuple):
    """A row of the table of learning curves."""

    run_id: str
    kind: Literal["train", "evaluation"]
    step: int
    tokens: float | None
    loss: float | None
    """In nats per token."""
    learning_rate: float | None
    """Of a training step."""


def read_curves(runs: Iterable[tuple[str, Path]]) -> "pd.DataFrame":
    """Learning curves of runs (id, folder) as one long table: a row per run, kind and logged step, in this order.

    Steps that were trained again after an interruption count once, with what was written last. Runs without metrics
    have no rows. Raises OSError.
    """
    rows: list[CurvePoint] = []
    for run_id, folder in runs:
        if not (folder / METRICS).is_file():
            continue
        latest: dict[tuple[bool, int], CurvePoint] = {}
        for line in read_metrics(folder):
            if isinstance(line, TrainLine | EvaluationLine):
                rate = line.learning_rate if isinstance(line, TrainLine) else None
                point = CurvePoint(run_id, line.kind, line.step, line.tokens, line.loss, rate)
                latest[isinstance(line, EvaluationLine), line.step] = point
        rows += [latest[key] for key in sorted(latest)]
    return curve_frame(rows)


def curve_frame(rows: Sequence[CurvePoint]) -> "pd.DataFrame":
    """Learning curves as a table with the types of its columns, without rows too."""
    import pandas as pd  # a run that ends shows its curve without it

    frame = pd.DataFrame(rows, columns=pd.Index(CurvePoint._fields))
    return frame.astype({"step": "int64", "tokens": float, "loss": float, "learning_rate": float})
