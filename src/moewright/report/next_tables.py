"""The answer of `moewright next`, made to read well at 80 columns."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from moewright.laws.selection.run_choice import NextRuns, NextRunsRecord
from moewright.quantities import counted, format_count, format_figure, format_range
from moewright.report.plain_tables import bare_table
from moewright.screen import Screen, styled

DOUBT_WORDS = {
    "forecast": "half of the 90 % interval",
    "design": "expected regret of the design that looks best",
    "compare": "expected regret of the model that looks better",
}
_MOST_SETTINGS = 4


def print_next(console: Screen, found: NextRuns) -> None:
    """Print the verdict, the runs in order, what is believed of the targets, and on what it rests."""
    record = found.record
    console.print(styled("[bold]{}[/bold]", next_verdict(record)))
    if record.chosen:
        console.print()
        console.print(_runs(record))
    console.print()
    console.print(_targets(record))
    console.print()
    laws = ", ".join(f"{name} {weight:.0%} (misses {record.misfit[name]:.2%})" for name, weight in record.laws.items())
    console.print(styled("Laws by how likely the runs are under each: {}.", laws))
    console.print(
        f"Noise between seeds {record.noise:.2%} of the loss; {counted(record.runs, 'run')}, "
        f"{counted(record.candidates, 'candidate')}."
    )
    for message in record.messages:
        console.print(f"- {message}")


def next_verdict(record: NextRunsRecord) -> str:
    """Whether the runs settle the question, and at what cost, in a sentence."""
    what, number = DOUBT_WORDS[record.purpose], len(record.chosen)
    runs = f"{counted(number, 'run')}, {record.spent:.3g} FLOPs"
    if record.hours is not None:
        low, high = record.hours
        runs += f", {format_figure(low, 2)} to {format_figure(high, 2)} hours of {record.hardware}"
    if record.money is not None:
        runs += f" for {' to '.join(format_figure(end, 2) for end in record.money)}"
    now = f"{what} {record.before:.4f} nats"
    if record.settled is not None and not number:
        return f"Settled already: {record.settled}."
    if record.settled is not None:
        return f"{runs} are expected to settle it: {record.settled} (now {record.before:.4f})."
    if record.first_batch and number:
        return f"A first batch of {runs}, spread over the candidates: {now}, {record.after:.4f} after it."
    if not number:
        return f"No run is proposed: {now}."
    return (
        f"Not settled by {runs}: {now}, {record.after:.4f} after them; {record.limit:.4f} if every candidate were run, "
        f"{record.within:g} wanted."
    )


def _runs(record: NextRunsRecord) -> Table:
    table = bare_table("Runs, in order", narrow=True)
    every = dict.fromkeys(name for run in record.chosen for name in run.settings)
    varied = [name for name in every if len({str(run.settings.get(name)) for run in record.chosen}) > 1]
    names = varied[:_MOST_SETTINGS]
    table.add_column("")
    table.add_column("candidate", max_width=9, no_wrap=True)
    for name in names:
        table.add_column(name.rpartition(".")[2].replace("_", " "), justify="right")
    table.add_column("FLOPs", justify="right")
    if record.hardware is not None:
        table.add_column("hours", justify="right")
    if record.money is not None:
        table.add_column("cost", justify="right")
    table.add_column("doubt after", justify="right")
    for order, run in enumerate(record.chosen, 1):
        hours, money = ([] if ends is None else [format_range(ends, 2)] for ends in (run.device_hours, run.money))
        cells = [_value(run.settings, name) for name in names]
        cells += [f"{run.train_flops:.3g}", *hours, *money, f"{run.doubt_after:.4f}"]
        table.add_row(str(order), run.name, *cells)
    return table


def _targets(record: NextRunsRecord) -> Table:
    table = bare_table("Believed now")
    table.add_column("target")
    table.add_column("loss", justify="right")
    table.add_column("90 % interval", justify="right")
    for target in record.targets:
        table.add_row(target.name, f"{target.loss:.4f}", f"{target.low:.4f} to {target.high:.4f}")
    return table


def _value(settings: Mapping[str, Any], name: str) -> str:
    value = settings.get(name, "")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return format_count(value) if name.endswith(("_params", "_tokens")) else f"{value:.4g}"
