"""Coefficients of a training step for one's own cluster, from one's own measured steps.

The packaged coefficients are the prior; rows pull where they can. A coefficient is refitted where the rows narrow it to
less than `TOLD` of its prior width, and kept as it is elsewhere, so that what the rows cannot tell is not moved by
chance. How much nearer that comes is said by cross-validation: each row's error with coefficients fitted to the others.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from moewright.architecture.spec import Architecture
from moewright.complaints import check_bounds, list_names, one_of
from moewright.display import ShownTable
from moewright.errors import UserError
from moewright.files import read_text
from moewright.hardware.devices import load_device
from moewright.hardware.layout_plan import check_devices, check_length, given_layout, sequences_of
from moewright.hardware.layout_search import TrainingJob
from moewright.hardware.training_coefficients import (
    StepCoefficient,
    StepCoefficients,
    StepRange,
    training_coefficients,
)
from moewright.hardware.training_step import PRECISIONS, PRODUCT_FORMATS, LayoutColumns, TrainingPrecision, step_seconds
from moewright.hf.loading import load_architecture
from moewright.quantities import brief, parse_count
from moewright.records import Items, Output, Pair, Record

if TYPE_CHECKING:
    from moewright.architecture.sizes import Column

NEEDED_COLUMNS = ("model", "hardware", "devices", "layout")
MEASURED = ("step_seconds", "tokens_per_second_per_device")
OPTIONAL = ("sequence_length", "global_batch", "precision")
STEP_NOISE = 0.1
"""Standard deviation of the logarithm of a measured step: what two runs of one layout differ by."""
LEAST_WIDTH = 0.3
"""Of a prior, in logarithms: software and clusters differ by more than bootstrap samples of few sources do."""
TOLD = 0.7
FEWEST = 3
FOLDS = 5
MOST_ROWS = 10_000


@dataclass(frozen=True)
class MeasuredStep:
    """One row."""

    job: TrainingJob
    layout: LayoutColumns
    precision: TrainingPrecision
    seconds: float

    def predicted(self, coefficients: StepCoefficients) -> float:
        """Seconds of the step."""
        parts = step_seconds(
            self.job.architecture,
            self.job.device,
            self.job.devices,
            self.layout,
            tokens_per_sequence=self.job.tokens_per_sequence,
            precision=self.precision,
            optimizer=self.job.optimizer,
            gradient_dtype=self.job.gradient_dtype,
            coefficients=coefficients,
        )
        return float(np.asarray(sum(parts.values()))[0])


class CalibratedRecord(Record):
    """A coefficient that the rows tell."""

    before: float
    after: float


class CalibrationRecord(Output):
    """What measurements of one's own change."""

    command: ClassVar[str] = "calibrate"
    rows: int
    refitted: dict[str, CalibratedRecord]
    kept: Items[str]
    """Coefficients that the rows cannot tell."""
    median_error_before: float
    """Factor, with the packaged coefficients."""
    median_error_after: float
    """Factor, of rows that were left out of the fit (cross-validation)."""
    range_before: Pair[float]
    """Measured over predicted: 10th to 90th percentile, packaged."""
    range_after: Pair[float]
    """The same, of rows that were left out."""
    warnings: Items[str]


@dataclass(frozen=True, repr=False)
class StepCalibration(ShownTable):
    """Refitted coefficients, and what they are worth."""

    record: CalibrationRecord
    coefficients: StepCoefficients

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright calibrate --json`."""
        return self.record.to_dict()

    def _facts(self) -> Mapping[str, Any]:
        return {
            "rows": self.record.rows,
            "refitted": len(self.record.refitted),
            "median_error_before": self.record.median_error_before,
            "median_error_after": self.record.median_error_after,
        }

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        told = self.record.refitted
        return [
            {"coefficient": name, "value": each.value, "refitted": name in told}
            for name, each in self.coefficients.coefficients.items()
        ]


def read_measurements(path: Path) -> list[MeasuredStep]:
    """The rows of a CSV file. Raises UserError naming row and column."""
    reader = csv.DictReader(read_text(path).splitlines())
    names = [name.strip() for name in reader.fieldnames or ()]
    for name in NEEDED_COLUMNS:
        if name not in names:
            raise UserError(
                f"{path}: the column {name} is missing; needed are {', '.join(NEEDED_COLUMNS)} and {MEASURED[0]}"
            )
    known = (*NEEDED_COLUMNS, *MEASURED, *OPTIONAL)
    odd = set(names) - {*known}
    if odd:
        raise UserError(f"{path}: no column is called {brief(min(odd))}; known: {list_names(known)}")
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise UserError(f"{path}: the column {twice[0]} is there twice")
    if sum(name in names for name in MEASURED) != 1:
        raise UserError(f"{path}: give one of the columns {' and '.join(MEASURED)}")
    models: dict[str, Architecture] = {}
    rows = []
    for number, given in enumerate(reader, 1):
        if number > MOST_ROWS:
            raise UserError(f"{path}: more than {MOST_ROWS:,} rows")
        try:
            if None in given:
                raise UserError("has more cells than there are columns")
            rows.append(_row({name.strip(): (value or "").strip() for name, value in given.items()}, models))
        except UserError as error:
            raise UserError(f"{path}: row {number}: {error}") from None
    if len(rows) < FEWEST:
        raise UserError(f"{path}: {len(rows)} rows are too few to tell anything; give {FEWEST} at least")
    return rows


def _row(given: Mapping[str, str], models: dict[str, Architecture]) -> MeasuredStep:
    for name in NEEDED_COLUMNS:
        if not given[name]:
            raise UserError(f"{name}: is empty")
    if given["model"] not in models:
        models[given["model"]] = load_architecture(given["model"]).architecture
    architecture, device = models[given["model"]], load_device(given["hardware"])
    devices = _whole(given["devices"], "devices")
    check_devices(device, devices)
    length = check_length(
        architecture, _whole(given["sequence_length"], "sequence_length") if given.get("sequence_length") else None
    )
    batch = parse_count(given["global_batch"], "global_batch") if given.get("global_batch") else None
    job = TrainingJob(architecture, device, devices, length, sequences_of(batch, length, devices))
    precision: Any = one_of(given.get("precision") or "bf16", "precision", PRECISIONS)
    if PRODUCT_FORMATS[precision] not in device.peak_flops:
        raise UserError(f"precision: {device.name} has no {precision} products")
    seconds = _measured(given, job)
    return MeasuredStep(job, given_layout(job, given["layout"]), precision, seconds)


def _measured(given: Mapping[str, str], job: TrainingJob) -> float:
    name = next(name for name in MEASURED if name in given)
    value = parse_count(given[name], name)
    check_bounds(value, given[name], name, above=0)
    return value if name == "step_seconds" else job.sequences * job.tokens_per_sequence / job.devices / value


def _whole(text: str, name: str) -> int:
    value = parse_count(text, name)
    if not float(value).is_integer():
        raise UserError(f"{name}: must be a whole number, found {text}")
    return int(value)


def calibrate_steps(rows: Sequence[MeasuredStep]) -> StepCalibration:
    """The packaged coefficients, refitted where the rows can tell."""
    packaged = training_coefficients()
    measured = np.log([row.seconds for row in rows])
    before = measured - _logs(rows, packaged)
    told, kept = _told(rows, packaged)
    warnings = []
    found = packaged
    after = before
    if told:
        found = _fitted(rows, packaged, told)
        after = np.zeros(len(rows))
        folds = np.arange(len(rows)) % min(FOLDS, len(rows))
        for fold in range(int(folds.max()) + 1):
            others = [row for row, its in zip(rows, folds, strict=True) if its != fold]
            left = [row for row, its in zip(rows, folds, strict=True) if its == fold]
            after[folds == fold] = measured[folds == fold] - _logs(left, _fitted(others, packaged, told))
    else:
        warnings.append("No coefficient is told by these rows; the packaged ones are written.")
    ends = _ends(after)
    error_before, error_after = (float(np.exp(np.median(np.abs(apart)))) for apart in (before, after))
    if error_after > error_before:
        warnings.append("Rows that were left out are predicted no better than before; think twice before you use this.")
    if len(rows) < 10:
        warnings.append("With fewer than 10 rows the range is little more than the rows themselves.")
    said = (
        f"10th to 90th percentile of measured over predicted, {len(rows)} own measurements, each predicted without the "
        f"fold of {min(FOLDS, len(rows))} that it is in"
    )
    devices = tuple(sorted({*packaged.measured_devices, *(row.job.device.name for row in rows)}))
    formats = tuple(sorted({*packaged.measured_formats, *(PRODUCT_FORMATS[row.precision] for row in rows)}))
    measured_range = StepRange(factors=ends, source=said)
    if told:
        found = found.model_copy(
            update={"measured_devices": devices, "measured_formats": formats, "measured": measured_range}
        )
    before_values, after_values = packaged.values(), found.values()
    return StepCalibration(
        CalibrationRecord(
            rows=len(rows),
            refitted={name: CalibratedRecord(before=before_values[name], after=after_values[name]) for name in told},
            kept=tuple(kept),
            median_error_before=error_before,
            median_error_after=error_after,
            range_before=_ends(before),
            range_after=ends,
            warnings=tuple(warnings),
        ),
        found,
    )


def _ends(apart: Column) -> tuple[float, float]:
    low, high = np.exp(np.quantile(apart, [0.1, 0.9]))
    return float(f"{low:.3g}"), float(f"{high:.3g}")


def _logs(rows: Sequence[MeasuredStep], coefficients: StepCoefficients) -> Column:
    return np.log([row.predicted(coefficients) for row in rows])


def _with(packaged: StepCoefficients, names: Sequence[str], logs: Column) -> StepCoefficients:
    changed: dict[Any, StepCoefficient] = dict(packaged.coefficients)
    for name, log in zip(names, logs, strict=True):
        value = float(np.exp(log))
        changed[name] = changed[name].model_copy(update={"value": value})
    return packaged.model_copy(update={"coefficients": changed})


def _slopes(
    rows: Sequence[MeasuredStep], packaged: StepCoefficients, names: Sequence[str], logs: Column, base: Column
) -> Column:
    """Change of each row's logarithm, `base` at these coefficients, with that of each of them: (rows, names)."""
    step = 1e-3
    moved = [
        _logs(rows, _with(packaged, names, logs + step * (np.arange(len(names)) == place)))
        for place in range(len(names))
    ]
    return (np.array(moved).T - base[:, None]) / step


def _widths(packaged: StepCoefficients, names: Sequence[str]) -> Column:
    """Standard deviations of the priors: a range from 10th to 90th percentile is 2.56 of them."""
    spreads: Any = packaged.coefficients
    return np.array(
        [max(math.log(spreads[name].spread[1] / spreads[name].spread[0]) / 2.56, LEAST_WIDTH) for name in names]
    )


def _told(rows: Sequence[MeasuredStep], packaged: StepCoefficients) -> tuple[list[str], list[str]]:
    names = [str(name) for name in packaged.coefficients]
    logs = np.log([packaged.values()[name] for name in names])
    widths = _widths(packaged, names)
    base = _logs(rows, _with(packaged, names, logs))
    scaled = _slopes(rows, packaged, names, logs, base) * widths / STEP_NOISE
    posterior = np.sqrt(np.diag(np.linalg.inv(np.eye(len(names)) + scaled.T @ scaled)))
    told = [name for name, left in zip(names, posterior, strict=True) if left < TOLD]
    return told, [name for name in names if name not in told]


def _fitted(rows: Sequence[MeasuredStep], packaged: StepCoefficients, names: Sequence[str]) -> StepCoefficients:
    """Least squares of logarithms with the priors, by Gauss-Newton with halved steps; fractions stay below 1."""
    centre = np.log([packaged.values()[name] for name in names])
    widths = _widths(packaged, names)
    most = np.where(centre < 0, 0.0, np.inf)
    measured = np.log([row.seconds for row in rows])

    def cost(logs: Column) -> float:
        apart = (_logs(rows, _with(packaged, names, logs)) - measured) / STEP_NOISE
        return float(np.sum(2 * (np.sqrt(1 + apart**2 / 9) - 1) * 9) + np.sum(((logs - centre) / widths) ** 2))

    logs, best = centre, cost(centre)
    for _ in range(8):
        base = _logs(rows, _with(packaged, names, logs))
        apart = (base - measured) / STEP_NOISE
        trust = 1 / np.sqrt(1 + apart**2 / 9)  # a row that is far off pulls less
        slopes = _slopes(rows, packaged, names, logs, base) / STEP_NOISE
        normal = slopes.T @ (trust[:, None] * slopes) + np.diag(widths**-2.0)
        step = np.linalg.solve(normal, -(slopes.T @ (trust * apart)) - (logs - centre) / widths**2)
        for part in (1.0, 0.5, 0.25, 0.1):
            new = np.minimum(logs + part * step, most)
            if (found := cost(new)) < best - 1e-9:
                logs, best = new, found
                break
        else:
            break
    fitted = _with(packaged, names, logs)
    changed: dict[Any, StepCoefficient] = dict(fitted.coefficients)
    for name in names:
        value = float(f"{changed[name].value:.4g}")
        changed[name] = StepCoefficient(
            value=value, spread=(value, value), source=f"fitted to {len(rows)} own measurements (moewright calibrate)"
        )
    return packaged.model_copy(update={"coefficients": changed})
