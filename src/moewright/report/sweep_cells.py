"""The runs of a planned sweep folded into cells: one row with its seeds and multipliers, and which settings to show."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moewright.sweeps.foresight.dry_run import DryRun
    from moewright.sweeps.foresight.remaining import Expected

_COUNTED = ("train_tokens", "tokens_per_active_param", "tokens_per_total_param", "train_flops")
"""Settings that the columns of exact sizes show anyway."""
_LONGEST = 16


@dataclass(frozen=True)
class CellRow:
    """One cell."""

    settings: dict[str, Any]
    sizes: dict[str, float]
    """Of one of its runs."""
    learning_rate: float | None
    """None: to be tuned."""
    tuning: int
    """Runs that only tune."""
    main: int
    done: int
    seconds: float | None
    """Of one run that is left, in the mean; None where unknown or nothing is left."""


def cell_rows(planned: "DryRun") -> list[CellRow]:
    """The cells in the order of the axes."""
    by_cell: dict[int, list[Expected]] = {}
    # Tuning runs stand first in a plan; the cells' own order is that of the others.
    for each in sorted(planned.runs, key=lambda each: each.run.stage == "tune"):
        by_cell.setdefault(id(each.run.cell), []).append(each)
    return [_row(runs) for runs in by_cell.values()]


def _row(runs: "Sequence[Expected]") -> CellRow:
    first = runs[0]
    tuning = sum(each.run.stage == "tune" for each in runs)
    seconds = [each.seconds for each in runs if each.is_left and each.seconds is not None]
    return CellRow(
        settings=first.run.cell.settings,
        sizes=first.run.sizes,
        learning_rate=first.learning_rate,
        tuning=tuning,
        main=len(runs) - tuning,
        done=sum(each.state == "done" for each in runs),
        seconds=statistics.fmean(seconds) if seconds else None,
    )


def column_names(cells: Sequence[dict[str, Any]]) -> list[str]:
    """The settings that tell cells apart: those that vary, without any that only repeats another, and without those
    that the exact sizes show."""
    chosen: list[str] = []
    seen: list[list[int]] = []
    for name in dict.fromkeys(name for settings in cells for name in settings):
        values = [plain(settings.get(name)) for settings in cells]
        pattern = [values.index(value) for value in values]  # equal for columns that tell the same cells apart
        if len(set(values)) > 1 and name not in _COUNTED and pattern not in seen:
            chosen.append(name)
            seen.append(pattern)
    return chosen


def plain(value: Any) -> str:
    """A setting's value in a table's cell."""
    if value is None:
        return ""
    text = f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
