"""A sweep on the terminal: while it runs, while somebody looks on, and what came of it."""

import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from moewright.experiment.collecting.learning_curves import read_tail, sample_losses
from moewright.experiment.states import SEEN_STATES
from moewright.experiment.sweep_folder import run_path
from moewright.foreign_text import shell_words
from moewright.progress import hiding_progress, shows_progress
from moewright.quantities import counted, format_count, format_duration
from moewright.report.spark_lines import spark_line
from moewright.screen import Screen, styled

if TYPE_CHECKING:
    from moewright.sweeps.planner import PlannedRun
    from moewright.sweeps.rate_tuning import TunedRate
    from moewright.sweeps.running.sweep_state import SweepStatus
    from moewright.sweeps.running.sweeping import SweepResult


_WATCH_SECONDS = 2.0
_MOST_RUNS = 20


def run_sweep(
    spec: str | Path | dict[str, Any],
    out: str | Path,
    *,
    jobs: int | None,
    executor: str,
    trainer: str | None,
    write_only: bool,
    retry_failed: bool,
    add: bool,
) -> "SweepResult":
    """Carry out a sweep with its progress on standard error."""
    from moewright.sweeps.running.sweeping import sweep

    with sweep_progress(Screen(stderr=True)) as progress, hiding_progress():
        return sweep(
            spec,
            out,
            jobs=jobs,
            executor=executor,
            trainer=trainer,
            write_only=write_only,
            retry_failed=retry_failed,
            add=add,
            reporter=progress,
        )


def watch_sweep(spec: str | Path | dict[str, Any], out: str | Path, trainer: str | None = None) -> "SweepResult":
    """Look on at a sweep until nothing of it is under way, or Ctrl-C. Reads files only."""
    from moewright.sweeps.running.sweeping import follow_sweep

    with sweep_progress(Screen(stderr=True, quiet=not shows_progress()), looks_on=True) as progress:
        for result in follow_sweep(spec, out, trainer):
            progress.refresh(result.status)
            if not result.is_under_way:
                break
            time.sleep(_WATCH_SECONDS)
    return result


def print_sweep(console: Screen, result: "SweepResult") -> None:
    """What came of a sweep: runs by state, learning rates found, and every run that did not end well."""
    table = Table(title="Runs", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("state")
    table.add_column("runs", justify="right")
    for state, count in result.counts.items():
        table.add_row(state, f"{count:,}")
    console.print(table)
    plan = result.status.plan
    if plan.tuned:
        console.print()
        rates = Table(title="Learning rates, as multiples of the recipe's", title_justify="left", box=None)
        for name in ("group", "best", "90 %", "status"):
            rates.add_column(name, justify="left" if name in ("group", "status") else "right")
        for group, found in plan.tuned.items():
            best = f"{found.multiplier:.3g}" if found.multiplier is not None else ""
            rates.add_row(group, best, *_interval_and_status(found))
        console.print(rates)
        spared = sum(found.predicted is not None for found in plan.tuned.values())
        if spared:
            console.print(
                f"The transfer rule was sure of {spared} of {counted(len(plan.tuned), 'group')} without runs of theirs."
            )
    troubled = [
        run for run in plan.known if result.status.states[run.id] not in ("done", "running", "stalled", "pending")
    ]
    if troubled:
        console.print()
        console.print("Not done:")
    for run in troubled[:_MOST_RUNS]:
        state, reason = result.status.states[run.id], result.reason(run.id)
        console.print(f"  {run.id} {state} ({show_settings(run.label)}){': ' + reason if reason else ''}")
    if len(troubled) > _MOST_RUNS:
        console.print(f"  and {len(troubled) - _MOST_RUNS} more")
    for cell in plan.invalid[:_MOST_RUNS]:
        console.print(f"no model: {show_settings(cell.settings)}: {cell.problem}")
    if len(plan.invalid) > _MOST_RUNS:
        console.print(f"and {counted(len(plan.invalid) - _MOST_RUNS, 'further cell')} without a model")
    if result.written:
        console.print()
        console.print(f"Written, for you to start: {counted(len(result.written), 'run')}")
        for script in result.written[:_MOST_RUNS]:
            console.whole_line(f"  bash {shell_words(script)}")
        if len(result.written) > _MOST_RUNS:
            where = result.written[0].parent.parent.name
            console.print(f"  and {len(result.written) - _MOST_RUNS:,} more, {where}/*/launch.sh")
    console.print()
    told = shell_words("moewright", "runs", result.status.out, "--out", "runs.parquet")
    console.whole_line(f"the run table: {told}")


def _interval_and_status(found: "TunedRate") -> tuple[str, str]:
    if found.predicted is not None:
        low, high = found.predicted.interval
        return f"{low:.3g}-{high:.3g}", f"by the rule, {found.predicted.gives_away:.2g} nats given away"
    if found.optimum is None:
        return "", "runs missing"
    ends = found.optimum.interval
    return ("" if ends is None else f"{ends[0]:.3g}-{ends[1]:.3g}"), found.optimum.status


_REFRESH_SECONDS = 1.0
_MOST_ROWS = 12


@contextmanager
def sweep_progress(console: Screen, *, looks_on: bool = False) -> Iterator["SweepProgress"]:
    """A live table on a terminal; elsewhere only the events, one line each, or changes of states to who looks on."""
    if not console.is_terminal:
        yield SweepProgress(console, None, looks_on)
        return
    with Live(console=console, auto_refresh=False, transient=False) as live:
        yield SweepProgress(console, live)


class SweepProgress:
    """What the submitter tells; see `sweeps.running.scheduler.ProgressReporter`."""

    def __init__(self, console: Screen, live: Live | None, looks_on: bool = False):
        self._console, self._live, self._looks_on = console, live, looks_on
        self._drawn, self._said = float("-inf"), ""

    def event(self, text: str) -> None:
        """One line, with the time of day."""
        self._console.print(f"{time.strftime('%H:%M:%S')} {text}", soft_wrap=True)

    def refresh(self, status: "SweepStatus") -> None:
        """Draw again, at most once a second; where nothing is drawn, one who only looks on hears what has changed."""
        if self._live is not None and time.monotonic() - self._drawn > _REFRESH_SECONDS:
            self._drawn = time.monotonic()
            self._live.update(overview(status, self._console), refresh=True)
        elif self._live is None and self._looks_on:
            summary = ", ".join(_summary(status))
            if summary != self._said:
                self._said = summary
                self.event(summary)


def _summary(status: "SweepStatus") -> list[str]:
    """How many runs are in which state."""
    counts = Counter(status.states.values())
    waiting = sum(run.awaits_rate for run in status.plan.runs)
    parts = [f"{counts[state]} {state}" for state in SEEN_STATES if counts[state]]
    return parts + ([f"{waiting} awaiting a learning rate"] if waiting else [])


def overview(status: "SweepStatus", console: Screen) -> Group:
    """The whole view."""
    plan, states = status.plan, status.states
    counts = Counter(states.values())
    parts = _summary(status)
    left = remaining_seconds(status)
    parts += [f"about {format_duration(left)} left"] if left else []
    bar = ProgressBar(total=max(1, len(plan.runs)), completed=counts["done"] + counts["diverged"], width=40)
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    for name in ("run", "settings", "tokens", "loss", "curve"):
        table.add_column(name, justify="right" if name in ("tokens", "loss") else "left", no_wrap=True)
    under_way = [run for run in plan.known if states[run.id] in ("running", "stalled")]
    for run in under_way[:_MOST_ROWS]:
        share, loss, _ = _done_share(status, run)
        tokens = f"{share:.0%} of {format_count(run.recipe.train_tokens, 3)}"
        told = "stalled" if states[run.id] == "stalled" else f"{loss:.3f}" if loss is not None else ""
        curve = spark_line(console, sample_losses(run_path(status.out, run.id)))
        table.add_row(run.id, show_settings(run.label), tokens, told, curve)
    if len(under_way) > _MOST_ROWS:
        table.add_row("", f"and {len(under_way) - _MOST_ROWS} more")
    return Group(bar, styled("{}", ", ".join(parts)), table)


def show_settings(settings: dict[str, Any]) -> str:
    """The settings of a run in a few words: the last part of each name, and its value."""
    return " ".join(f"{name.rpartition('.')[2]}={_value(value)}" for name, value in settings.items())


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _done_share(status: "SweepStatus", run: "PlannedRun") -> tuple[float, float | None, float | None]:
    """Of a run under way: the share of its tokens, its recent training loss, and its tokens per second."""
    tail = read_tail(run_path(status.out, run.id))
    if tail.step is None:
        return 0.0, None, None
    tokens = min(tail.step * run.recipe.batch_tokens, run.recipe.train_tokens)
    return tokens / run.recipe.train_tokens, tail.train_loss, tail.tokens_per_second


def remaining_seconds(status: "SweepStatus") -> float | None:
    """Until the end, from the FLOPs per second of the runs that are under way or done; None before there is one."""
    speeds = []
    left = 0.0
    under_way = 0
    for run in status.plan.runs:
        state = status.states.get(run.id, "pending")
        flops = run.sizes["train_flops"]
        if state in ("running", "stalled"):
            under_way += state == "running"
            share, _, speed = _done_share(status, run)
            left += flops * (1 - share)
            if speed is not None:
                speeds.append(speed * flops / run.recipe.train_tokens)
        elif state not in ("done", "diverged", "failed"):
            left += flops
    return left / (statistics.median(speeds) * under_way) if speeds and under_way else None
