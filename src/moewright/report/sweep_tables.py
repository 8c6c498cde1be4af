"""A sweep on the terminal: while it runs, while somebody looks on, and what came of it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from moewright.report.sweep_progress import shown, sweep_progress

if TYPE_CHECKING:
    from moewright.sweeps.running.sweeping import SweepResult

_WATCH_SECONDS = 2.0
_MOST_RUNS = 20


def run_sweep(
    spec: Path, out: Path, *, jobs: int | None, executor: str, retry_failed: bool, add: bool
) -> "SweepResult":
    """Carry out a sweep with its progress on standard error."""
    from moewright.sweeps.running.sweeping import sweep

    with sweep_progress(Console(stderr=True, highlight=False)) as progress:
        return sweep(spec, out, jobs=jobs, executor=executor, retry_failed=retry_failed, add=add, watcher=progress)


def watch_sweep(spec: Path, out: Path) -> "SweepResult":
    """Look on at a sweep until nothing of it is under way, or Ctrl-C. Reads files only."""
    from moewright.sweeps.running.sweeping import look

    with sweep_progress(Console(stderr=True, highlight=False)) as progress:
        while True:
            result = look(spec, out)
            progress.refresh(result.snapshot)
            if not result.is_under_way:
                return result
            time.sleep(_WATCH_SECONDS)


def print_sweep(console: Console, result: "SweepResult") -> None:
    """What came of a sweep: runs by state, learning rates found, and every run that did not end well."""
    table = Table(title="Runs", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("state")
    table.add_column("runs", justify="right")
    for state, count in result.counts.items():
        table.add_row(state, f"{count:,}")
    console.print(table)
    plan = result.snapshot.plan
    if plan.tuned:
        rates = Table(title="\nLearning rates, as multiples of the recipe's", title_justify="left", box=None)
        for name in ("group", "best", "90 %", "status"):
            rates.add_column(name, justify="left" if name in ("group", "status") else "right")
        for group, found in plan.tuned.items():
            optimum = found.optimum
            interval = f"{optimum.interval[0]:.3g}-{optimum.interval[1]:.3g}" if optimum and optimum.interval else ""
            best = f"{found.multiplier:.3g}" if found.multiplier is not None else ""
            rates.add_row(group, best, interval, optimum.status if optimum else "runs missing")
        console.print(rates)
    troubled = [run for run in plan.known if result.snapshot.states[run.id] not in ("done", "running", "pending")]
    if troubled:
        console.print("\nNot done:")
    for run in troubled[:_MOST_RUNS]:
        state, reason = result.snapshot.states[run.id], result.reason(run.id)
        console.print(f"  {run.id} {state} ({shown(run.label)}){': ' + reason if reason else ''}", markup=False)
    if len(troubled) > _MOST_RUNS:
        console.print(f"  and {len(troubled) - _MOST_RUNS} more")
    for cell in plan.invalid[:_MOST_RUNS]:
        console.print(f"no model: {shown(cell.settings)}: {cell.problem}", markup=False)
    if len(plan.invalid) > _MOST_RUNS:
        console.print(f"and {len(plan.invalid) - _MOST_RUNS} more cells without a model")
    console.print(f"\nthe run table: moewright runs {result.snapshot.out} --out runs.parquet", markup=False)
