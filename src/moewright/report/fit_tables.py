"""The tables of `moewright fit`, made to read well at 80 columns."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from moewright.laws.fitting.fit_record import FitRecord
from moewright.laws.fitting.fit_result import Fit, optima
from moewright.laws.fitting.iso_flops import FRONTIER_LAW
from moewright.quantities import format_count
from moewright.report.law_tables import format_value
from moewright.report.plain_tables import bare_table, number_table
from moewright.screen import Screen, styled

_MOST_ROWS = 5
_MOST_COEFFICIENTS = 8
"""With more, their table would leave no room on a screen of 24 lines for what the fit is good for."""


def print_fit(console: Screen, fit: Fit) -> None:
    """What was fitted, how well, how surely, and what the rows cannot tell."""
    law, record = fit.law, fit.law.record
    colour = "green" if record.status == "converged" else "yellow"
    console.print(styled(f"[bold]{{}}[/bold]: [{colour}]{{}}[/{colour}]", law.title, record.status))
    for message in record.messages:
        console.print(f"- {message}")
    if fit.counted:
        console.print(
            f"- counted from the models, as {record.law} defines them: {', '.join(fit.counted)}",
        )
    if console.explain:
        console.print(law.form.formula)
        console.print()
        console.print(_facts(record))
    else:
        error = f"RMSE {record.rmse:.4f} nats, {record.rmse_log:.2%}"
        console.print(f"{record.num_rows} rows of {record.num_clusters} configurations, error on them {error}")
        for name, value in _held_out(record):
            console.print(f"{name.strip()}: {value}")
    shown = len(record.identified) + len(record.settings.fix)
    if console.explain or shown <= _MOST_COEFFICIENTS:
        console.print()
        console.print(_coefficients(record))
    else:
        _say_coefficients(console, record)
    print_iso_flops(console, fit)
    if record.reach and console.explain:
        console.print()
        console.print(_reach(record))
    best = optima(law)
    if best and not console.explain:
        console.print(f"Optimum: {', '.join(f'{name} {_number(found.value)}' for name, found in best.items())}")
    elif best:
        console.print()
        table = number_table("Optimum", "", "value", "90 % interval")
        for name, found in best.items():
            low, high = found.interval_90 or (None, None)
            table.add_row(name, _number(found.value), f"{_number(low)} to {_number(high)}")
        console.print(table)
    open_ones = [item.name for item in record.identified if not item.pinned]
    if open_ones and console.explain:
        console.print()
        console.print(
            f"The rows do not pin {', '.join(open_ones)}: other values fit as well. Judge the law by held-out rows "
            "and by its optima, not by these."
        )
    if console.explain:
        console.print()
        print_findings(console, fit.findings)
        return
    if fit.findings:
        console.print(f"{len(fit.findings)} suspicious rows, fitted all the same")
    console.point_to("form, settings, suspicious rows, all intervals, reach")


def print_iso_flops(console: Screen, fit: Fit) -> None:
    """What the rows say as iso-FLOP groups, and whether the frontier through their minima foretells more."""
    if fit.minima_of is not None:
        console.print(f"{fit.minima_of} rows are iso-FLOP groups: fitted to the minima of {len(fit.table)} budgets")
    found = fit.iso_flops
    if found is None:
        return
    first, last = found.groups[0], found.groups[-1]
    console.print(
        f"Iso-FLOP groups: {len(found.groups)} budgets, {first.train_flops:.2g} to {last.train_flops:.2g} FLOPs; the "
        f"best {found.size_of} goes with C^{found.size_exponent:.3f}"
    )
    if found.frontier_beyond is None or found.surface_beyond is None or found.farthest is None:
        console.print("too few budgets to hold the largest out: nothing tells their frontier from this law")
        return
    verdict = {
        "frontier": f"the frontier foretells them better: --law {FRONTIER_LAW} fits it",
        "surface": f"{found.surface} foretells them better",
        None: f"not told apart; --law {FRONTIER_LAW} fits the frontier",
    }[found.better]
    console.print(
        f"minima of larger budgets, up to {found.farthest:.2g} x: missed by {found.frontier_beyond:.2%} by their "
        f"frontier, by {found.surface_beyond:.2%} by {found.surface}; {verdict}"
    )
    if console.explain:
        table = number_table("Iso-FLOP groups", "FLOPs", "rows", "from", "to", f"best {found.size_of}", "loss")
        for group in found.groups:
            best = "none inside" if group.size is None else format_count(group.size)
            loss = "" if group.loss is None else f"{group.loss:.4f}"
            ends = map(format_count, group.sizes)
            table.add_row(f"{group.train_flops:.3g}", str(group.rows), *ends, best, loss)
        console.print(table)


def print_findings(console: Screen, findings: Sequence[Mapping[str, Any]]) -> None:
    """What a run table's diagnosis found, rows of the same reason together."""
    if not findings:
        return
    rows_by_reason: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        rows_by_reason.setdefault((finding["problem"], finding["detail"]), []).append(str(finding["row"]))
    title = f"{len(findings)} suspicious rows, fitted all the same (--json names each)"
    table = bare_table(title)
    table.add_column("", justify="right")
    table.add_column("problem", no_wrap=True)
    table.add_column("why", overflow="fold")
    table.add_column("rows", overflow="fold")
    for (problem, detail), rows in rows_by_reason.items():
        shown = ", ".join(rows[:_MOST_ROWS]) + (" ..." if len(rows) > _MOST_ROWS else "")
        table.add_row(str(len(rows)), problem, detail, shown)
    console.print(table)
    console.print()


def _facts(record: FitRecord) -> Table:
    table = number_table("", "", "")
    table.show_header = False
    table.title = None
    table.columns[1].justify = "left"
    table.add_row("rows", f"{record.num_rows} of {record.num_clusters} configurations")
    table.add_row("error on them", f"RMSE {record.rmse:.4f} nats, {record.rmse_log:.2%}")
    delta = record.settings.delta
    table.add_row("objective", f"{record.settings.objective}{f', delta {delta:.3g}' if delta else ''}")
    if record.tuned is not None:
        asymptote = record.tuned.asymptote
        pinned = "free asymptote" if asymptote is None else f"asymptote {asymptote:.3f}"
        power = record.tuned.tokens_per_parameter_exponent
        choice = f"{pinned}, weights (D/N)^{power:g}"
        table.add_row("tuned by the best rows", choice if record.tuned.used else f"no: {choice} gains too little")
        table.add_row(
            "  error on them, left out",
            f"{record.tuned.error_log:.2%} against {record.tuned.error_log_untuned:.2%} untuned",
        )
    for name, value in _held_out(record):
        table.add_row(name, value)
    if record.failed or len(record.draws):
        table.add_row("bootstrap", f"{len(record.draws)} replicates, {record.failed} failed")
    return table


def _held_out(record: FitRecord) -> Iterator[tuple[str, str]]:
    held = record.holdout
    if held is None:
        return
    yield f"{held.rows:.0f} rows kept from the fit", f"RMSE {held.rmse:.4f}, bias {held.bias:+.4f}"
    if held.coverage_90 is not None:
        yield "  inside their 90 % interval", f"{held.coverage_90:.0%}"
    if held.withheld:
        yield "  too far out for an interval", f"{held.withheld}"


def _coefficients(record: FitRecord) -> Table:
    table = number_table("Coefficients", "", "value", "90 % interval", "pinned", "moves with")
    table.columns[4].justify = "left"
    table.columns[4].overflow = "fold"
    for item in record.identified:
        table.add_row(
            item.name,
            _number(item.value),
            item.unknown.replace("_", " ") if item.unknown else f"{_number(item.low)} to {_number(item.high)}",
            "yes" if item.pinned else styled("[yellow]no[/yellow]"),
            ", ".join(item.moves_with),
        )
    for name, value in record.settings.fix.items():
        table.add_row(name, _number(value), "fixed", "", "")
    return table


def _say_coefficients(console: Screen, record: FitRecord) -> None:
    """All coefficients in a few lines, those that the rows pin first."""
    for told, pinned in (("Coefficients that the rows pin", True), ("Coefficients that they do not", False)):
        values = [f"{item.name} {_number(item.value)}" for item in record.identified if item.pinned is pinned]
        if values:
            console.print(f"{told}: {', '.join(values)}")
    if record.settings.fix:
        fixed = ", ".join(f"{name} {_number(value)}" for name, value in record.settings.fix.items())
        console.print(f"Coefficients that are fixed: {fixed}")


def _reach(record: FitRecord) -> Table:
    table = number_table("Beyond the rows, by holdouts of the largest", "", "rows up to", "tried", "error there")
    for reach in record.reach:
        size = f"{np.exp(reach.farthest):.2g} x" if reach.logarithmic else f"{reach.farthest:.2g} widths"
        error = f"{reach.slope * reach.farthest:.1%}"
        table.add_row(reach.direction, format_value(reach.high), *(("no", "") if not reach.cuts else (size, error)))
    return table


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
