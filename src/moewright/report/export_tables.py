"""What `moewright export` prints: the size of what was written, and which conventions were converted."""

from moewright.exporters.exported import Export
from moewright.screen import Screen


def print_export(console: Screen, exported: Export) -> None:
    """Warnings about the design, the exact parameters, and a line for each convention."""
    for warning in exported.warnings:
        console.print(f"warning: {warning}", soft_wrap=True)
    apart = f", and {exported.mtp_params:,} in prediction blocks" if exported.mtp_params else ""
    console.print(f"parameters: {exported.total_params:,}{apart}", soft_wrap=True)
    for note in exported.notes:
        console.print(f"- {note}", soft_wrap=True)
