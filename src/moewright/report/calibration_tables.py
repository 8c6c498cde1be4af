"""What `moewright calibrate` found."""

from moewright.hardware.step_calibration import StepCalibration
from moewright.report.plain_tables import number_table
from moewright.screen import Screen


def print_calibration(console: Screen, found: StepCalibration) -> None:
    """Print what was refitted, what was kept, and by how much the error fell."""
    record = found.record
    console.print(
        f"{record.rows:,} rows: median error {record.median_error_before:.2f} x with the packaged coefficients, "
        f"{record.median_error_after:.2f} x refitted (each row predicted without its fold of the rows).",
    )
    console.print(
        f"Measured over predicted: {record.range_before[0]:g} to {record.range_before[1]:g} before, "
        f"{record.range_after[0]:g} to {record.range_after[1]:g} after."
    )
    if record.refitted:
        console.print()
        table = number_table("Refitted", "", "before", "after")
        for name, values in record.refitted.items():
            table.add_row(name, f"{values.before:.3g}", f"{values.after:.3g}")
        console.print(table)
    console.print()
    console.print(f"Kept, since these rows cannot tell them: {', '.join(record.kept) or 'none'}.")
    for warning in record.warnings:
        console.print(warning)
