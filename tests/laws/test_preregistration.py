"""Forecasts that are written before a run and judged after it."""

import json
from pathlib import Path

import pandas as pd
import pytest

import moewright
from moewright import UserError, laws
from tests.laws.tables import synthetic_dense
from tests.test_cli import run

AT = {"total_params": 2e10, "train_tokens": 4e11}


@pytest.fixture
def forecast(tmp_path: Path) -> Path:
    path = tmp_path / "forecast.json"
    table = pd.DataFrame(synthetic_dense(0, rows=60))
    moewright.fit(table, "hoffmann2022", bootstrap=40, at=AT, preregister=path)
    return path


def test_what_is_written_is_what_the_law_says(tmp_path: Path, forecast: Path) -> None:
    table = pd.DataFrame(synthetic_dense(0, rows=60))
    law = moewright.fit(table, "hoffmann2022", bootstrap=40).law
    written = json.loads(forecast.read_text())
    assert written["at"] == AT
    assert written["data_sha256"] == law.record.data_sha256
    assert written["loss"] == pytest.approx(law.loss(**AT), rel=1e-12)
    assert written["interval"] == pytest.approx(list(law.prediction_interval(0.9, **AT)), rel=1e-12)
    assert written["created"].endswith("Z")


def test_scores(forecast: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = float(laws.get("epoch2024").loss(**AT))
    code, out, _ = run(capsys, "fit", f"{truth:.4f}", "--score", str(forecast), "--json")
    inside = json.loads(out)
    assert (code, inside["inside"]) == (0, True)
    assert abs(inside["half_widths"]) < 1
    low, high = inside["interval"]
    assert moewright.fit(str(high), score=forecast).half_widths == pytest.approx(1)
    assert moewright.fit(low, score=forecast).half_widths == pytest.approx(1)
    with pytest.raises(UserError, match="perplexity"):
        moewright.fit("40", score=forecast)
    outside = moewright.fit(str(high + 0.2), score=forecast)
    assert not outside.inside
    assert outside.missed < 0
    code, out, _ = run(capsys, "fit", str(high + 0.2), "--score", str(forecast))
    assert (code, "outside" in out) == (0, True)
    assert max(map(len, out.splitlines())) <= 80


def test_a_changed_forecast_judges_nothing(forecast: Path) -> None:
    changed = json.loads(forecast.read_text())
    changed["interval"] = [0.1, 9.0]
    forecast.write_text(json.dumps(changed))
    with pytest.raises(UserError, match="judges nothing"):
        moewright.fit("2.3", score=forecast)


def test_no_forecast_without_an_interval(tmp_path: Path) -> None:
    table = pd.DataFrame(synthetic_dense(0, rows=60))
    with pytest.raises(UserError, match=r"no interval there.*add runs"):
        moewright.fit(
            table, "hoffmann2022", bootstrap=40, at={**AT, "total_params": 1e14}, preregister=tmp_path / "f.json"
        )
    for at in (AT, {**AT, "total_params": 1e14}):
        with pytest.raises(UserError, match="bootstrap > 0"):
            moewright.fit(table, "hoffmann2022", bootstrap=0, at=at, preregister=tmp_path / "f.json")
    few = pd.DataFrame(synthetic_dense(0, rows=5))
    with pytest.raises(UserError, match="outside the runs, and as many coefficients as configurations"):
        moewright.fit(few, "hoffmann2022", at={**AT, "total_params": 1e14}, preregister=tmp_path / "f.json")
    assert not (tmp_path / "f.json").exists()
    with pytest.raises(UserError, match="score: judges a forecast, and law"):
        moewright.fit("2.3", "hoffmann2022", score=tmp_path / "f.json")  # type: ignore[call-overload]
