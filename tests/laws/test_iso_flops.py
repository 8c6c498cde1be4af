"""Iso-FLOP groups: told from other tables, minima against laws whose optimum is known, and the offer to fit them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import moewright
from moewright import UserError, laws
from moewright.laws.fitting.iso_flops import find_groups, minimum_of
from moewright.laws.law import LossLaw
from tests.laws.tables import SHARED_DATA
from tests.test_cli import run


def sweep(budgets: int = 8, sizes: int = 7, noise: float = 0.0, off: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Budgets a factor of three apart, sizes around each optimum of epoch2024 and tokens for the rest of the budget.

    `off`: by how much budgets are missed, as a share. `noise`: of the log loss.
    """
    r = np.random.default_rng(seed)
    law = laws.get("epoch2024")
    rows = []
    for budget in 1e18 * 3.0 ** np.arange(budgets):
        best = law.optimum(train_flops=budget)["total_params"]
        for size in best * np.geomspace(0.3, 3.3, sizes):
            tokens = budget * (1 + off * r.uniform(-1, 1)) / 6 / size
            loss = law.loss(total_params=size, train_tokens=tokens) * np.exp(noise * r.standard_normal())
            rows.append({"total_params": size, "train_tokens": tokens, "loss": float(loss)})
    table = pd.DataFrame(rows).assign(run_id=lambda t: [f"r{n}" for n in range(len(t))])
    return table.sample(frac=1.0, random_state=seed).reset_index(drop=True)


def test_groups_are_told_from_other_tables() -> None:
    table = sweep(off=0.05)
    size = table.total_params.to_numpy()
    flops = 6.0 * size * table.train_tokens.to_numpy()
    groups = find_groups(flops, size)
    assert [len(group) for group in groups] == [7] * 8
    assert [np.ptp(np.log(flops[group])) < 0.11 for group in groups] == [True] * 8
    r = np.random.default_rng(0)
    assert find_groups(10 ** r.uniform(18, 21, 60), 10 ** r.uniform(8, 10, 60)) == []  # scattered
    assert find_groups(np.full(20, 1e18), np.geomspace(1e8, 1e9, 20)) == []  # one budget
    assert find_groups(np.repeat([1e18, 3e18, 9e18, 27e18], 3), np.tile([1e8, 2e8, 4e8], 4)) == []  # of three sizes
    off = sweep(off=0.6)
    assert find_groups((6 * off.total_params * off.train_tokens).to_numpy(), off.total_params.to_numpy()) == []


def test_a_parabola_has_the_minimum_of_the_parabola() -> None:
    size = np.geomspace(1e8, 1e9, 6)
    loss = np.exp(0.9 + 0.05 * (np.log(size) - np.log(3e8)) ** 2)
    assert minimum_of(size, loss) == pytest.approx((3e8, np.exp(0.9)))
    assert minimum_of(size[3:], loss[3:]) is None  # it lies outside
    assert minimum_of(size, 1 / loss) is None  # a maximum


def test_exponent_and_frontier_are_those_of_the_law() -> None:
    """Against the closed form of the optimum: N* ~ C^(beta / (alpha + beta)), and the loss there."""
    law = laws.get("epoch2024")
    fit = moewright.fit(sweep(), "epoch2024", bootstrap=0)
    found = fit.iso_flops
    assert found is not None
    assert isinstance(law, LossLaw)
    alpha, beta = law.coefficients["alpha"], law.coefficients["beta"]
    assert found.size_exponent == pytest.approx(beta / (alpha + beta), abs=0.002)
    for group in found.groups:
        best = law.optimum(train_flops=group.train_flops)
        assert group.size == pytest.approx(best["total_params"], rel=0.05)  # a parabola is not quite the law
        assert group.loss == pytest.approx(
            float(
                law.loss(total_params=best["total_params"], train_tokens=group.train_flops / 6 / best["total_params"])
            ),
            rel=2e-3,
        )
    assert found.surface_beyond == pytest.approx(0, abs=2e-3)
    assert fit.to_dict()["iso_flops"]["cuts"] == found.cuts > 0


def test_the_holdouts_choose_the_frontier_where_the_surface_is_of_the_wrong_form() -> None:
    """Losses that rise faster off the optimum at small budgets, which no additive law has."""
    table = sweep(noise=0.0005)
    law = laws.get("epoch2024")
    flops = 6.0 * table.total_params * table.train_tokens
    best = np.array([law.optimum(train_flops=each)["total_params"] for each in flops])
    table["loss"] *= np.exp(0.06 * (np.log(table.total_params) - np.log(best)) ** 2 * (1e21 / flops) ** 0.3)
    found = moewright.fit(table, "epoch2024", bootstrap=0).iso_flops
    assert found is not None
    assert found.frontier_beyond is not None
    assert found.surface_beyond is not None
    assert found.frontier_beyond < found.surface_beyond
    assert found.better == "frontier"


def test_the_frontier_is_fitted_to_the_minima_and_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = sweep(noise=0.001)
    table.assign(train_flops=6.0 * table.total_params * table.train_tokens).to_csv(tmp_path / "runs.csv", index=False)
    line = ("fit", str(tmp_path / "runs.csv"), "--bootstrap", "20", "--law")
    code, out, _ = run(capsys, *line, "marin2026", "--json")
    assert code == 0
    answer = json.loads(out)
    assert (answer["rows"], answer["minima_of"], answer["iso_flops"]) == (8, 56, None)
    code, out, _ = run(capsys, *line, "marin2026")
    assert "56 rows are iso-FLOP groups: fitted to the minima of 8 budgets" in " ".join(out.split())
    for law in ("epoch2024", "all"):
        code, out, _ = run(capsys, *line, law)
        assert code == 0
        assert "Iso-FLOP groups: 8 budgets, 1e+18 to 2.2e+21 FLOPs" in " ".join(out.split())
    code, out, _ = run(capsys, *line, "epoch2024", "--explain")
    assert "best total_params" in out
    table.rename(columns={"total_params": "N", "train_tokens": "D"}).to_csv(tmp_path / "runs.csv", index=False)
    code, out, _ = run(capsys, *line, "marin2026", "--column", "total_params=N", "--column", "train_tokens=D", "--json")
    assert json.loads(out)["minima_of"] == 56


def test_rows_of_several_mixtures_have_no_one_frontier() -> None:
    table: Any = sweep().assign(
        num_experts=lambda t: np.where(t.index % 2, 8.0, 16.0), active_params=lambda t: t.total_params
    )
    assert moewright.fit(table, "clark2022", bootstrap=0).iso_flops is None
    table = table.assign(train_flops=6.0 * table.total_params * table.train_tokens)
    assert moewright.fit(table, "marin2026", bootstrap=0).minima_of is None
    assert moewright.fit(table.assign(num_experts=8.0), "marin2026", bootstrap=0).minima_of == len(table)


@pytest.mark.parametrize("worst", [0.0, -1.0])
def test_a_loss_that_is_none_is_refused_before_minima_are_taken(worst: float) -> None:
    table = sweep().assign(score=lambda t: t.loss.where(t.index != 3, worst))
    table = table.assign(train_flops=6.0 * table.total_params * table.train_tokens)
    with pytest.raises(UserError, match="score"):
        moewright.fit(table, "marin2026", loss="score", bootstrap=0)


def test_public_runs_on_budgets() -> None:
    """Farseer's budgets, whose runs nobody here made: Hoffmann's second approach on them against their lowest rows."""
    files = sorted((SHARED_DATA / "scalebench" / "farseer").glob("*.parquet"))
    if not files:
        pytest.skip(f"scalebench's farseer is not in {SHARED_DATA}")
    table = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    found = moewright.fit(
        table, "hoffmann2022", column={"total_params": "N", "train_tokens": "D"}, bootstrap=0
    ).iso_flops
    assert found is not None
    assert len(found.groups) == 24
    flops = 6 * table.N * table.D
    for group in found.groups:
        if group.size is not None:
            of_budget = table[np.abs(np.log(flops / group.train_flops)) < 0.05]
            lowest = of_budget.loc[of_budget.loss.idxmin()]
            assert group.loss == pytest.approx(lowest.loss, rel=0.004)
            assert 0.5 < group.size / lowest.N < 2
    assert found.farthest is not None
    assert 50 < found.farthest < 200
    assert found.frontier_beyond is not None
    assert found.surface_beyond is not None
    assert found.frontier_beyond < found.surface_beyond  # as in docs/decisions.md
