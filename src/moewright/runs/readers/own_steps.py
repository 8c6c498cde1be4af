"""Records whose logger counts its own calls: the step is what the trainer logged as such, if it did."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from moewright.runs.readers.run_log import RunLog, numbers, whole

_STEP_NAME = re.compile(r"(.*(/|\.))?(global_?step|trainer_step|train_step|iteration|iter|step)", re.IGNORECASE)
_CALLS = ("_step", "Step")


def step_name(names: "list[str] | Mapping[str, Any]") -> str | None:
    """Which of the names is the training step's: a metric of the trainer's own before the logger's count of calls."""
    return _step_name(tuple(names))


@lru_cache(4096)
def _step_name(names: tuple[str, ...]) -> str | None:
    """By all names: records of a log have few sets of them."""
    own = [name for name in names if _STEP_NAME.fullmatch(name) and name not in _CALLS]
    own.sort(key=lambda name: ("global" not in name.lower(), name.lower() != "step", len(name)))
    return own[0] if own else next((name for name in _CALLS if name in names), None)


def add_record(log: RunLog, record: Mapping[str, Any], prefix: str = "") -> bool:
    """Adds the record's numbers at its step; False for one without a step."""
    name = step_name(record)
    step = None if name is None else whole(record[name])
    if step is None:
        return False
    log.add(step, [(prefix + key, value) for key, value in numbers(record) if key != name])
    return True
