"""The tables of `moewright laws`, made to read well at 80 columns."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from moewright.quantities import format_count


def print_laws(console: Console, laws: list[dict[str, Any]]) -> None:
    """The list of all laws, from `laws.describe_all`."""
    table = Table(box=None, pad_edge=False)
    table.add_column("law", no_wrap=True, style="bold")
    table.add_column("what it relates", overflow="fold")
    table.add_column("gives", overflow="fold")
    table.add_column("conf.", no_wrap=True)
    for law in laws:
        gives = ", ".join(law["gives"]) or "a form to fit"
        table.add_row(law["name"], escape(law["title"]), gives, law["confidence"].split(" ")[0].rstrip(","))
    console.print(table)
    console.print()
    console.print(
        "`moewright laws NAME` shows one law. Confidence of its coefficients: A the authors' own text or code,"
    )
    console.print("B two secondary sources, C one; form: to be fitted. Losses never compare across laws.")


def print_law(console: Console, law: dict[str, Any]) -> None:
    """One law, from `laws.describe`."""
    console.print(f"[bold]{law['name']}[/bold]: {escape(law['title'])}")
    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("source", escape(law["source"]))
    facts.add_row("confidence", law["confidence"])
    facts.add_row("N counts", law["params_convention"])
    facts.add_row("gives", ", ".join(law["gives"]) or "a form to fit")
    if law["formula"]:
        facts.add_row("form", escape(law["formula"]))
    if law["coefficients"]:
        facts.add_row("coefficients", _numbers(law["coefficients"]))
    for option, rows in law["options"].items():
        for value, row in rows.items():
            facts.add_row(f"{option} {value}", _numbers(row))
    console.print(facts)
    for title, key in (("Variables", "variables"), ("Held fixed in its runs", "held_fixed")):
        if law[key]:
            console.print()
            console.print(_variables(title, law[key]))
    if "optimum" in law:
        console.print()
        console.print(_optimum(law["optimum"]))
    for note in (*law["findings"], *law["notes"]):
        console.print(f"- {escape(note)}", highlight=False)


def format_value(value: float | None) -> str:
    """A variable's value or bound: counts with a letter, small numbers plainly, a dash for none."""
    if value is None:
        return "-"
    if value >= 1e15:
        return f"{value:.4g}"
    return format_count(value, 3) if value >= 1000 else f"{value:.4g}"


def _numbers(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in values.items())


def _variables(title: str, variables: list[dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("meaning", overflow="fold")
    table.add_column("from", justify="right", no_wrap=True)
    table.add_column("to", justify="right", no_wrap=True)
    for variable in variables:
        low, high = format_value(variable["low"]), format_value(variable["high"])
        table.add_row(variable["name"], escape(variable["meaning"]), low, high)
    return table


def _optimum(optimum: dict[str, Any]) -> Table:
    needs = [variable["name"] for variable in optimum["arguments"]]
    table = Table(title="Optimum", title_justify="left", title_style="bold", box=None, pad_edge=False)
    if needs:
        table.title = f"Optimum for a given {', '.join(needs)}"
    table.show_header = False
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    for name, meaning in optimum["answers"].items():
        value = optimum.get("values", {}).get(name)
        table.add_row(name, escape(meaning), "" if value is None else f"{value:.4g}")
    return table
