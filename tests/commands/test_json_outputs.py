"""What commands print with --json is what their record classes say: it reads back into the class, nothing lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from moewright.data.dataset_record import DatasetOutput
from moewright.designs.design_record import DesignsRecord
from moewright.experiment.collecting.collection import RunsAnswer
from moewright.experiment.planning import PlanAnswer
from moewright.experiment.run_folder import TrainAnswer
from moewright.exporters.exported import ExportAnswer
from moewright.hardware.inspection_record import ComparisonRecord, InspectionRecord
from moewright.hardware.layout_record import LayoutPlanRecord
from moewright.hardware.serving_record import ServingPlanRecord
from moewright.hardware.step_calibration import CalibrationRecord
from moewright.hf.model_description import ModelDescription, ModelList
from moewright.laws import Evidence
from moewright.laws.description import LawDescription, LawList
from moewright.laws.judging.judged_models import JudgedModelsAnswer
from moewright.laws.prediction import PredictionAnswer
from moewright.records import Output
from moewright.report.page.written_page import WrittenPage
from tests.test_cli import run

MODEL = "examples/configs/deepseek-v3.json"
SMALL = ("--total-params", "3B", "--active-params", "500M", "--train-tokens", "1e11", "--top", "2")


@pytest.mark.parametrize(
    ("arguments", "record"),
    [
        (("inspect", MODEL), InspectionRecord),
        (("inspect", "examples/configs/jamba-v0.1.json", "--hardware", "H100", "--devices", "8"), InspectionRecord),
        (("inspect", MODEL, "dbrx", "--hardware", "H100"), ComparisonRecord),
        (("predict", MODEL, "--train-tokens", "2T"), PredictionAnswer),
        (("predict", MODEL, "dbrx", "--train-tokens", "2T"), JudgedModelsAnswer),
        (("models",), ModelList),
        (("models", "kimi-k3"), ModelDescription),
        (("plan", MODEL, "--hardware", "GB200", "--devices", "256", "--precision", "mxfp8"), LayoutPlanRecord),
        (("calibrate", "examples/measured_steps.csv"), CalibrationRecord),
        (("plan", MODEL, "--hardware", "H200", "--devices", "16", "--serve", "--generate", "500"), ServingPlanRecord),
        (("laws",), LawList),
        (("laws", "--evidence"), Evidence),
        (("laws", "zhao2025"), LawDescription),
        (("laws", "docs/slicing2026.json"), LawDescription),
        (("design", *SMALL), DesignsRecord),
        (("export", "examples/configs/olmoe-1b-7b.json", "--format", "hf", "--out", "{out}"), ExportAnswer),
        (("report", MODEL, "dbrx", "--out", "{out}"), WrittenPage),
        (("data", "prepare", "examples/data/moby-dick.txt", "--vocab-size", "400", "--out", "{out}"), DatasetOutput),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_outputs_read_back(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], record: type[Output]
) -> None:
    assert_reads_back(capsys, record, *(argument.format(out=tmp_path / "out") for argument in arguments))


def assert_reads_back(capsys: pytest.CaptureFixture[str], record: type[Output], *arguments: str) -> None:
    """What a command prints is a record of this class, nothing lost."""
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 0, err
    values: dict[str, Any] = json.loads(out)
    read = record.from_dict(values)
    assert read.to_dict() == values
    assert set(values) <= set(record.json_schema()["properties"])


def test_outputs_about_runs_read_back(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tests.lab import tiny

    recipe = tiny.save(tiny.recipe(tiny.write_tokens(tmp_path), steps=3), tmp_path / "recipe.json")
    assert_reads_back(capsys, PlanAnswer, "train", recipe, "--dry-run")
    assert_reads_back(capsys, TrainAnswer, "train", recipe, "--out", str(tmp_path / "runs" / "one"))
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "run.json").write_text("{")
    assert_reads_back(capsys, RunsAnswer, "runs", str(tmp_path / "runs"), "--out", str(tmp_path / "runs.csv"))


def test_the_folder_of_designs_keeps_the_same_record(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run(capsys, "design", *SMALL, "--out", str(tmp_path / "out"), "--json")
    assert code == 0, err
    kept = DesignsRecord.read(tmp_path / "out" / "designs.json")
    assert kept == DesignsRecord.from_dict(json.loads(out))
    assert [design.architecture for design in kept.designs] == [
        design.architecture.load(tmp_path / "out" / f"design-{number:02d}" / "architecture.yaml")
        for number, design in enumerate(kept.designs, start=1)
    ]
