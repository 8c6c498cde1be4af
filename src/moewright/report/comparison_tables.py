"""The table of `moewright inspect A B`: what differs, made to read well at 80 columns."""

from rich.table import Table

from moewright.hardware.inspection_comparison import FITS, FLOPS, InspectionComparison
from moewright.hardware.inspection_record import ComparedQuantity, Unit, Value
from moewright.quantities import format_bytes, format_count, format_figure
from moewright.report.plain_tables import bare_table
from moewright.screen import Screen, styled

_IN_SHORT = {
    "memory of a device": "memory of a device",
    "decoding, a sequence": "tokens/s of a sequence",
    "decoding, all": "tokens/s of all",
    "time to first token": "time to first token",
    "training": "training tokens/day",
}
"""How the hardware's quantities are called without the heading of their group."""


def print_comparison(console: Screen, comparison: InspectionComparison) -> None:
    """Print the differences that people choose by, one line each, or every one, and what is equal in one line."""
    table: Table = bare_table(None)
    table.add_column("")
    for inspection in comparison.inspections:
        table.add_column(styled("{}", inspection.name), justify="right", overflow="fold")
    rows, same = (_in_full if console.explain else _in_short)(comparison)
    rows = rows if comparison.differences() else []
    for label, texts in rows:
        heading = styled("[bold]{}[/bold]" if not texts else "{}", label.replace("_", " "))
        table.add_row(heading, *(styled("{}", text) for text in texts))
    differences = comparison.differences()
    if rows:
        console.print(table)
    else:
        console.print("Nothing that people choose by differs." if differences else "No counted quantity differs.")
    if same:
        console.print(styled("equal: {}", ", ".join(same)))
    first = comparison.inspections[0]
    console.print(f"FLOPs at {first.tokens_per_sequence:,} tokens, caches of as many in {first.kv_dtype}.")
    warned: dict[str, list[str]] = {}
    for inspection in comparison.inspections:
        for warning in inspection.warnings:
            warned.setdefault(warning, []).append(inspection.name)
    for warning, names in warned.items():
        console.print(styled("[yellow]warning:[/yellow] {}: {}", ", ".join(names), warning))
    if differences and not console.explain:
        console.point_to("parameters, active ones and FLOPs by component, family, formats")


_Row = tuple[str, tuple[str, ...]]
"""A label with a text for each model, or a heading."""


def _in_short(comparison: InspectionComparison) -> tuple[list[_Row], list[str]]:
    """The differences that people choose by, and the names of what is equal of a model's shape."""
    found = {(each.group, each.name): each for each in comparison.quantities()}

    def texts(group: str, *names: str) -> list[tuple[str, ...]]:
        chosen = [found[group, name] for name in names]
        return [tuple(_written(value, each.unit) for value in each.values) for each in chosen]

    def row(label: str, group: str, name: str) -> list[_Row]:
        return [(label, texts(group, name)[0])] if _is_told(found[group, name]) else []

    def joined(between: str, *names: str) -> tuple[str, ...]:
        pairs = zip(*texts("Model", *names), strict=True)
        return tuple("-" if set(pair) == {"-"} else between.join(pair) for pair in pairs)

    shape = {
        "layers x width": joined(" x ", "layers", "width"),
        "context": joined("", "context"),
        "experts": joined(" of ", "active experts", "experts"),
        "expert size": joined("", "expert size"),
        "shared experts": joined("", "shared experts"),
    }
    unlike = {label: values for label, values in shape.items() if len(set(values)) > 1}
    rows = [
        *row("parameters", "Parameters", "all"),
        *row("active parameters", "Active", "all"),
        *row("prediction blocks", "Parameters", "prediction blocks"),
        *unlike.items(),
        *row("FLOPs of a token", FLOPS, "forward"),
    ]
    left = {"published format", "states of a sequence"}
    for group, name in found:
        if group not in ("Model", "Parameters", "Active", FLOPS) and name not in left:
            rows += row(_IN_SHORT.get(name, name), group, name)
    return rows, [label for label, values in shape.items() if label not in unlike and set(values) != {"-"}]


def _in_full(comparison: InspectionComparison) -> tuple[list[_Row], list[str]]:
    """Every difference below its group, and the names of what is equal of the models' own.

    Left out are lines that follow from others: active parameters of a component of which all are active, and FLOPs of
    one that takes 2 for each active parameter.
    """
    quantities = comparison.quantities()
    values = {(each.group, each.name): each.values for each in quantities}
    rows: list[_Row] = []
    group = ""
    for quantity in filter(_is_told, quantities):
        if quantity.group == "Active" and quantity.values == values["Parameters", quantity.name]:
            continue
        active = values.get(("Active", quantity.name), ())
        if quantity.group == FLOPS and quantity.values == tuple(
            2 * value for value in active if isinstance(value, int)
        ):
            continue
        if quantity.group != group:
            group = quantity.group
            rows.append((group, ()))
        unit = f", {quantity.unit}" if quantity.unit.startswith("tokens") else ""
        rows.append((f"  {quantity.name}{unit}", tuple(_written(value, quantity.unit) for value in quantity.values)))
    return rows, [each.name for each in quantities if each.group == "Model" and not each.differs]


def _is_told(quantity: ComparedQuantity) -> bool:
    """What differs; and that models do not fit, be it all of them: the speeds below are then of no device."""
    return quantity.differs or (quantity.name == FITS and "no" in quantity.values)


def _written(value: Value, unit: Unit) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        low, high = (_written(end, unit) for end in value)
        return f"{low.removesuffix(' s') if unit == 'seconds' else low} to {high}"
    if isinstance(value, str):
        return value
    if unit == "bytes":
        return format_bytes(value)
    if unit == "seconds":
        return f"{format_figure(value, letters=False)} s"
    if unit == "money":
        return format_figure(value, 2)
    if unit == "":
        return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
    return format_count(value) if value >= 1000 else format_figure(value)
