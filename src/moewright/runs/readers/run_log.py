"""What every reader gives: one run as its logger left it, each metric with its own steps."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from moewright.plain_values import plain_scalar

RunEnding = Literal["finished", "failed", "unfinished"]
LoggedPoint = tuple[int, int, float]
"""Place in the order of writing, step, value."""

PYTHON_WORDS = {"None": None, "True": True, "False": False}
GENERIC = re.compile(
    r"(tb|tensorboard|logs?|runs?|events|structured_logs|wandb|files|lightning_logs|csv|version_\d+|\d{8}[-_]\d{4,6}"
    r"|checkpoint-\d+|hp|metrics|train|training|main|history|output|stdout|stderr|trainer_state|progress|results?)",
    re.IGNORECASE,
)
"""Names of files and folders that loggers give, which do not name a run."""


_ENDINGS = re.compile(r"(\.(gz|csv|tsv|jsonl|ndjson|json|parquet|log|txt|out|err|history|metrics|db|sqlite3?))+$")


@dataclass
class RunLog:
    """One run, or one session of it, as a logger wrote it.

    Times do not order the points, their place in the files does: after a restart the same steps come again.
    """

    id: str
    format: str
    source: Path
    config: dict[str, Any] = field(default_factory=dict)
    ending: RunEnding | None = None
    """What the logger says of the end; None where it says nothing."""
    ending_from: str = ""
    points: dict[str, list[LoggedPoint]] = field(default_factory=dict)
    key: str = ""
    """Sessions with the same key, where there is one, are one run."""
    counts_from_zero: bool = False
    """True: step 0 is the first that was trained."""
    written: int = 0
    problems: list[str] = field(default_factory=list)
    sessions: int = 1

    def add(self, step: int, values: Iterable[tuple[str, float]]) -> None:
        """What was logged together at one step."""
        self.written += 1
        order = self.written
        for name, value in values:
            series = self.points.get(name)
            if series is None:
                series = self.points[name] = []
            series.append((order, step, value))

    def extend(self, later: "RunLog") -> None:
        """A later session of this run: what it repeats replaces what was there."""
        shift = self.written
        for name, series in later.points.items():
            self.points.setdefault(name, []).extend((order + shift, step, value) for order, step, value in series)
        self.written += later.written
        self.config = self.config | later.config
        self.ending, self.ending_from = later.ending, later.ending_from
        self.problems += later.problems
        self.sessions += 1


def number(value: Any) -> float | None:
    """A number of a log: NaN and infinities as text too; None for everything else."""
    kind = type(value)
    if kind is float:
        return value  # type: ignore[no-any-return]
    if kind is bool or not isinstance(value, int | float | str) or (isinstance(value, str) and "_" in value):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def numbers(record: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The numbers of one record by name; nested mappings with their names joined by "/"."""
    found: list[tuple[str, float]] = []
    for name, value in record.items():
        if type(value) is float:  # nearly all are, and a log has millions
            found.append((name, value))
        elif isinstance(value, dict):
            found += [(f"{name}/{inner}", each) for inner, each in numbers(value)]
        elif (each := number(value)) is not None:
            found.append((name, each))
    return found


def plain_setting(text: Any) -> Any:
    """A setting that was logged as text, as a value: True, None and numbers."""
    if not isinstance(text, str):
        return text
    if text in PYTHON_WORDS:
        return PYTHON_WORDS[text]
    try:
        return plain_scalar(text)
    except ValueError:
        return text


def whole(value: Any) -> int | None:
    """A step: a whole number, as number or text; None for everything else."""
    found = number(value)
    return None if found is None or not math.isfinite(found) or found != int(found) else int(found)


def name_of(path: Path, top: Path) -> str:
    """The run's name from where its file lies: the last part of the path that no logger gives by itself.

    >>> name_of(Path("sweep/moe-s/tb/20261127-1405"), Path("sweep"))
    'moe-s'
    """
    parts = [path, *path.parents]
    for part in parts:
        stem = _ENDINGS.sub("", part.name)
        if stem and not GENERIC.fullmatch(stem):
            return re.sub(r"^log[_-](?=.)", "", stem)
        if part == top:
            break
    return path.resolve().name if path == top else path.name
