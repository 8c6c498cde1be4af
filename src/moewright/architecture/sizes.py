"""Sizes are whole numbers, or columns of them: one entry for each of many models that are counted together.

The parts of an architecture that can hold columns are generic over `N_co`, and so are the functions that count them.
What counts one model counts a million, and a type checker knows which of the two a result is for:

    total_params(Architecture(...))         ->  int
    total_params(ArchitectureColumns(...))  ->  Column
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, overload

from typing_extensions import TypeVar

from moewright.records import Size

if TYPE_CHECKING:  # counting a single architecture does not need numpy
    import numpy.typing as npt

    Column = npt.NDArray[Any]
    """One entry a model: int64 for sizes and counts, float64 for FLOPs, seconds and averages."""

    N_co = TypeVar("N_co", int, float, Column, covariant=True, default=int)
    """The sizes that a part holds. Parts are frozen, so one with whole numbers may stand where any number will do.

    A part without brackets has whole numbers, and pydantic validates them as `Size`. `Dense(AnyDense[Size])` would say
    the same, at the cost of a class more for each such part whenever anything starts."""
else:  # pydantic takes constraints or a default
    N_co = TypeVar("N_co", covariant=True, default=Size)

N = TypeVar("N", int, float, "Column")
"""A size or a count: of the kind that the sizes are of."""
F = TypeVar("F", float, "Column")
"""A quantity that need not be whole."""


@overload
def total(values: Iterable[int], start: int) -> int: ...
@overload
def total(values: Iterable[float], start: float) -> float: ...
@overload
def total(values: Iterable[Column | float], start: Column) -> Column: ...
def total(values: Iterable[Any], start: Any) -> Any:
    """The sum, never in place: a column that is added to stays as it was."""
    for value in values:
        start = start + value
    return start
