"""The table of `moewright inspect A B`: what differs, made to read well at 80 columns."""

from rich.table import Table

from moewright.hardware.inspection_comparison import FLOPS, InspectionComparison, Unit, Value
from moewright.quantities import format_bytes, format_count
from moewright.report.plain_tables import bare_table
from moewright.screen import Screen, styled


def print_comparison(console: Screen, comparison: InspectionComparison) -> None:
    """Print every difference, one line each, and what is equal in one.

    Left out are lines that follow from others: active parameters of a component of which all are active, and FLOPs of
    one that takes 2 for each active parameter.
    """
    table: Table = bare_table(None)
    table.add_column("")
    for inspection in comparison.inspections:
        table.add_column(styled("{}", inspection.name), justify="right", overflow="fold")
    values = {(each.group, each.name): each.values for each in comparison.quantities()}
    group = ""
    for quantity in comparison.differences():
        if quantity.group == "Active" and quantity.values == values["Parameters", quantity.name]:
            continue
        active = values.get(("Active", quantity.name), ())
        if quantity.group == FLOPS and quantity.values == tuple(
            2 * value for value in active if isinstance(value, int)
        ):
            continue
        if quantity.group != group:
            group = quantity.group
            table.add_row(styled("[bold]{}[/bold]", group))
        unit = f", {quantity.unit}" if quantity.unit.startswith("tokens") else ""
        label = styled("  {}", f"{quantity.name.replace('_', ' ')}{unit}")
        table.add_row(label, *(styled("{}", _written(value, quantity.unit)) for value in quantity.values))
    if group:
        console.print(table)
    else:
        console.print("No counted quantity differs.")
    same = [each.name for each in comparison.quantities() if each.group == "Model" and not each.differs]
    if same:
        console.print(styled("equal: {}", ", ".join(same)))
    console.print(f"FLOPs and caches at {comparison.inspections[0].tokens_per_sequence:,} tokens.")
    for inspection in comparison.inspections:
        for warning in inspection.warnings:
            console.print(styled("[yellow]warning:[/yellow] {}: {}", inspection.name, warning))


def _written(value: Value, unit: Unit) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return " to ".join(_written(end, unit) for end in value)
    if isinstance(value, str):
        return value
    if unit == "bytes":
        return format_bytes(value)
    if unit == "seconds":
        return f"{value:.3g} s"
    if unit == "":
        return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
    return format_count(value) if value >= 1000 else f"{value:.3g}"
