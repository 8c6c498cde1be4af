"""Columns that remember how they were computed, so that a page can compute them again without a second formula.

A `RecordedColumn` is an array, and whatever counts designs or gives their losses takes it for one. Beside its values it
keeps the operation that they came from. A `Program` collects such results as one list of operations over a few columns,
for an interpreter of some twenty operations in any language. What leaves the record on its way, through a function that
makes a plain array of its argument, is carried as values: that costs space and no truth.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

_OPERATIONS: Mapping[Any, str] = {
    np.add: "add",
    np.subtract: "subtract",
    np.multiply: "multiply",
    np.true_divide: "divide",
    np.floor_divide: "floor_divide",
    np.power: "power",
    np.float_power: "power",
    np.negative: "negative",
    np.exp: "exp",
    np.log: "log",
    np.log2: "log2",
    np.log10: "log10",
    np.sqrt: "sqrt",
    np.ceil: "ceil",
    np.floor: "floor",
    np.maximum: "maximum",
    np.minimum: "minimum",
    np.greater: "greater",
    np.greater_equal: "greater_equal",
    np.less: "less",
    np.less_equal: "less_equal",
}


_NEUTRAL = {"add": 0.0, "multiply": 1.0, "divide": 1.0}


class RecordedColumn(np.ndarray[Any, Any]):
    """An array with the operation that gave it: its name and its arguments, which may be recorded columns themselves.

    >>> width = named("width", np.array([1024, 2048]))
    >>> area = 2 * width * width
    >>> area.tolist(), area.operation[0]
    ([2097152, 8388608], 'multiply')
    """

    operation: tuple[Any, ...] | None

    def __array_finalize__(self, obj: Any) -> None:
        self.operation = None  # views and copies are plain columns

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [_plain(value) for value in inputs]
        if "out" in kwargs:
            kwargs["out"] = tuple(_plain(value) for value in kwargs["out"])
        values = getattr(ufunc, method)(*plain, **kwargs)
        if method != "__call__" or kwargs:
            return values
        if ufunc is np.square:
            return _recorded(values, "multiply", inputs[0], inputs[0])
        if ufunc is np.reciprocal:
            return _recorded(values, "divide", 1.0, inputs[0])
        return _recorded(values, _OPERATIONS[ufunc], *inputs) if ufunc in _OPERATIONS else values


def named(name: str, values: Any) -> RecordedColumn:
    """A column that a program starts from, or a number that it is given."""
    return _recorded(values, "given", name)


def _recorded(values: Any, *operation: Any) -> RecordedColumn:
    column = np.asarray(values).view(RecordedColumn)
    column.operation = operation
    return column


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, RecordedColumn) else value


class Program:
    """Operations in an order in which each finds its arguments; the same operation on the same arguments once."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, ...]] = []
        """("given", name), ("number", value), ("column", number of `carried`), or an operation and steps it takes."""
        self.carried: list[Any] = []
        """Columns that left the record."""
        self._known: dict[Any, int] = {}
        self._held: dict[int, tuple[Any, int]] = {}

    def add(self, value: Any) -> int:
        """The step that gives a column or a number."""
        if id(value) in self._held:
            return self._held[id(value)][1]
        if isinstance(value, RecordedColumn) and value.operation is not None:
            name, *arguments = value.operation
            is_given = name == "given"
            step = self._step(value.operation) if is_given else self._operation(name, [*map(self.add, arguments)])
        else:
            step = self._carry(np.asarray(value, dtype=np.float64))
        self._held[id(value)] = value, step  # held, for another object might get its id
        return step

    def _operation(self, name: str, arguments: list[int]) -> int:
        """Without what changes nothing: sums over components start from 0, and most models have none of most."""
        neutral = _NEUTRAL.get(name)
        for place, argument in enumerate(arguments):
            kind, value = self.steps[argument][:2]
            if kind == "number" and (value == neutral and (place or name != "divide")):
                return arguments[1 - place]
            if kind == "number" and value == 0 and name == "multiply":
                return argument
        return self._step((name, *arguments))

    def _carry(self, values: Any) -> int:
        if values.size and (values == values.flat[0]).all():
            return self._step(("number", float(values.flat[0])))
        key = values.tobytes()
        if key not in self._known:
            self.carried.append(values)
            self._known[key] = self._step(("column", len(self.carried) - 1))
        return self._known[key]

    def _step(self, step: tuple[Any, ...]) -> int:
        if step not in self._known:
            self.steps.append(step)
            self._known[step] = len(self.steps) - 1
        return self._known[step]
