"""The dry run: what it says against the planner, the trainer and the files; and one line for whatever cannot be."""

import io
import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import moewright
from moewright import cli
from moewright.architecture.counts import active_params, total_params
from moewright.errors import UserError
from moewright.experiment.attempts import note_begin, note_end
from moewright.experiment.collecting.collection import collect
from moewright.experiment.sweep_folder import run_path
from moewright.lab.training import train
from moewright.report.dry_run_tables import print_dry_run
from moewright.screen import Screen
from moewright.sweeps.foresight import dry_run as module
from moewright.sweeps.foresight.calibration import Calibration
from moewright.sweeps.foresight.dry_run import DryRun, dry_run
from moewright.sweeps.foresight.run_forecasts import planned_table
from moewright.sweeps.foresight.step_speed import SpeedModel
from moewright.sweeps.planner import Planner
from moewright.sweeps.running.submitting import note_run, note_specification, submitting
from moewright.sweeps.running.sweeping import load_sweep
from tests.lab.tiny import recipe

GRID = {"grid": {"num_experts": [4, 8, 16], "learning_rate": [0.01, 0.02]}}
TUNING = {"multipliers": [0.5, 1, 2], "per": ["num_experts"], "cell": {"learning_rate": 0.01}, "extend": 2}


@pytest.fixture(autouse=True)
def _one_second_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """No measurement: a second for a layer, 10 to start."""
    model = SpeedModel({"layers": 0.5}, 0.1)
    kinds = ("fp32 adamw", "bf16 adamw")
    made = Calibration("by hand", 10.0, 0.0, {}, dict.fromkeys(kinds, model))
    monkeypatch.setattr(module, "calibrate", lambda *_: made)


def spec(data: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"recipe": recipe(data), "axes": [GRID], "execution": {"cores_per_run": 1}, **more}


def text(planned: DryRun) -> str:
    console = Screen(width=80, record=True, file=io.StringIO())
    print_dry_run(console, planned)
    return console.export_text()


def test_runs_are_those_of_the_planner_with_exact_counts(data: dict[str, Any], tmp_path: Path) -> None:
    given = spec(data, seeds=[0, 1], tuning=TUNING)
    out = tmp_path / "sweep"
    planned = dry_run(given, out, jobs=1)
    assert not out.exists()
    made = json.loads(json.dumps(planned.to_dict(), allow_nan=False))
    runs = Planner(load_sweep(given)).plan({}).runs
    assert [row["settings"] for row in made["runs"]] == [run.settings for run in runs]
    for row, run in zip(made["runs"], runs, strict=True):
        architecture = run.recipe.architecture
        assert (row["total_params"], row["active_params"]) == (total_params(architecture), active_params(architecture))
        assert row["seconds"] == pytest.approx(10 + 10 * 2 * 0.5)  # 10 steps, 2 layers
    assert made["totals"]["stages"] == Counter(run.stage for run in runs) == {"tune": 9, "main": 12}
    assert made["totals"]["seconds"] == pytest.approx(21 * 20)
    assert made["totals"]["most_seconds"] == pytest.approx((21 + 6) * 20)
    assert made["totals"]["train_flops"] == pytest.approx(sum(run.sizes["train_flops"] for run in runs))
    assert {row["learning_rate"] is None for row in made["runs"] if row["stage"] == "main"} == {True}


@pytest.mark.parametrize("best", ["lowest", "highest"])
def test_no_results_make_more_tuning_runs_than_were_announced(data: dict[str, Any], best: str) -> None:
    given = spec(data, tuning=TUNING)
    announced = dry_run(given).more_tuning
    planner = Planner(load_sweep(given))
    losses: dict[str, float] = {}
    first = sum(run.stage == "tune" for run in planner.plan({}).runs)
    sign = 1 if best == "lowest" else -1
    for _ in range(6):
        for run in planner.plan(losses).known:
            rate = run.recipe.learning_rate
            assert isinstance(rate, float)
            losses[run.id] = 5 + sign * 0.1 * math.log(rate)
    assert sum(run.stage != "main" for run in planner.plan(losses).runs) - first == announced == 6


def test_groups_that_wait_for_the_transfer_rule_are_counted(data: dict[str, Any]) -> None:
    """As if each were tested: what is planned and what may come are at most what all groups alone would take."""
    steps = {"grid": {"train_tokens": [640, 5120], "num_experts": [4, 8]}}
    tuning = {"multipliers": [0.5, 1, 2], "per": ["train_tokens"], "extend": 1}
    alone = dry_run(spec(data, axes=[steps], tuning=tuning))
    ruled = dry_run(spec(data, axes=[steps], tuning={**tuning, "transfer": {}}))
    first, second = ([run.run for run in planned.runs if run.run.stage != "main"] for planned in (alone, ruled))
    assert (len(first), len(second)) == (6, 3)
    assert len(second) + ruled.more_tuning == len(first) + alone.more_tuning == 8


def sweep_with(given: dict[str, Any], out: Path, done: int) -> Planner:
    """A sweep's folder in which the first runs are done, trained here."""
    planner = Planner(load_sweep(given))
    with submitting(out):
        note_specification(out, load_sweep(given).to_dict(), planner.code)
        for index, run in enumerate(planner.plan({}).runs):
            note_run(out, planner, run)
            if index < done:
                note_begin(out, run.id, 1, step=0, threads=1, cores=[0], job="local")
                train(run.recipe, run_path(out, run.id), show=False)
                note_end(out, run.id, 1, "finished")
    return planner


def test_finished_runs_cost_nothing_and_tell_the_speed(data: dict[str, Any], tmp_path: Path, quick: None) -> None:
    given = spec(data)
    out = tmp_path / "sweep"
    sweep_with(given, out, done=5)
    planned = dry_run(given, out, jobs=1)
    assert planned.states == {"done": 5, "pending": 1}
    assert [each.seconds == 0 for each in planned.runs] == [True] * 5 + [False]
    assert planned.calibration is not None
    # Three kinds of step by experts, all of which are among the five.
    assert planned.calibration.source == "from 5 finished runs, 3 of 3 kinds of step"
    assert planned.seconds == planned.runs[-1].seconds
    assert planned.seconds is not None
    assert 0 < planned.seconds < 600
    printed = text(planned)
    assert "5 done, 1 pending; 1 to do" in printed
    assert "…" not in printed
    other = dry_run(given, out, jobs=1, executor="slurm")
    assert (other.calibration, other.seconds) == (None, None)
    assert "not estimated" in text(other)


def test_the_planned_table_is_the_run_table_before_it_runs(data: dict[str, Any], tmp_path: Path, quick: None) -> None:
    given = spec(data, axes=[{"grid": {"num_experts": [4, 8], "train_tokens": [1280, 1300]}}])
    planner = sweep_with(given, tmp_path / "sweep", done=4)
    actual = collect(tmp_path / "sweep").table.set_index("run_id")
    planned = planned_table(planner, planner.plan({}).runs).set_index("run_id").loc[actual.index]
    shared = [name for name in planned if name not in ("status", "architecture")]
    assert {"total_params", "active_params", "train_tokens", "train_flops", "config_id", "num_experts"} <= set(shared)
    for name in shared:
        pd.testing.assert_series_equal(planned[name], actual[name], check_dtype=False, check_names=False)


def test_laws_are_asked_about_the_main_runs(data: dict[str, Any]) -> None:
    given = spec(data, tuning=TUNING, seeds=[0, 1], forecast={"law": ["liew2026", "zhao2025"], "noise": 0.01})
    given["forecast"] |= {"replicates": 2, "truth": "clark2022"}  # zhao2025 itself lies too far from such small runs
    planned = dry_run(given)
    assert [each.law for each in planned.forecasts] == ["liew2026", "zhao2025"]
    assert {(each.runs, each.noise, each.replicates) for each in planned.forecasts} == {(12, 0.01, 2)}
    instead = dry_run(given, forecast=["hoffmann2022"], noise=0.02).forecasts
    assert [(each.law, each.noise) for each in instead] == [("hoffmann2022", 0.02)]
    json.dumps(planned.to_dict(), allow_nan=False)


def test_what_deserves_a_look_is_named(data: dict[str, Any]) -> None:
    # Longer than the validation sets.
    long = {"sequence_length": 256, "batch_tokens": 256, "micro_batch_sequences": 1}
    points: list[dict[str, Any]] = [{"num_experts": 4}, {"num_experts": 4, "top_k": 2}, {"num_experts": 1}, long]
    more: dict[str, Any] = {"balancing": {}, "train_tokens": 7000}
    given = {"recipe": recipe(data, **more), "axes": [{"points": points}], "execution": {"cores_per_run": 1}}
    planned = dry_run(given, jobs=1)
    made = planned.to_dict()
    assert made["merged"] == 1
    assert made["duplicates"] == [{"settings": points[1], "same_as": points[0]}]
    assert [each["settings"] for each in made["invalid"]] == [points[2]]
    (problem,) = made["problems"]
    assert problem["settings"] == {**points[3], "seed": 0}
    assert any("no balancing at all" in warning for warning in made["warnings"])
    assert any("times through" in warning for warning in made["warnings"])
    assert len(planned.left) == 1
    printed = text(planned)
    for expected in (
        "named twice and run once: 1 run:",
        "1 run would fail",
        "without a model: 1 cell:",
        "no balancing at all",
    ):
        assert expected in printed


def test_drift_is_told_of_what_is_held(data: dict[str, Any]) -> None:
    axis = {"grid": {"num_experts": [4, 64]}, "hold": ["active"]}
    planned = dry_run(spec(data, axes=[axis]))
    (drift,) = planned.drifts
    assert drift.what == "active"
    assert drift.settings == {"num_experts": 64}
    small, large = (each.run.sizes["active_params"] for each in planned.runs)
    assert drift.largest == pytest.approx(large / small - 1)  # 4 experts are the base's
    assert dry_run(spec(data)).drifts == ()


def test_150_runs_are_readable_at_80_columns(data: dict[str, Any]) -> None:
    grid = {"num_experts": [4, 8, 16, 32, 64], "router.score": ["softmax", "sigmoid"], "expert_size": [8, 16, 24]}
    given = spec(data, axes=[{"grid": grid}], seeds=[0, 1, 2, 3, 4], tuning={**TUNING, "cell": {}})
    planned = dry_run(given)
    printed = text(planned)
    assert len(planned.runs) > 150
    assert max(map(len, printed.splitlines())) <= 80
    assert len(printed.splitlines()) < 60
    assert "…" not in printed


def test_the_command_is_a_function_too(data: dict[str, Any], tmp_path: Path) -> None:
    planned = moewright.sweep(spec(data), dry_run=True, jobs=1)
    assert len(planned.runs) == 6
    with pytest.raises(UserError, match="name the sweep's folder"):
        moewright.sweep(spec(data))  # type: ignore[call-overload]
    for more in ({"dry_run": True}, {"out": tmp_path / "out"}):
        with pytest.raises(UserError, match="forecast: an empty list; give at least one, or leave it out"):
            moewright.sweep(spec(data), forecast=[], **more)


BAD: list[tuple[str, dict[str, Any], tuple[str, ...], str]] = [
    ("an unknown key", {"seedz": [1]}, (), "did you mean seeds"),
    ("an unknown setting", {"axes": [{"grid": {"num_expert": [4]}}]}, (), "did you mean num_experts"),
    ("impossible axes", {"axes": [{"grid": {"num_experts": [1]}}]}, (), "no cell has a model"),
    ("two axes on one setting", {"axes": [GRID, GRID]}, (), "both set"),
    ("no data", {"recipe": {"data": "nowhere"}}, (), "nowhere"),
    ("an unknown law", {"forecast": {"law": "liew2025", "noise": 0.01}}, (), "did you mean liew2026"),
    ("no file of a law", {"forecast": {"law": "gone.json", "noise": 0.01}}, (), "gone.json"),
    ("a forecast without noise", {}, ("--forecast", "liew2026"), "--noise"),
    ("noise without a forecast", {}, ("--noise", "0.1"), "--forecast"),
    ("impossible noise", {}, ("--forecast", "liew2026", "--noise", "2"), "at least 1e-07 and below 1"),
    ("--watch", {}, ("--watch",), "watch: has no use in a dry run"),
    ("--retry-failed", {}, ("--retry-failed",), "nothing is run"),
    ("another executor", {}, ("--executor", "cloud"), "unknown 'cloud'; known: local, slurm"),
    ("too many jobs", {}, ("--jobs", "10000"), "lower --jobs"),
    ("no jobs", {}, ("--jobs", "0"), "jobs"),
    ("a folder of something else", {}, ("--out", "other"), "holds no sweep"),
    ("a file for a folder", {}, ("--out", "sweep.json"), "is not a folder"),
]


@pytest.mark.parametrize(("changes", "options", "says"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_input_is_one_line(
    data: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    options: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = spec(data) | {key: value for key, value in changes.items() if key != "recipe"}
    given["recipe"] = {**given["recipe"], **changes.get("recipe", {})}
    Path("sweep.json").write_text(json.dumps(given))
    Path("other").mkdir()
    Path("other/letter.txt").write_text("dear")
    monkeypatch.setattr(sys, "argv", ["moewright", "sweep", "sweep.json", "--dry-run", *options])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert out == ""
    assert err.startswith("moewright: ")
    assert err.count("\n") == 1
    assert says in err


def test_options_of_a_dry_run_are_refused_without_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for option in (("--forecast", "liew2026"), ("--noise", "0")):
        monkeypatch.setattr(sys, "argv", ["moewright", "sweep", "sweep.json", "--out", "x", *option])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        assert "--dry-run" in capsys.readouterr().err


def test_json_is_one_object(
    data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps(spec(data)))
    monkeypatch.setattr(sys, "argv", ["moewright", "sweep", str(path), "--dry-run", "--json", "--jobs", "1"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    made = json.loads(capsys.readouterr().out)
    assert {"totals", "runs", "calibration", "disk_bytes", "invalid", "duplicates", "forecasts"} <= made.keys()


@pytest.mark.parametrize("gpus", [None, [0, 1]])
def test_gpus_that_nobody_named_are_said_before_the_sweep_is_refused(
    data: dict[str, Any], gpus: list[int] | None
) -> None:
    """A dry run that starts nothing needs none; the sweep does."""
    own = {"kind": "command", "run": "train {output} {settings}", "loss": "val_loss"}
    execution = {"cores_per_run": 1, "gpus_per_run": 1} | ({} if gpus is None else {"gpus": gpus})
    found = moewright.sweep(spec(data, trainer=own, execution=execution), dry_run=True)
    assert any("execution.gpus does not say" in each for each in found.warnings) == (gpus is None)
