"""A sweep before it is run: its cells, what they will take, and what they can tell, at 80 columns."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from moewright.quantities import counted, format_bytes, format_count, format_duration
from moewright.report.forecast_tables import print_forecast
from moewright.report.plain_tables import bare_table
from moewright.report.sweep_tables import show_settings
from moewright.screen import Screen, styled
from moewright.sweeps.foresight.preflight import WORTH_WARNING

if TYPE_CHECKING:
    from moewright.sweeps.foresight.dry_run import DryRun
    from moewright.sweeps.foresight.makespan import RemainingRun


_MOST_CELLS = 60
_MOST_LINES = 8


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
    by_cell: dict[int, list[RemainingRun]] = {}
    # Tuning runs stand first in a plan; the cells' own order is that of the others.
    for each in sorted(planned.runs, key=lambda each: each.run.stage == "tune"):
        by_cell.setdefault(id(each.run.cell), []).append(each)
    return [_row(runs) for runs in by_cell.values()]


def _row(runs: "Sequence[RemainingRun]") -> CellRow:
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


def print_dry_run(console: Screen, planned: "DryRun") -> None:
    """Cells, totals, everything that deserves a look, and the forecasts."""
    _print_cells(console, planned)
    console.print(_totals(planned))
    _print_notes(console, planned)
    for forecast in planned.forecasts:
        console.print()
        print_forecast(console, forecast)


def _print_cells(console: Screen, planned: "DryRun") -> None:
    rows = cell_rows(planned)
    names = column_names([row.settings for row in rows])
    table = bare_table("Cells", narrow=True)
    for name in names:
        words = name.rpartition(".")[2].split("_")
        table.add_column(" ".join(words), justify="right", vertical="bottom", min_width=max(map(len, words)))
    has_tuning = any(row.tuning for row in rows)
    headers = ["total", "active", "tokens", "FLOPs", "rate", *(["tune"] if has_tuning else []), "runs", "each"]
    for header in [*headers, "disk"]:
        table.add_column(header, justify="right", vertical="bottom", no_wrap=True)
    has_states = set(planned.states) != {"pending"}
    if has_states:
        table.add_column("done", justify="right", vertical="bottom", no_wrap=True)
    for row in rows[:_MOST_CELLS]:
        table.add_row(*(plain(row.settings.get(name)) for name in names), *_sizes(row, has_tuning, has_states))
    console.print(table)
    if len(rows) > _MOST_CELLS:
        console.print(f"and {counted(len(rows) - _MOST_CELLS, 'further cell')}; --json has every run")


def _sizes(row: CellRow, has_tuning: bool, has_states: bool) -> list[str]:
    """The cells of a row after its settings."""
    cells = [
        format_count(row.sizes["total_params"], 3),
        format_count(row.sizes["active_params"], 3),
        format_count(row.sizes["train_tokens"], 3),
        f"{row.sizes['train_flops']:.1e}".replace("e+", "e"),
        "tuned" if row.learning_rate is None else f"{row.learning_rate:.2g}",
        *([str(row.tuning) if row.tuning else ""] if has_tuning else []),
        str(row.main),
        "" if row.seconds is None else format_duration(row.seconds),
        format_bytes(row.sizes["peak_disk_bytes"], 2),
    ]
    return cells + ([f"{row.done}/{row.tuning + row.main}"] if has_states else [])


def _totals(planned: "DryRun") -> Table:
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    left = planned.left
    stages = ", ".join(f"{count:,} {name}" for name, count in planned.stages.items())
    more = f"; tuning may ask for {planned.more_tuning:,} more" if planned.more_tuning else ""
    table.add_row()
    table.add_row("runs", f"{len(planned.runs):,}: {stages}{more}")
    if planned.out is not None:
        states = ", ".join(f"{count:,} {state}" for state, count in planned.states.items())
        table.add_row("in the folder", f"{states}; {len(left):,} to do")
    flops = sum(each.run.sizes["train_flops"] for each in left)
    tokens = sum(each.run.sizes["train_tokens"] for each in left)
    table.add_row("to compute", f"{flops:.3g} FLOPs, {format_count(tokens, 3)} tokens")
    table.add_row("time", _time(planned))
    if planned.calibration is not None:
        table.add_row("calibration", _calibration(planned))
    disk = planned.disk
    table.add_row(
        "disk",
        f"{format_bytes(disk.peak, 3)} at most, {format_bytes(disk.kept, 3)} kept (keep: {planned.keep}); "
        f"{format_bytes(disk.free, 3)} free",
    )
    return table


def _time(planned: "DryRun") -> str:
    if planned.executor != "local":
        return f"not estimated: --executor {planned.executor} runs elsewhere, and only this machine can be measured"
    if planned.left and planned.calibration is None:
        return "unknown: this machine cannot be measured (see the warning)"
    if planned.seconds is None or planned.calibration is None:
        return "nothing is left to do"
    text = f"{format_duration(planned.seconds)} on this machine, {planned.jobs} at a time"
    most = planned.most_seconds or planned.seconds
    return f"{text}; {format_duration(most)} if tuning asks for the most" if most > 1.01 * planned.seconds else text


def _calibration(planned: "DryRun") -> str:
    calibration = planned.calibration
    assert calibration is not None
    error = "of unknown error: too few kinds" if calibration.error is None else f"+- {calibration.error:.0%}"
    return (
        f"{calibration.source}; a step of another kind {error} (each left out in turn); "
        f"{calibration.start_seconds:.1f} s to start a run"
    )


def _print_notes(console: Screen, planned: "DryRun") -> None:
    if not planned.disk.fits:
        short = planned.disk.peak - planned.disk.free
        console.print(styled("[red]warning:[/red] the disk is short of {}", format_bytes(short, 3)))
    for drift in planned.drifts:
        where = show_settings(drift.settings)
        text = f"{drift.what} parameters drift from the base's by up to {drift.largest:+.1%} ({where})"
        if drift.above:
            text = f"warning: {text}; {drift.above} of {counted(drift.cells, 'cell')} by more than {WORTH_WARNING:.0%}"
        console.print(f"- {text}")
    for text, count in planned.warnings.items():
        console.print(f"- warning, {counted(count, 'cell')}: {text}")
    plan = planned.plan
    if plan.merged:
        _print_list(
            console,
            f"named twice and run once: {counted(plan.merged, 'run')}",
            [f"{show_settings(cell.settings)} is {show_settings(other.settings)}" for cell, other in plan.duplicates],
        )
    if planned.problems:
        lines = dict.fromkeys(f"{show_settings(run.cell.settings)}: {problem}" for run, problem in planned.problems)
        _print_list(console, f"{counted(len(planned.problems), 'run')} would fail", list(lines))
    if plan.invalid:
        lines_ = [f"{show_settings(cell.settings)}: {cell.problem}" for cell in plan.invalid]
        _print_list(console, f"without a model: {counted(len(plan.invalid), 'cell')}", lines_)


def _print_list(console: Screen, title: str, lines: Sequence[str]) -> None:
    console.print(f"- {title}{':' if lines else ''}")
    for line in lines[:_MOST_LINES]:
        console.print(f"    {line}")
    if len(lines) > _MOST_LINES:
        console.print(f"    and {len(lines) - _MOST_LINES} more; --json has all")
