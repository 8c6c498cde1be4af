"""Several forms on the same rows: against fits made one by one, and on tables whose form is known."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import moewright
from moewright import laws
from moewright.errors import UserError
from moewright.laws.fitting.comparison import ComparedLawsAnswer
from moewright.laws.fitting.estimator import LawFitter
from moewright.laws.fitting.stacking import FormPrediction, mixture_of
from moewright.report import show
from tests.laws.tables import synthetic_dense, synthetic_zhao
from tests.test_cli import run


def grid(seed: int = 0, noise: float = 0.003) -> dict[str, np.ndarray]:
    """Six sizes by six numbers of tokens, losses by epoch2024, sizes called total and active alike."""
    random = np.random.default_rng(seed)
    sizes, tokens = (np.ravel(each) for each in np.meshgrid(1e8 * 2.0 ** np.arange(6), 2e9 * 2.0 ** np.arange(6)))
    loss = laws.get("epoch2024").loss(total_params=sizes, train_tokens=tokens)
    loss = loss * np.exp(noise * random.standard_normal(len(loss)))
    experts = random.choice([8.0, 16.0, 32.0], len(sizes))
    return {
        "total_params": sizes,
        "active_params": sizes,
        "train_tokens": tokens,
        "num_experts": experts,
        "loss": loss,
    }


def test_errors_beyond_the_rows_are_those_of_single_fits() -> None:
    """By hand: cut at every size, fit what is below, and predict what is above."""
    table = pd.DataFrame(grid())
    # The default objective takes its scale from all rows, and from those below the cut in a fit to these.
    plain: dict[str, Any] = {"objective": "squares_log", "bootstrap": 0}
    compared = laws.compare(["hoffmann2022", "wang2024"], table, **plain)
    cuts = [size for size in np.unique(table["total_params"]) if (table["total_params"] <= size).mean() >= 0.4][:-1]
    squared = []
    for size in cuts:
        below = table["total_params"] <= size
        fitted = laws.fit_law("hoffmann2022", table[below], **plain)
        missed = np.log(fitted.predict(table[~below])) - np.log(table.loc[~below, "loss"])
        squared.append(np.mean(missed**2))
    (row,) = (each for each in compared if each.law == "hoffmann2022")
    assert row.beyond_by_direction is not None
    assert row.beyond_by_direction["total_params"] == pytest.approx(np.sqrt(np.mean(squared)), rel=1e-3)
    (held,) = (each for each in compared.held_out if each.direction == "total_params")
    assert (held.cuts, held.farthest) == (len(cuts), 32e8 / cuts[0])
    assert {each.direction for each in compared.held_out} == {
        "total_params",
        "active_params",
        "train_tokens",
        "num_experts",
        "training compute",
    }


def test_a_form_without_tokens_is_told_apart() -> None:
    compared = laws.compare(["clark2022", "flame2025", "epoch2024", "hoffmann2022"], grid(), bootstrap=40)
    assert [(row.law, row.told_apart) for row in compared] == [
        ("flame2025", False),
        ("epoch2024", False),
        ("clark2022", True),
    ]
    assert compared[1].also == ("hoffmann2022",)
    assert compared[0].beyond == pytest.approx(compared[1].beyond)  # its N is the same column here
    assert [row.weight for row in compared] == pytest.approx([0.5, 0.5, 0.0])
    assert [fit.law.record.law for fit in compared.fits] == ["flame2025", "epoch2024"]
    assert compared.best.law.interval(grid()).low.shape == (36,)


def test_the_form_that_made_the_rows_is_found_among_all() -> None:
    table = synthetic_zhao(1, rows=160)
    found = moewright.fit(pd.DataFrame(table), "all", bootstrap=0, holdout="largest:0.1")
    assert found[0].law == "zhao2025"
    assert {row.law for row in found if row.told_apart} >= {"epoch2024", "flame2025"}
    assert found[0].rmse is not None
    assert all(found[0].rmse < 0.5 * row.rmse for row in found if row.told_apart and row.rmse)
    lacking = {row.law: row.status for row in found if row.coefficients is None}
    assert lacking["krajewski2024"] == "no column granularity"
    assert moewright.fit(pd.DataFrame(table), "zhao2025", bootstrap=0, holdout="largest:0.1").law.coefficients == (
        found.best.law.coefficients
    )


def test_few_sizes_tell_nothing_apart() -> None:
    table = pd.DataFrame(synthetic_dense(3, rows=8)).assign(active_params=lambda rows: rows["total_params"])
    compared = laws.compare(["flame2025", "epoch2024"], table, bootstrap=0)
    assert compared.held_out == ()
    assert [(row.beyond, row.told_apart, row.weight) for row in compared] == [(None, None, 0.5)] * 2


def test_a_diverged_run_does_not_choose_the_form() -> None:
    table = grid()
    table["loss"][-1] = 9.0
    assert [(row.law, row.told_apart) for row in laws.compare(["clark2022", "epoch2024"], table, bootstrap=0)] == [
        ("epoch2024", False),
        ("clark2022", True),
    ]


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = pd.DataFrame(grid()).drop(columns="num_experts").rename(columns={"train_tokens": "D"})
    table.to_csv(tmp_path / "runs.csv", index=False)
    words = ("fit", str(tmp_path / "runs.csv"), "--law", "all", "--bootstrap", "20", "--column", "train_tokens=D")
    code, out, _ = run(capsys, *words, "--out", str(tmp_path / "law.json"))
    assert code == 0
    assert max(map(len, out.replace(str(tmp_path), "").splitlines())) <= 80
    assert "do not tell it from" in out
    code, out, _ = run(capsys, *words, "--json")
    values: dict[str, Any] = json.loads(out)
    assert ComparedLawsAnswer.from_dict(values).to_dict() == values
    assert values["best"] == laws.load(tmp_path / "law.json").record.law
    assert values["not_told_apart"][0] == values["best"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"fix": {"E": 1.7}}, "names a coefficient of one law"),
        ({"tuning": "best"}, "name one law"),
        ({"holdout": "cluster:0.2"}, "say by which --cluster"),
        ({"where": {"source": ["x"]}}, "for `moewright.fit`"),
    ],
)
def test_what_only_one_law_can_have_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        laws.compare(["hoffmann2022", "flame2025"], grid(), **settings)


def test_rows_that_determine_no_form() -> None:
    table = {"total_params": [1e8, 2e8, 3e8], "train_tokens": [1e9] * 3, "loss": [3.0, 2.9, 2.8]}
    with pytest.raises(UserError, match="determine none of the 2 forms: epoch2024"):
        laws.compare(["epoch2024", "clark2022"], table, bootstrap=0)
    with pytest.raises(UserError, match="one law; name it"):
        moewright.fit(pd.DataFrame(grid()), "all", at={"train_tokens": 1e9}, preregister="x.json")


def test_the_stacked_interval_is_the_mixtures() -> None:
    """Against a million draws; far-apart forms make it wide, and a form that says nothing of a target withholds it."""
    loss = np.array([[2.0, 2.0, 2.0], [2.0, 2.2, 2.0]])
    spread, weights = np.array([0.01, 0.03])[:, None], (0.7, 0.3)
    high = loss * np.exp(1.6448536 * spread)
    low = loss**2 / high
    low[0, 2] = high[0, 2] = np.nan
    forms = [FormPrediction(*each) for each in zip(loss, low, high, strict=True)]
    found, ends = mixture_of(forms, weights)
    np.testing.assert_allclose(found, [2.0, 2.0 * 1.1**0.3, 2.0])
    draw = np.random.default_rng(0)
    chosen = draw.random(10**6) < weights[0]
    noise = draw.standard_normal(10**6)
    for target in (0, 1):
        drawn = np.where(chosen, np.log(loss[0, target]) + 0.01 * noise, np.log(loss[1, target]) + 0.03 * noise)
        expected = np.exp(np.quantile(drawn, [0.05, 0.95]))
        np.testing.assert_allclose([ends.low[target], ends.high[target]], expected, rtol=3e-4)
    assert np.isnan(ends.low[2])
    assert np.isnan(ends.high[2])


def test_one_form_alone_is_stacked_to_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.DataFrame(grid())
    compared = laws.compare(["hoffmann2022"], table, bootstrap=40)
    planned = {"total_params": 5e9, "train_tokens": 8e10}
    alone = compared.best.law
    told = compared.planned(planned)
    assert told.loss == pytest.approx(float(alone.loss(**planned)))
    ends = alone.prediction_interval(**planned)
    assert told.low == pytest.approx(float(ends.low), rel=2e-3)
    assert told.high == pytest.approx(float(ends.high), rel=2e-3)
    stacked, _ = compared.stacked(table)
    np.testing.assert_allclose(stacked, alone.predict(table))
    table.to_csv(tmp_path / "runs.csv", index=False)
    line = ("fit", str(tmp_path / "runs.csv"), "--law", "all", "--bootstrap", "20", "--at", "total_params=5e9")
    at = ("--at", "train_tokens=8e10", "--at", "active_params=5e9", "--at", "num_experts=16")
    code, out, err = run(capsys, *line, *at, "--json")
    assert (code, err) == (0, "")
    answer = json.loads(out)["stacked"]
    assert answer["low"] < answer["loss"] < answer["high"]
    assert sum(answer["weights"].values()) == pytest.approx(1)
    show(replace(compared, at=told))
    assert "Together they expect" in capsys.readouterr().out
    with pytest.raises(UserError, match="at needs the variable train_tokens"):
        compared.planned({"total_params": 5e9})
    with pytest.raises(UserError, match="at has no variable 'nobody'"):
        compared.planned({**planned, "nobody": 1.0})


def test_a_planned_run_is_checked_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with it, no form is fitted first."""

    def begin(*_: Any) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr(LawFitter, "fit", begin)
    at = {"total_params": 5e9, "active_params": 5e9, "train_tokens": 8e10, "num_experts": 16.0}
    for wrong, said in (
        ({**at, "train_tokens": None}, "at needs the variable train_tokens"),
        ({**at, "nobody": 1.0}, "at has no variable 'nobody'"),
        ({**at, "train_tokens": -1.0}, "train_tokens"),
    ):
        with pytest.raises(UserError, match=said):
            moewright.fit(pd.DataFrame(grid()), "all", at={k: v for k, v in wrong.items() if v is not None})
    with pytest.raises(AssertionError, match="the work began"):
        moewright.fit(pd.DataFrame(grid()), "all", at=at)


def test_the_stacked_loss_is_of_the_forms_that_its_interval_is_of() -> None:
    """A form of little weight that withholds its own interval, and expects something else altogether, moves neither."""
    spread = np.exp(1.6448536 * 0.01)
    heard = FormPrediction(np.array([2.0]), np.array([2.0 / spread]), np.array([2.0 * spread]))
    silent = FormPrediction(np.array([9.0]), np.array([np.nan]), np.array([np.nan]))
    loss, ends = mixture_of([heard, silent], (0.96, 0.04))
    assert ends.low[0] < loss[0] < ends.high[0]
    assert loss[0] == pytest.approx(2.0)
    loss, ends = mixture_of([heard, silent], (0.9, 0.1))
    assert np.isnan(ends.low[0])
    assert loss[0] == pytest.approx(2.0 * 4.5**0.1)
