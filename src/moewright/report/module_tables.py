"""The table of `moewright inspect` for a family that only transformers knows."""

from moewright.hf.built_elsewhere import ModuleCount
from moewright.quantities import format_count
from moewright.report.plain_tables import number_table
from moewright.screen import Screen, styled

_MOST = 14
"""Modules on one screen."""


def print_module_count(console: Screen, count: ModuleCount) -> None:
    """Print the parameters, by module and in all, and what is not known."""
    total = format_count(count.total_params)
    by = (count.family, total, count.built_by)
    console.print(styled("[bold]{}[/bold] ({}): [bold]{}[/bold] parameters, by {}", count.name, *by))
    console.print(styled("No reader here knows the family; this is what its {} has.", count.class_name))
    table = number_table(None, "Parameters, by module", "", "share")
    shown = list(count.params_by_module.items())
    rest = shown[_MOST:]
    for name, size in shown[:_MOST]:
        table.add_row(styled("{}", name), f"{size:,}", f"{size / count.total_params:.1%}")
    if rest:
        size = sum(each for _, each in rest)
        table.add_row(f"{len(rest)} more, listed by --json", f"{size:,}", f"{size / count.total_params:.1%}")
    table.add_section()
    table.add_row(styled("[bold]all[/bold]"), styled("[bold]{}[/bold]", f"{count.total_params:,}"), "")
    console.print(table)
    console.print("Not known: active parameters, FLOPs, cache, bytes as published.")
    for warning in count.warnings:
        console.print(styled("[yellow]warning:[/yellow] {}", warning))
