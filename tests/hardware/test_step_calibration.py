"""Coefficients that are known, found again from the steps that they make."""

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import moewright
from moewright import UserError
from moewright.hardware.step_calibration import calibrate_steps, read_measurements
from moewright.hardware.training_coefficients import StepCoefficients, training_coefficients

LAYOUTS = [
    (model, devices, f"tp={tp},pp={pp},ep={ep},micro_batch={micro},recompute={again}")
    for model, experts in (("olmoe-1b-7b", (1, 4, 8, 16)), ("qwen3-30b-a3b", (8, 16, 32)))
    for devices in (16, 64)
    for tp in (1, 2)
    for pp in (1, 2)
    for ep in experts
    for micro in (1, 4)
    for again in ("attention_scores", "layers")
    if ep <= devices // pp
]


def write(path: Path, seed: int, noise: float, **changed: float) -> Path:
    """Steps of 18 layouts as other coefficients make them, with noise."""
    draw = random.Random(seed)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["model", "hardware", "devices", "layout", "step_seconds", "global_batch"])
        for model, devices, layout in draw.sample(LAYOUTS, 18):
            rows.writerow([model, "H100", devices, layout, 1.0, 2**22])
    truth = altered(**changed)
    measured = [row.predicted(truth) * float(np.exp(draw.gauss(0, noise))) for row in read_measurements(path)]
    lines = path.read_text().splitlines()
    written = [
        lines[0],
        *(line.replace(",1.0,", f",{value},") for line, value in zip(lines[1:], measured, strict=True)),
    ]
    path.write_text("\n".join(written) + "\n")
    return path


def altered(**changed: float) -> StepCoefficients:
    packaged = training_coefficients()
    held: dict[Any, Any] = dict(packaged.coefficients)
    for name, factor in changed.items():
        held[name] = held[name].model_copy(update={"value": held[name].value * factor})
    return packaged.model_copy(update={"coefficients": held})


def test_what_differs_is_found_and_the_rest_is_kept(tmp_path: Path) -> None:
    changed = {"products_bf16": 0.6, "network": 0.4, "gap_of_a_mixture": 2.5}
    found = calibrate_steps(read_measurements(write(tmp_path / "steps.csv", 1, 0.05, **changed)))
    packaged, truth = training_coefficients().values(), altered(**changed).values()
    assert found.record.median_error_after < 1.1 < 1.2 < found.record.median_error_before
    assert {"products_fp8", "products_fp4"} <= {*found.record.kept}
    for name in found.record.kept:
        assert found.coefficients.values()[name] == packaged[name]
    assert "products_bf16" in found.record.refitted
    for name in changed.keys() & found.record.refitted.keys():
        before, after = (abs(np.log(values[name] / truth[name])) for values in (packaged, found.coefficients.values()))
        assert after < 0.5 * before, name
    low, high = found.record.range_after
    assert low < 1 < high
    assert high / low < 1.4


def test_packaged_coefficients_are_confirmed(tmp_path: Path) -> None:
    found = calibrate_steps(read_measurements(write(tmp_path / "steps.csv", 2, 0.03)))
    for name, values in found.record.refitted.items():
        assert abs(np.log(values.after / values.before)) < 0.2, name


def test_rows_that_tell_nothing_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a device that was never measured get the range of those that were."""
    monkeypatch.setattr("moewright.hardware.step_calibration.TOLD", 0.0)
    steps = tmp_path / "steps.csv"
    rows = [f"olmoe-1b-7b,A100,8,ep={expert},2" for expert in (1, 2, 8)]
    steps.write_text("\n".join(["model,hardware,devices,layout,step_seconds", *rows]))
    found = calibrate_steps(read_measurements(steps))
    assert "A100-80GB" not in training_coefficients().measured_devices
    assert found.coefficients == training_coefficients()


def test_the_file_prices_plans(tmp_path: Path) -> None:
    steps = write(tmp_path / "steps.csv", 3, 0.02, products_bf16=0.5, elementwise=2.0)
    out = tmp_path / "my_cluster.yaml"
    moewright.calibrate(steps, out)
    settings: dict[str, Any] = {"hardware": "H100", "devices": 16, "layout": "ep=8,micro_batch=4"}
    usual = moewright.plan("qwen3-30b-a3b", **settings).layouts[0]
    mine = moewright.plan("qwen3-30b-a3b", **settings, coefficients=out).layouts[0]
    assert mine.step_seconds[0] > usual.step_seconds[0]
    assert mine.step_seconds[1] / mine.step_seconds[0] < usual.step_seconds[1] / usual.step_seconds[0]
    moewright.calibrate(steps, out)  # its own file is replaced


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,hardware,devices,step_seconds\n", "the column layout is missing"),
        ("model,hardware,devices,layout\n", "give one of the columns"),
        ("model,hardware,devices,layout,step_seconds,speed\n", "no column is called 'speed'"),
        ("model,hardware,devices,layout,step_seconds,step_seconds\n", "the column step_seconds is there twice"),
        ("model,hardware,devices,layout,step_seconds\nolmoe-1b-7b,H100,8,ep=8,1\n", "1 rows are too few"),
        ("model,hardware,devices,layout,step_seconds\nolmoe-1b-7b,H100,8,ep=3,1\n", "row 1: layout: "),
        ("model,hardware,devices,layout,step_seconds\nolmoe-1b-7b,H100,8,ep=8,-1\n", "row 1: step_seconds: "),
        ("model,hardware,devices,layout,step_seconds\nolmoe-1b-7b,H1000,8,ep=8,1\n", "row 1: hardware: unknown device"),
        ("model,hardware,devices,layout,step_seconds\nolmoe-1b-7b,H100,8,ep=8,1,7\n", "row 1: has more cells"),
        ("model,hardware,devices,layout,step_seconds\n,H100,8,ep=8,1\n", "row 1: model: is empty"),
    ],
)
def test_bad_rows_are_said_in_a_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "steps.csv").write_text(text)
    with pytest.raises(UserError) as raised:
        moewright.calibrate(tmp_path / "steps.csv")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_lacks_a_coefficient_is_refused(tmp_path: Path) -> None:
    """Each of them, when the file is read and not when the first model needs it."""
    for name in training_coefficients().coefficients:
        values = training_coefficients().to_dict()
        del values["coefficients"][name]
        with pytest.raises(UserError, match=rf"^f: coefficients: .*lacks {name}"):
            StepCoefficients.from_dict(values, "f")
