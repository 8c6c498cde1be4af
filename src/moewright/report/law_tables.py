"""The tables of `moewright laws` and `moewright predict`, made to read well at 80 columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from moewright.foreign_text import shortened
from moewright.laws.description import LawDescription, LawList, OptimumDescription, VariableDescription
from moewright.laws.lifetime import Lifetime
from moewright.laws.prediction import NEVER_COMPARE, LawPrediction, Prediction
from moewright.laws.variable import Status
from moewright.quantities import counted, format_count
from moewright.report.plain_tables import bare_table
from moewright.screen import Screen, lines, styled

_LONGEST_FORMULA, _MOST_VARIABLES = 160, 9
"""Characters and lines of one law on a terminal's screen."""


def print_laws(console: Screen, listed: LawList) -> None:
    """The list of all laws: on a terminal a line each, in a pipe with every word."""
    table = Table(box=None, pad_edge=False)
    # A narrow terminal cuts what is said of laws, never their names.
    table.add_column("law", no_wrap=True, style="bold")
    room = console.width - max(len(law.name) for law in listed.laws) - len("   from   ")
    if console.is_terminal and not console.explain:
        table.add_column("what it relates", no_wrap=True, overflow="ellipsis", max_width=room)
    else:
        table.add_column("what it relates", overflow="fold")
    if console.explain:
        table.add_column("gives", overflow="fold")
    table.add_column("from", no_wrap=True, min_width=4)
    for law in listed.laws:
        gives = [", ".join(law.gives) or "a form to fit"] if console.explain else []
        table.add_row(law.name, law.title, *gives, law.confidence.split(" ")[0].rstrip(","))
    console.print(table)
    console.print("A: coefficients by the authors, B: by two others, C: by one, form: to be fitted.")
    console.print("`moewright laws NAME` shows one law. Losses never compare across laws.")
    if not console.explain:
        console.point_to("what each gives")


def print_law(console: Screen, law: LawDescription) -> None:
    """One law: on a terminal what fits one screen, names never cut; in a pipe and explained with every word."""
    is_short = console.is_terminal and not console.explain
    console.print(styled("[bold]{}[/bold]: {}", law.name, law.title))
    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("source", law.source)
    gives = ", ".join(law.gives) or "a form to fit"
    facts.add_row("confidence", f"{law.confidence}; gives {gives}" if is_short else law.confidence)
    facts.add_row("N counts", law.params_convention)
    if not is_short:
        facts.add_row("gives", gives)
    if law.formula:
        facts.add_row("form", shortened(law.formula, _LONGEST_FORMULA) if is_short else law.formula)
    if law.coefficients:
        facts.add_row("coefficients", _numbers(law.coefficients))
    for option, rows in law.options.items():
        for value, row in rows.items():
            facts.add_row(f"{option} {value}", _numbers(row))
    console.print(facts)
    shown = law.variables[:_MOST_VARIABLES] if is_short else law.variables
    if shown:
        console.print()
        console.print(_variables("Variables", shown, console.width if is_short else None))
    if law.held_fixed and not is_short:
        console.print()
        console.print(_variables("Held fixed in its runs", law.held_fixed))
    if law.optimum is not None:
        console.print()
        console.print(_optimum(law.optimum, console.width if is_short else None))
    for note in (*law.findings, *(() if is_short else law.notes)):
        console.print(f"- {note}")
    if is_short:
        rest = len(law.variables) - len(shown)
        hidden = {
            counted(rest, "further variable"): rest,
            "what was held fixed": law.held_fixed,
            counted(len(law.notes), "note"): law.notes,
        }
        console.point_to(", ".join([*(words for words, there in hidden.items() if there), "every word"]))


def format_value(value: float | None) -> str:
    """A variable's value or bound: counts with a letter, small numbers plainly, a dash for none."""
    if value is None:
        return "-"
    if value >= 1e15:
        return f"{value:.4g}"
    return format_count(value, 3) if value >= 1000 else f"{value:.4g}"


def _numbers(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in values.items())


def _variables(title: str, variables: Sequence[VariableDescription], width: int | None = None) -> Table:
    rows = [(each.name, each.meaning, format_value(each.low), format_value(each.high)) for each in variables]
    table = bare_table(title)
    table.add_column("", no_wrap=True)
    table.add_column("meaning", **_meaning(width, rows))
    table.add_column("from", justify="right", no_wrap=True)
    table.add_column("to", justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _meaning(width: int | None, rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    """How the second column is written: on lines of a width what has room beside the others, else all of it."""
    if width is None:
        return {"overflow": "fold"}
    others = [max(map(len, column)) for place, column in enumerate(zip(*rows, strict=True)) if place != 1]
    room = width - sum(max(other, len("from")) + 2 for other in others)
    return {"no_wrap": True, "overflow": "ellipsis", "max_width": max(room, 1)}


def _optimum(optimum: OptimumDescription, width: int | None = None) -> Table:
    needs = [variable.name for variable in optimum.arguments]
    table = bare_table("Optimum")
    if needs:
        table.title = f"Optimum for a given {', '.join(needs)}"
    table.show_header = False
    values = optimum.values or {}
    rows = [
        (name, meaning, f"{values[name]:.4g}" if values.get(name) is not None else "")
        for name, meaning in optimum.answers.items()
    ]
    table.add_column(no_wrap=True)
    table.add_column(**_meaning(width, rows))
    table.add_column(justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def print_prediction(console: Screen, prediction: Prediction) -> None:
    """Each law's answer with what lies outside its runs, then the silent laws with their reasons."""
    tokens = f"{format_count(prediction.train_tokens)} tokens"
    if prediction.unique_tokens is not None:
        tokens += f", {format_count(prediction.unique_tokens)} of them different"
    console.print(styled("[bold]{}[/bold] trained on {}", prediction.model, tokens))
    console.print()
    answering = [answer for answer in prediction.laws if answer.reason is None]
    silent = [answer for answer in prediction.laws if answer.reason is not None]
    in_full = console.explain
    if answering:
        table = Table(box=None, pad_edge=False)
        table.add_column("law", no_wrap=True, style="bold")
        table.add_column("expects", no_wrap=True)
        table.add_column("against the runs behind it" if in_full else "farthest from its runs", overflow="fold")
        for answer in answering:
            table.add_row(answer.law, _expects(answer), _against(answer, in_full))
        console.print(table)
        console.print()
    for answer in answering:
        if answer.withheld is not None:
            console.print(styled("[yellow]no interval[/yellow] of {}: {}", answer.law, answer.withheld))
    if silent and not in_full:
        console.print(f"Without an answer: {', '.join(answer.law for answer in silent)}")
    if silent and in_full:
        table = bare_table("Not applicable")
        table.show_header = False
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for answer in silent:
            table.add_row(answer.law, answer.reason or "")
        console.print(table)
        console.print()
    if prediction.life is not None:
        _print_bill(console, prediction.life, answering)
    for warning in prediction.warnings:
        console.print(styled("[yellow]note:[/yellow] {}", warning))
    console.print(NEVER_COMPARE)
    if not in_full:
        console.point_to("all that is outside a law's runs, and why laws have no answer")


def _print_bill(console: Screen, life: Lifetime, answers: Sequence[LawPrediction]) -> None:
    """What the model's life takes, and for each law the model of the same loss that takes least."""
    served = format_count(life.served_tokens)
    console.print(f"Training and serving {served} tokens: {life.flops:.3g} FLOPs (6 N_a D + 2 N_a S)")
    console.print()
    table = bare_table("Of the same shape and loss, least FLOPs in all")
    table.add_column("law", no_wrap=True, style="bold")
    for column in ("N_a", "tokens", "saves", "N_a unserved", "tokens unserved"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("outside", justify="right", no_wrap=True)
    for answer in answers:
        if (best := answer.least_bill) is not None:
            sizes = (best.active_params, best.train_tokens, best.active_params_unserved, best.train_tokens_unserved)
            size, tokens, *unserved = (format_count(value, 3) for value in sizes)
            outside = _times(max(best.outside.values())) if best.outside else ""
            table.add_row(answer.law, size, tokens, f"{best.saved:.0%}", *unserved, outside)
    if table.row_count:
        console.print(table)
    for answer in answers:
        if answer.no_least_bill is not None:
            console.print(f"- {answer.law}: {answer.no_least_bill}")
    console.print()


def _expects(answer: LawPrediction) -> Text:
    found = []
    if answer.loss is not None:
        found.append(f"loss {answer.loss:.4f}")
    if answer.loss_interval is not None:
        found.append(f"90 %: {answer.loss_interval[0]:.4f}-{answer.loss_interval[1]:.4f}")
    elif answer.withheld is not None:
        found.append("no interval")
    for name, value in answer.quantities.items():
        found.append(f"{name.replace('_', ' ')} {format_value(value)}")
    return lines(*found)


def _against(answer: LawPrediction, in_full: bool) -> str | Text:
    if answer.outside and not in_full:
        return _distance(max(answer.outside, key=lambda status: status.factor))
    if answer.outside:
        return lines(*map(_distance, answer.outside))
    known = [status for status in answer.domain.values() if status.status != "unstated"]
    return "inside" if known else "its source states no range"


def _distance(status: Status) -> str:
    bound = status.high if status.status == "above" else status.low
    return f"{status.variable} {_times(status.factor)} {status.status} {format_value(bound)}"


def _times(factor: float) -> str:
    return f"{factor:.2f}x" if factor < 10 else f"{factor:,.0f}x"
