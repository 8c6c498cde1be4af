"""The tables of `moewright runs` and `moewright train`: many runs, and one, before it starts and when it ends."""

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from moewright.experiment.collecting.learning_curves import sample_losses
from moewright.quantities import format_bytes, format_count
from moewright.report.spark_lines import spark_line
from moewright.screen import Screen

if TYPE_CHECKING:
    import pandas as pd

    from moewright.experiment.collecting.collection import RunTable
    from moewright.experiment.collecting.findings import RunFinding
    from moewright.experiment.planning import RunPlan
    from moewright.experiment.run_folder import TrainingResult


MOST_SIZES, NAMED = 20, 3
"""Lines of the table of losses, and runs named for one kind of finding."""


def print_runs(console: Screen, collected: "RunTable") -> None:
    """How many runs are in which state, the best by size, what was found, and what was written."""
    table = collected.table
    states = ", ".join(f"{count:,} {state}" for state, count in collected.states.items())
    kind, noun = "sweep" if collected.is_sweep else "folder", "run" if len(table) == 1 else "runs"
    console.print(f"{kind} {collected.folder}: {len(table):,} {noun}: {states}", soft_wrap=True)
    finished = table[table["status"] == "finished"]
    sized = finished[finished["active_params"].notna()]
    if len(sized):
        console.print()
        console.print(_best_by_size(console, sized, collected.folder))
    if collected.findings:
        console.print()
        console.print(_findings(collected.findings))
    for path in collected.written:
        console.print(f"written: {path}", soft_wrap=True)
    if collected.written and len(finished) < len(table):
        console.print("fit takes the finished runs of it with --where status=finished")


def _best_by_size(console: Screen, finished: "pd.DataFrame", folder: Path) -> Table:
    """The lowest loss of each active size, to two digits: sizes meant to be equal differ by their routers."""
    sizes = finished["active_params"].map(lambda active: float(f"{active:.1e}"))
    shown = Table(
        title="Lowest loss by active parameters", title_justify="left", box=None, pad_edge=False, header_style="bold"
    )
    shown.add_column("active", justify="right")
    for name in ("runs", "loss", "total", "experts", "tokens", "rate"):
        shown.add_column(name, justify="right")
    shown.add_column("run", overflow="fold")
    groups = list(finished.groupby(sizes))
    bests = [runs.sort_values("loss").iloc[0] for _, runs in groups[:MOST_SIZES]]
    curves = [_curve(console, folder / str(best.get("source", ""))) for best in bests]
    if any(curves):
        shown.add_column("curve", no_wrap=True)
    for (size, runs), best, curve in zip(groups, bests, curves, strict=False):
        shown.add_row(
            format_count(float(str(size)), 2),
            f"{len(runs):,}",
            f"{best['loss']:.4f}",
            _known(best, "{}", "total_params"),
            _known(best, "{:g} of {:g}", "top_k", "num_experts"),
            _known(best, "{}", "train_tokens"),
            _known(best, "{:.3g}", "learning_rate"),
            str(best["run_id"]),
            *([curve] if any(curves) else []),
        )
    if len(groups) > MOST_SIZES:
        shown.caption = f"{len(groups) - MOST_SIZES} larger sizes are not shown"
    return shown


def _curve(console: Screen, folder: Path) -> str:
    """The training loss of one of our own runs as a line; empty where its folder is gone, or another's."""
    try:
        return spark_line(console, sample_losses(folder))
    except OSError:
        return ""


def _known(run: "pd.Series[Any]", form: str, *columns: str) -> str:
    """Numbers of a run as text, counts in short; a dash where other loggers' runs do not say."""
    values = [run.get(name) for name in columns]
    if any(value is None or isinstance(value, str) or value != value for value in values):
        return "-"
    return form.format(*(format_count(float(value), 3) if form == "{}" else float(value) for value in values if value))


def _findings(findings: "tuple[RunFinding, ...]") -> Table:
    """One line for each kind, with the first runs of it."""
    kinds: dict[tuple[str, str], list[RunFinding]] = defaultdict(list)
    for each in findings:
        kinds[each.problem, each.column].append(each)
    shown = Table(title="Found", title_justify="left", box=None, pad_edge=False, show_header=False)
    shown.add_column(no_wrap=True, style="bold")
    shown.add_column(justify="right")
    shown.add_column(overflow="fold")
    for (problem, column), same in kinds.items():
        named = "; ".join(f"{each.run_id}: {each.detail}".removeprefix(": ") for each in same[:NAMED])
        more = f"; and {len(same) - NAMED:,} more" if len(same) > NAMED else ""
        about = f"{column}: " if column else ""
        shown.add_row(problem, f"{len(same):,}", f"{about}{named}{more}")
    return shown


def print_training_plan(console: Screen, planned: "RunPlan") -> None:
    """What a recipe comes to."""
    facts = planned.facts
    memory = facts.expected_memory_bytes
    rows = [
        ("parameters", f"{format_count(facts.total_params)} total, {format_count(facts.active_params)} active"),
        ("training tokens", f"{format_count(facts.train_tokens)} in {facts.steps:,} steps"),
        ("epochs", f"{facts.epochs:.3f}"),
        ("peak learning rate", f"{facts.peak_learning_rate:.3g}"),
        ("training FLOPs", f"{facts.train_flops:.3g}"),
        ("memory expected", f"{format_bytes(memory.total)} and torch's own"),
        *(
            (f"  {name}", format_bytes(getattr(memory, name)))
            for name in ("weights", "gradients", "optimizer", "activations")
        ),
    ]
    console.print(_table("What the run will take", rows))
    for note in planned.warnings:
        console.print(f"warning: {note}")


def print_training_result(console: Screen, result: "TrainingResult") -> None:
    """How a run ended."""
    summary = result.summary
    speed, utilization = summary.tokens_per_second, summary.matmul_utilization
    rows = [
        ("state", result.state),
        ("steps", f"{result.step:,}"),
        ("tokens", format_count(result.tokens)),
    ]
    if result.loss is not None:
        rows.append(("validation loss", f"{result.loss:.4f} nats per token"))
    curve = _curve(console, result.folder)
    if curve:
        rows.append(("training loss", curve))
    if speed and utilization is not None:
        rows.append(("speed", f"{format_count(speed, 3)} tokens/s, {utilization:.1%} of the machine's matrix products"))
    peak, expected = summary.peak_memory_bytes, summary.expected_memory_bytes
    if peak is not None and expected is not None:
        rows.append(("memory", f"{format_bytes(peak)} at most; expected {format_bytes(expected)} and torch's own"))
    console.print(_table(f"Run {result.folder}", rows))
    if result.state == "interrupted":
        console.print("the same command continues it")


def _table(title: str, rows: list[tuple[str, str]]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(justify="left")
    for name, value in rows:
        table.add_row(name, value)
    return table
