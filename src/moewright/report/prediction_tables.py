"""The table of `moewright predict`, made to read well at 80 columns."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from moewright.commands.predict import NEVER_COMPARE, LawPrediction, Prediction
from moewright.laws.variable import Status
from moewright.quantities import format_count
from moewright.report.law_tables import format_value


def print_prediction(console: Console, prediction: Prediction) -> None:
    """Each law's answer with what lies outside its runs, then the silent laws with their reasons."""
    tokens = format_count(prediction.train_tokens)
    console.print(f"[bold]{escape(prediction.model)}[/bold] trained on {tokens} tokens")
    console.print()
    answering = [answer for answer in prediction.laws if answer.reason is None]
    silent = [answer for answer in prediction.laws if answer.reason is not None]
    if answering:
        table = Table(box=None, pad_edge=False)
        table.add_column("law", no_wrap=True, style="bold")
        table.add_column("expects", no_wrap=True)
        table.add_column("against the runs behind it", overflow="fold")
        for answer in answering:
            table.add_row(answer.law, _expects(answer), _against(answer))
        console.print(table)
        console.print()
    if silent:
        table = Table(title="Not applicable", title_justify="left", title_style="bold", box=None, pad_edge=False)
        table.show_header = False
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for answer in silent:
            table.add_row(answer.law, escape(answer.reason or ""))
        console.print(table)
        console.print()
    for warning in prediction.warnings:
        console.print(f"[yellow]note:[/yellow] {escape(warning)}", highlight=False)
    console.print(NEVER_COMPARE)


def _expects(answer: LawPrediction) -> str:
    lines = []
    if answer.loss is not None:
        lines.append(f"loss {answer.loss:.4f}")
    if answer.loss_interval is not None:
        lines.append(f"90 %: {answer.loss_interval[0]:.4f}-{answer.loss_interval[1]:.4f}")
    for name, value in answer.quantities.items():
        lines.append(f"{name.replace('_', ' ')} {format_value(value)}")
    return "\n".join(lines)


def _against(answer: LawPrediction) -> str:
    if answer.outside:
        return "\n".join(_distance(status) for status in answer.outside)
    known = [status for status in answer.domain.values() if status.status != "unstated"]
    return "inside" if known else "its source states no range"


def _distance(status: Status) -> str:
    bound = status.high if status.status == "above" else status.low
    return f"{status.variable} {_times(status.factor)} {status.status} {format_value(bound)}"


def _times(factor: float) -> str:
    return f"{factor:.2f}x" if factor < 10 else f"{factor:,.0f}x"
