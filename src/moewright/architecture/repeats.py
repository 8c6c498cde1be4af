"""The compact way to write many layers: runs and repeated patterns, found again from the plain list."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple


class Run(NamedTuple):
    """`pattern` (positions in the plain list) written once and repeated `times`; a nested run is a Run itself."""

    times: int
    pattern: "list[int | Run]"


def find_runs(keys: Sequence[Hashable]) -> "list[int | Run]":
    """Write a list as runs: at each position take the pattern whose repeats save the most items.

    The result depends on the keys only, so equal lists always get equal runs. Patterns nest one level: within a
    repeated pattern only repeats of single items are folded again. At worst quadratic in the number of items.
    """
    return _fold(keys, 0, len(keys), longest_pattern=len(keys))


def _fold(keys: Sequence[Hashable], start: int, stop: int, longest_pattern: int) -> "list[int | Run]":
    runs: list[int | Run] = []
    while start < stop:
        best_saved, best_period, best_times = 0, 1, 1
        for period in range(1, min(longest_pattern, (stop - start) // 2) + 1):
            if best_saved >= stop - start - period:  # no longer pattern can save more
                break
            times = _times(keys, start, stop, period)
            if (times - 1) * period > best_saved:
                best_saved, best_period, best_times = (times - 1) * period, period, times
        if best_times == 1:
            runs.append(start)
        else:
            runs.append(Run(best_times, _fold(keys, start, start + best_period, longest_pattern=1)))
        start += best_period * best_times
    return runs


def _times(keys: Sequence[Hashable], start: int, stop: int, period: int) -> int:
    """How often the pattern keys[start:start+period] stands there in a row."""
    end = start + period
    while end < stop and keys[end] == keys[end - period]:
        end += 1
    return (end - start) // period
