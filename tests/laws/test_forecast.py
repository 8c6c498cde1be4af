"""The forecast against scipy's fits, the bootstrap of real fits, the law's own slopes, and plans known to be blind."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares

from moewright import UserError, laws
from moewright.laws.forecasting.expectation import LOOSE, NOT_IDENTIFIED, PINNED
from moewright.report.forecast_tables import print_forecast
from moewright.screen import Screen
from tests.laws.tables import synthetic_dense, synthetic_zhao


def dense_plan(rows: int = 60) -> pd.DataFrame:
    return pd.DataFrame(synthetic_dense(0, rows)).drop(columns="loss")


def mixture_plan() -> pd.DataFrame:
    """Four sizes by three expert counts by three top-k: several (E, K) at equal E/K."""
    rows = [
        {
            "total_params": size * experts / 8,
            "active_params": 0.3 * size * (1 + top_k / 8),
            "train_tokens": 40 * size,
            "num_experts": experts,
            "sparsity": experts / top_k,
            "active_experts": top_k,
            "shared_ratio": 0.0,
        }
        for size in (1e7, 2e7, 5e7, 1e8)
        for experts in (8, 16, 32)
        for top_k in (1, 2, 4)
    ]
    return pd.DataFrame(rows)


def widths(found: laws.Forecast, kind: str) -> dict[str, float]:
    return {row.name: row.high - row.low for row in found.expected if row.kind == kind}  # type: ignore[operator]


def verdicts(found: laws.Forecast, kind: str = "coefficient") -> dict[str, str]:
    return {row.name: row.verdict for row in found.expected if row.kind == kind}


def test_widths_are_those_of_independent_fits() -> None:
    """200 tables with other noise, fitted by scipy: every coefficient's and the prediction's width within 25 %."""
    plan, noise = dense_plan(), 0.005
    found = laws.forecast("epoch2024", plan, noise, replicates=200, objective="squares_log")
    truth = laws.get("epoch2024").as_loss_law()
    names = ("E", "A", "alpha", "B", "beta")
    start = np.array([truth.coefficients[name] for name in names])
    size, tokens = plan["total_params"].to_numpy(), plan["train_tokens"].to_numpy()

    def law(x: np.ndarray, size: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        return np.asarray(x[0] + x[1] * size ** -x[2] + x[3] * tokens ** -x[4])

    random = np.random.default_rng(99)
    fits = []
    for _ in range(200):
        loss = law(start, size, tokens) * np.exp(noise * random.standard_normal(len(size)))
        fits.append(least_squares(lambda x, y=loss: np.log(law(x, size, tokens) / y), start, x_scale="jac").x)
    spread = np.diff(np.quantile(fits, [0.05, 0.95], axis=0), axis=0)[0]
    # The 5 and 95 % points of 200 draws are each uncertain by a tenth of the width.
    for name, width in zip(names, spread, strict=True):
        assert widths(found, "coefficient")[name] == pytest.approx(width, rel=0.25)
    target = found.targets[0]
    predicted = [law(x, np.array(target["total_params"]), np.array(target["train_tokens"])) for x in fits]
    assert widths(found, "prediction")["loss"] == pytest.approx(
        np.diff(np.quantile(predicted, [0.05, 0.95]))[0], rel=0.25
    )
    assert target["total_params"] == pytest.approx(4 * size.max())


def test_widths_are_those_of_a_bootstrap() -> None:
    """The bootstrap of one table that follows the law, within a factor of 1.7 (eight tables tried: .7 to 1.6)."""
    table = synthetic_dense(3, 60, 0.005)
    fitted = laws.fit_law("epoch2024", table, bootstrap=300)
    del table["loss"]
    found = laws.forecast("epoch2024", table, 0.005, replicates=150)
    for name, (low, high) in fitted.coefficient_intervals(0.9).items():
        assert 1 / 1.7 < (high - low) / widths(found, "coefficient")[name] < 1.7
    at = dict(found.targets[0])
    low, high = fitted.loss_interval(0.9, **at)
    assert 1 / 1.7 < (high - low) / widths(found, "prediction")["loss"] < 1.7


def test_the_interval_of_a_new_run_is_what_a_fit_prints() -> None:
    """Against the interval that a fit to one simulated table prints: four targets, within a factor of 1.6."""
    plan = dense_plan(60)
    sizes = plan["total_params"].max() * np.array([0.5, 2.0, 8.0, 1e4])
    targets = [{"total_params": size, "train_tokens": 2e10} for size in sizes]
    found = laws.forecast("epoch2024", plan, 0.005, replicates=40, targets=targets)
    fitted = laws.fit_law("epoch2024", synthetic_dense(0, 60, 0.005), bootstrap=200)
    rows = [row for row in found.expected if row.kind == "prediction"]
    for row, target in zip(rows[:3], targets, strict=False):
        low, high = fitted.prediction_interval(**target)
        assert row.new_run is not None
        assert 1 / 1.6 < row.new_run / (np.log(high / low) / 2) < 1.6
    assert rows[3].new_run is None
    assert rows[3].withheld == fitted.why_withheld(**targets[3])


def test_leverage_is_what_leaving_runs_out_does() -> None:
    """Widening by the slopes against two whole simulations, with and without the largest token budget."""
    random = np.random.default_rng(2)
    plan = pd.DataFrame(
        {"total_params": 10 ** random.uniform(7.5, 9.5, 80), "train_tokens": np.tile([1e9, 4e9, 16e9, 64e9], 20)}
    )
    target = {"total_params": 1e10, "train_tokens": 2e11}
    settings: dict[str, Any] = {"replicates": 120, "targets": target, "objective": "squares_log"}
    everything = laws.forecast("epoch2024", plan, 0.003, **settings)
    dearest = everything.leverage[0]
    assert (dearest.axis, dearest.value, dearest.runs) == ("train_tokens", 64e9, 20)
    assert dearest.widening is not None
    without = laws.forecast("epoch2024", plan[plan["train_tokens"] != dearest.value], 0.003, **settings)
    simulated = widths(without, "prediction")["loss"] / widths(everything, "prediction")["loss"]
    assert dearest.widening == pytest.approx(simulated, rel=0.3)
    assert {group.axis for group in everything.leverage} == {"train_tokens"}


def test_more_noise_is_wider_and_the_seed_decides_the_rest() -> None:
    plan = dense_plan(40)
    once = laws.forecast("hoffmann2022", plan, 0.001, replicates=40, seed=7)
    assert once.to_dict() == laws.forecast("hoffmann2022", plan, 0.001, replicates=40, seed=7).to_dict()
    twice = laws.forecast("hoffmann2022", plan, 0.002, replicates=40, seed=7)
    # The same draws twice as large: to first order the same errors twice as large.
    assert widths(twice, "prediction")["loss"] == pytest.approx(2 * widths(once, "prediction")["loss"], rel=0.1)
    repeated = laws.forecast("hoffmann2022", pd.concat([plan] * 4), 0.002, replicates=40)
    assert (repeated.runs, repeated.configurations) == (160, 40)
    assert widths(repeated, "prediction")["loss"] < 0.7 * widths(twice, "prediction")["loss"]


def test_liews_form_needs_several_expert_counts_at_equal_sparsity() -> None:
    plan = mixture_plan()
    found = laws.forecast("liew2026", plan, 0.003, replicates=40)
    assert "fitted to the losses that zhao2025 gives" in (found.truth or "")
    assert any(message.startswith("the column total_params stands for two things") for message in found.messages)
    assert NOT_IDENTIFIED not in verdicts(found).values()
    one_top_k = laws.forecast("liew2026", plan[plan["active_experts"] == 2], 0.003, replicates=10)
    assert one_top_k.statuses == {"underdetermined": 1.0}
    assert verdicts(one_top_k)["b"] == verdicts(one_top_k)["g"] == NOT_IDENTIFIED
    # At the plan's own top-k the loss is told all the same; away from it nothing is.
    assert verdicts(one_top_k, "prediction") != {"loss": NOT_IDENTIFIED}
    away = {"total_params": 1e9, "num_experts": 32, "sparsity": 4}
    off = laws.forecast("liew2026", plan[plan["active_experts"] == 2], 0.003, replicates=10, targets=away)
    assert verdicts(off, "prediction") == {"loss": NOT_IDENTIFIED}


def test_a_constant_column_leaves_its_coefficients_open() -> None:
    found = laws.forecast("zhao2025", mixture_plan(), 0.003, replicates=10)
    told = {row.name: row for row in found.expected if row.kind == "coefficient"}
    assert told["m"].undetermined == told["n"].undetermined == 1.0
    assert {told["m"].verdict, told["n"].verdict} == {NOT_IDENTIFIED}
    assert verdicts(found, "optimum")["shared_ratio"] == NOT_IDENTIFIED
    assert any("shared_ratio has one value in all rows" in message for message in found.messages)


def test_the_joint_law_is_judged_by_its_optima() -> None:
    table = synthetic_zhao(0, 100)
    del table["loss"]
    found = laws.forecast("zhao2025", table, 0.003, replicates=40)
    assert found.coefficients == 12
    assert verdicts(found)["k"] == NOT_IDENTIFIED
    assert verdicts(found, "optimum") == dict.fromkeys(
        ("active_experts", "shared_ratio", "active_ratio", "active_ratio_efficient"), PINNED
    )
    # b is large and its basis small; its column is no constant.
    assert "underdetermined" not in found.statuses
    assert verdicts(found, "prediction") == {"loss": LOOSE}


def test_truths() -> None:
    plan = mixture_plan()
    fitted = laws.fit_law(
        "liew2026",
        plan.assign(loss=laws.get("zhao2025").bare_loss({str(name): plan[name] for name in plan})),
        bootstrap=0,
    )
    by_file = laws.forecast("liew2026", plan, 0.003, replicates=5, truth=fitted)
    assert by_file.truth is not None
    assert by_file.truth.startswith("liew2026-fitted")
    told = {row.name: row.truth for row in by_file.expected if row.kind == "coefficient"}
    assert told == pytest.approx(dict(fitted.coefficients))
    with pytest.raises(UserError, match="give truth"):
        laws.forecast("liew2026", plan[["total_params", "sparsity", "num_experts"]], 0.003)
    with pytest.raises(UserError, match="too far outside"):
        laws.forecast("zhao2025", plan.assign(train_tokens=1e3), 0.003)


def test_too_few_runs_are_an_answer() -> None:
    found = laws.forecast("zhao2025", pd.concat([mixture_plan().head(5)] * 4), 0.003, fix={"k": 0.0})
    assert (found.runs, found.configurations, found.coefficients) == (20, 5, 11)
    assert found.truth is None
    assert "5 different configurations (20 rows) cannot determine the 11 free coefficients" in found.messages[0]
    assert set(verdicts(found).values()) == {NOT_IDENTIFIED}
    assert "k" not in verdicts(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": 0.0}, "noise: 0.0 must be above 0 and below 1"),
        ({"replicates": 0}, "replicates"),
        ({"holdout": "best"}, "has no setting 'holdout'"),
        ({"fix": {"alhpa": 0.3}}, "did you mean alpha"),
        ({"axes": ["train_token"]}, "did you mean train_tokens"),
        ({"targets": {"total_param": 1e9, "train_tokens": 1e9}}, "did you mean total_params"),
        ({"targets": {"total_params": -1, "train_tokens": 1e9}}, "must be above 0"),
        ({"targets": []}, "targets are mappings"),
        ({"law": "epoch2025"}, "did you mean epoch2024"),
        ({"law": "steplaw"}, "has no form to fit"),
        ({"table": {"total_params": [1e9]}}, "no column 'train_tokens'|needs the column train_tokens"),
    ],
)
def test_bad_input_is_one_line(change: dict[str, object], message: str) -> None:
    arguments = {"law": "epoch2024", "table": dense_plan(20), "noise": 0.01, "replicates": 2} | change
    with pytest.raises(UserError, match=message) as error:
        laws.forecast(**arguments)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("law", ["liew2026", "ludziejewski2025", "zhao2025", "epoch2024"])
def test_what_is_printed_fits_80_columns_and_json_is_plain(law: str) -> None:
    plan = mixture_plan().assign(size=np.repeat(["small", "medium", "large", "huge"], 9))
    found = laws.forecast(law, plan, 0.005, replicates=5, axes=["size", "num_experts"])
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert len(read["leverage"]) == 7
    console = Screen(width=80, record=True)
    print_forecast(console, found)
    text = console.export_text()
    assert max(len(line) for line in text.splitlines()) <= 80
    for row in found.expected:
        assert row.name in text
        assert row.verdict in text
    assert "…" not in text
