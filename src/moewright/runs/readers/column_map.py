"""`--map FILE`: which of a logger's metrics and settings is which column of ours."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moewright.complaints import hint
from moewright.errors import UserError
from moewright.files import read_mapping
from moewright.quantities import brief
from moewright.runs.readers.run_log import number

_METRICS = ("loss", "train_loss")
_KEYS = ("from", "times", "value")


class ColumnMap:
    """Our column -> their name, `{from: name, times: factor}` or `{value: constant}`."""

    def __init__(self, entries: Mapping[str, Any], where: str) -> None:
        self.where = where
        self._names: dict[str, tuple[str, float]] = {}
        self._values: dict[str, Any] = {}
        for column, entry in entries.items():
            given = (
                entry if isinstance(entry, dict) else {"from": entry} if isinstance(entry, str) else {"value": entry}
            )
            for key in given:
                if key not in _KEYS:
                    raise UserError(f"{where}: {column}: {brief(key)} is not known{hint(key, _KEYS)}")
            if ("from" in given) == ("value" in given):
                raise UserError(f"{where}: {column}: give a name, {{from: name, times: factor}} or {{value: constant}}")
            factor = number(given.get("times", 1))
            if factor is None or not math.isfinite(factor):
                raise UserError(f"{where}: {column}: times must be a number, found {brief(given.get('times'))}")
            if "value" in given:
                self._values[column] = given["value"]
            else:
                taken = (str(given["from"]), factor)
                other = next((name for name, theirs in self._names.items() if theirs == taken), None)
                if other is not None:
                    raise UserError(f"{where}: {column}: {brief(taken[0])} is {other} already, and alike; name another")
                self._names[column] = taken

    @classmethod
    def read(cls, path: Path) -> "ColumnMap":
        """The map of a YAML or JSON file. Raises UserError."""
        return cls(read_mapping(path), str(path))

    def check(self, known: set[str]) -> None:
        """Raises UserError for the first name that is in no run, with the nearest that is."""
        for column, (name, _) in self._names.items():
            if name not in known:
                raise UserError(
                    f"{self.where}: {column}: no run has {brief(name)}{hint(name, sorted(known), quoted=True)}"
                )

    def metric(self, column: str) -> str | None:
        """Which metric a column of losses is of; None where the map does not say."""
        return self._names[column][0] if column in _METRICS and column in self._names else None

    def columns(self, config: Mapping[str, Any], points: Mapping[str, list[tuple[int, float]]]) -> dict[str, Any]:
        """The other columns: constants, settings, and last values of metrics."""
        found = dict(self._values)
        for column, (name, factor) in self._names.items():
            if column in _METRICS:
                continue
            value = config.get(name)
            if points.get(name):
                value = points[name][-1][1]
            if value is None:
                continue
            size = number(value)
            found[column] = value if size is None or factor == 1 else size * factor
        return found
