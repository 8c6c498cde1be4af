"""Tables of a training run: what it will take, and what it took."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from moewright.quantities import format_bytes, format_count

if TYPE_CHECKING:
    from moewright.experiment.planning import Plan
    from moewright.lab.loop import Result


def print_plan(console: Console, planned: "Plan") -> None:
    """What a recipe comes to."""
    facts = planned.facts
    memory = facts["expected_memory_bytes"]
    rows = [
        ("parameters", f"{format_count(facts['total_params'])} total, {format_count(facts['active_params'])} active"),
        ("training tokens", f"{format_count(facts['train_tokens'])} in {facts['steps']:,} steps"),
        ("epochs", f"{facts['epochs']:.3f}"),
        ("peak learning rate", f"{facts['peak_learning_rate']:.3g}"),
        ("training FLOPs", f"{facts['train_flops']:.3g}"),
        ("memory expected", f"{format_bytes(memory['total'])} and torch's own"),
        *((f"  {name}", format_bytes(memory[name])) for name in ("weights", "gradients", "optimizer", "activations")),
    ]
    console.print(_table("What the run will take", rows))
    for note in planned.warnings:
        console.print(f"warning: {note}", markup=False)


def print_result(console: Console, result: "Result") -> None:
    """How a run ended."""
    summary = result.summary
    speed, mfu = summary.get("tokens_per_second"), summary.get("mfu")
    rows = [
        ("state", result.state),
        ("steps", f"{result.step:,}"),
        ("tokens", format_count(result.tokens)),
    ]
    if result.loss is not None:
        rows.append(("validation loss", f"{result.loss:.4f} nats per token"))
    if speed:
        rows.append(("speed", f"{format_count(speed, 3)} tokens/s, {mfu:.1%} of the machine's matrix products"))
    peak, expected = summary["peak_memory_bytes"], summary["expected_memory_bytes"]
    rows.append(("memory", f"{format_bytes(peak)} at most; expected {format_bytes(expected)} and torch's own"))
    console.print(_table(f"Run {result.folder}", rows))
    if result.state == "interrupted":
        console.print("the same command continues it", markup=False)


def _table(title: str, rows: list[tuple[str, str]]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(justify="left")
    for name, value in rows:
        table.add_row(name, value)
    return table
