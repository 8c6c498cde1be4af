"""What `moewright export` prints: the size of what was written, and which conventions were converted."""

from rich.console import Console

from moewright.exporters.exported import Export


def print_export(console: Console, exported: Export) -> None:
    """Warnings about the design, the exact parameters, and a line for each convention."""
    for warning in exported.warnings:
        console.print(f"warning: {warning}", markup=False, soft_wrap=True)
    apart = f", and {exported.mtp_params:,} in prediction blocks" if exported.mtp_params else ""
    console.print(f"parameters: {exported.total_params:,}{apart}", markup=False, soft_wrap=True)
    for note in exported.notes:
        console.print(f"- {note}", markup=False, soft_wrap=True)
