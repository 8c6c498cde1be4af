"""calibrate: the coefficients of a training step for one's own cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from moewright.commands.checking import command, writes
from moewright.outputs import COEFFICIENTS_FILE, Destination, deliver

if TYPE_CHECKING:
    from moewright.hardware.step_calibration import StepCalibration


@command
@writes(out=COEFFICIENTS_FILE)
def calibrate(measurements: str | Path, out: str | Path | None = None, *, force: bool = False) -> StepCalibration:
    """What do my own steps say? Coefficients of training for your cluster, from a CSV file of measured steps.

    Columns: model, hardware, devices, layout (as `plan --layout` takes it), and step_seconds or
    tokens_per_second_per_device; also sequence_length, global_batch, precision. What the rows cannot tell is kept. Give
    the file to `plan --coefficients`.

    Args:
        measurements: CSV file, one row for each measured layout.
        out: File to write, such as my_cluster.yaml.
        force: Replace a file that is not moewright's.

    Raises:
        UserError: For what cannot be read or priced, naming row and column.
    """
    from moewright.hardware.step_calibration import calibrate_steps, read_measurements

    found = calibrate_steps(read_measurements(Path(measurements)))
    if out is not None:
        deliver((Destination("out", out, COEFFICIENTS_FILE), found.coefficients.write), force=force)
    return found
