"""Which runs next: beliefs against block inverses and simulation, doubt against draws, choices against brute force."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import moewright
from moewright import laws
from moewright.errors import UserError
from moewright.laws.selection.belief import Belief, _ConditionedLaw, believe
from moewright.laws.selection.criterion import PURPOSES, Criterion, Purpose, upper_tail
from moewright.laws.selection.greedy import Chooser, choose, fill_space
from moewright.laws.selection.run_choice import NextRunsRecord, next_runs_of
from moewright.laws.variable import Array
from moewright.outputs import RUN_TABLE_MARK
from moewright.report.next_tables import next_verdict
from moewright.runs.table_files import write_frame

SIZES, TOKENS = np.array([5e7, 1e8, 2e8, 4e8, 8e8]), np.array([1e9, 4e9, 1.6e10, 6.4e10])


def grid() -> pd.DataFrame:
    """20 candidates."""
    rows = itertools.product(SIZES, TOKENS)
    return pd.DataFrame(rows, columns=["total_params", "train_tokens"])


def target() -> pd.DataFrame:
    """One model four times as large as the largest candidate, on as many tokens more."""
    return pd.DataFrame([{"total_params": 3.2e9, "train_tokens": 2.56e11, "name": "big"}])


def belief_of(random: np.random.Generator, points: int, noise: float = 0.01) -> Belief:
    """Any belief over some points."""
    root = random.normal(size=(points, points)) * 0.02
    return Belief(1.0 + 0.05 * random.normal(size=points), root @ root.T, noise, {"any": 1.0}, {"any": 0.0})


def test_the_tail_of_a_normal_is_scipys() -> None:
    z = np.linspace(-6, 6, 500)
    np.testing.assert_allclose(upper_tail(z), stats.norm.sf(z), atol=1e-7)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_supposed_runs_are_conditioned_on_as_a_block(purpose: Purpose) -> None:
    """One after the other, in any order, as the inverse of the whole block has it; 20 random beliefs."""
    random = np.random.default_rng(3)
    for _ in range(20):
        belief, runs = belief_of(random, 12), random.choice(9, size=4, replace=False)
        chooser = Chooser(belief, 9, Criterion(purpose, 0.01, 0.95))
        for run in runs:
            chooser.make(int(run))
        block = belief.covariance[np.ix_(runs, runs)] + belief.noise**2 * np.eye(4)
        across = belief.covariance[9:][:, runs]
        left = belief.covariance[9:, 9:] - across @ np.linalg.inv(block) @ across.T
        contrasts = chooser.criterion.contrasts(belief.mean[9:])
        variance = np.diag(contrasts @ left @ contrasts.T)
        np.testing.assert_allclose(chooser._variance, variance, rtol=1e-6, atol=1e-12)


def test_expected_regret_is_the_mean_over_draws() -> None:
    random = np.random.default_rng(4)
    for _ in range(10):
        mean, deviation = abs(random.normal(size=1)) * 0.02, abs(random.normal(size=1)) * 0.02 + 0.002
        criterion = Criterion("compare", 0.002, 0.95)
        draws = mean + deviation * random.standard_normal(400_000)
        expected = float(np.maximum(-draws, 0).mean())
        assert float(criterion.doubt(mean, deviation, 1.0)) == pytest.approx(expected, rel=0.03, abs=2e-5)


def test_gains_are_what_making_a_run_brings() -> None:
    random = np.random.default_rng(5)
    for purpose in PURPOSES:
        belief = belief_of(random, 10)
        chooser = Chooser(belief, 7, Criterion(purpose, 0.0, 0.95), failures=0.2)
        gains, before = chooser.gains(), chooser.doubt
        for row in range(7):
            after = Chooser(belief, 7, Criterion(purpose, 0.0, 0.95), failures=0.2)
            after.make(row)
            assert before - after.doubt == pytest.approx(gains[row], rel=1e-9, abs=1e-15)


def test_greedy_choices_are_near_the_best_of_all() -> None:
    """Of 9 candidates within a budget: at least .8 of what the best subset brings, in 20 random beliefs."""
    random = np.random.default_rng(6)
    shares = []
    for _ in range(20):
        belief, costs = belief_of(random, 10), random.lognormal(size=9)
        spend, criterion = float(costs.sum() / 3), Criterion("forecast", 0.0, 0.95)
        best = 0.0
        for subset in itertools.product([False, True], repeat=9):
            rows = np.flatnonzero(subset)
            if costs[rows].sum() <= spend:
                chooser = Chooser(belief, 9, criterion)
                for row in rows:
                    chooser.make(int(row))
                best = max(best, Chooser(belief, 9, criterion).doubt - chooser.doubt)
        found = choose(belief, costs, criterion, spend, 9)
        assert costs[list(found.rows)].sum() <= spend
        assert len(set(found.rows)) == len(found.rows)
        shares.append((found.before - found.after[-1]) / best)
    assert min(shares) > 0.8
    assert np.mean(shares) > 0.95


def test_a_first_batch_keeps_to_the_budget_and_spreads() -> None:
    random = np.random.default_rng(7)
    for _ in range(30):
        places, costs = random.random((40, 3)), random.lognormal(sigma=2, size=40)
        spend = float(costs.sum() * random.uniform(0.02, 0.5))
        rows = fill_space(places, costs, spend, 8)
        assert costs[list(rows)].sum() <= spend
        assert len(set(rows)) == len(rows)
    assert fill_space(places, costs, float(costs.min() / 2), 8) == ()


def simulated(rows: pd.DataFrame, random: np.random.Generator, noise: float) -> tuple[pd.DataFrame, float]:
    """Rows with losses of a law whose exponents nobody knows, and the target's loss under it."""
    alpha, beta = random.uniform(0.28, 0.4), random.uniform(0.28, 0.4)
    floor, a, b = random.uniform(1.5, 2.0), random.uniform(1, 3), random.uniform(1, 3)

    def loss(table: pd.DataFrame) -> Array:
        size, tokens = table["total_params"].to_numpy(), table["train_tokens"].to_numpy()
        return np.asarray(floor + a * (size / 1e8) ** -alpha + b * (tokens / 1e9) ** -beta)

    drawn = loss(rows) * np.exp(noise * random.standard_normal(len(rows)))
    return rows.assign(loss=drawn), float(loss(target())[0])


def test_believed_intervals_hold_the_truth() -> None:
    """90 % intervals of a loss four times beyond runs of a simulated law hold it in 12 of 15 draws at least."""
    random = np.random.default_rng(8)
    law, inside = laws.get("hoffmann2022"), 0
    for _ in range(15):
        rows = grid().sample(10, random_state=int(random.integers(1 << 30)))
        runs, truth = simulated(rows, random, 0.003)
        belief = believe([law], [runs], [target()[["total_params", "train_tokens"]]])
        half = 1.645 * float(np.sqrt(belief.covariance[0, 0]))
        inside += abs(float(belief.mean[0]) - np.log(truth)) <= half
    assert inside >= 12


def test_more_runs_leave_less_doubt_and_are_spent_within_the_budget() -> None:
    runs, _ = simulated(grid().iloc[::3], np.random.default_rng(9), 0.003)
    found = next_runs_of(runs, grid(), target(), [laws.get("hoffmann2022")], spend=2e20, within=1e-6).record
    doubts = [found.before, *(run.doubt_after for run in found.chosen)]
    assert all(one >= other for one, other in itertools.pairwise(doubts))
    assert found.spent <= 2e20
    assert found.limit <= found.after
    assert found.settled is None


def test_a_comparison_that_is_clear_needs_no_run() -> None:
    models = pd.DataFrame({"total_params": [1e8, 3.2e9], "train_tokens": [2.56e11] * 2, "name": ["small", "big"]})
    runs, _ = simulated(grid(), np.random.default_rng(10), 0.003)
    found = next_runs_of(runs, grid(), models, [laws.get("hoffmann2022")], purpose="compare").record
    assert found.chosen == ()
    assert found.settled is not None
    assert found.right is not None
    assert found.right > 0.99


def test_failed_runs_are_expected_again() -> None:
    runs, _ = simulated(grid(), np.random.default_rng(11), 0.003)
    runs["status"] = ["diverged" if row % 4 == 0 else "finished" for row in range(len(runs))]
    found = next_runs_of(runs, grid(), target(), [laws.get("hoffmann2022")], spend=1e20).record
    assert found.failures == pytest.approx(0.25)
    assert found.runs == 15
    assert "diverged" in found.messages[0]


def test_a_candidate_of_unknown_cost_is_named() -> None:
    table = grid().assign(train_flops=1e18)
    table.loc[3, "train_flops"] = np.nan
    with pytest.raises(UserError, match="candidates: row 4 says nothing of its cost"):
        moewright.next_runs(candidates=table, spend=1e20, law="hoffmann2022")


def test_a_run_that_is_there_twice_is_heard_once() -> None:
    """Under another name too; a repeat whose loss is another is a run."""
    runs, _ = simulated(grid().iloc[::3], np.random.default_rng(13), 0.003)
    runs["run_id"] = [f"run{row}" for row in range(len(runs))]

    def found(table: pd.DataFrame) -> NextRunsRecord:
        return next_runs_of(table, grid(), target(), [laws.get("hoffmann2022")], spend=2e20).record

    once, twice = found(runs), found(pd.concat([runs, runs.assign(run_id="copy")]))
    assert twice.messages[0] == f"heard once: {len(runs)} runs that repeat another in all but the name"
    assert twice.model_copy(update={"messages": once.messages}) == once
    assert found(pd.concat([runs, runs.assign(loss=runs["loss"] * 1.002)])).runs == 2 * len(runs)


def test_a_law_that_overflows_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    runs, _ = simulated(grid(), np.random.default_rng(14), 0.003)
    points = target()[["total_params", "train_tokens"]]
    names = ("hoffmann2022", "epoch2024")
    both, rows = [laws.get(name) for name in names], [runs, runs]
    alone = believe(both[:1], rows[:1], [points])
    belief = _ConditionedLaw.belief

    def overflowing(told: _ConditionedLaw) -> tuple[Array, Array]:
        mean, covariance = belief(told)
        return mean, covariance * (np.inf if told.law == "epoch2024" else 1.0)

    monkeypatch.setattr(_ConditionedLaw, "belief", overflowing)
    found = believe(both, rows, [points, points], skip=True)
    assert found.weights == {"hoffmann2022": 1.0}
    assert found.misfit.keys() == {"hoffmann2022"}
    assert found.notes[-1] == "left out, as its losses overflow: epoch2024"
    np.testing.assert_allclose(found.mean, alone.mean)
    np.testing.assert_allclose(found.covariance, alone.covariance)
    for which, skip in ((both, False), (both[1:], True)):
        with pytest.raises(UserError, match="epoch2024 gives some of these models no finite loss"):
            believe(which, rows[: len(which)], [points] * len(which), skip=skip)


def test_a_budget_that_pays_for_nothing_is_no_batch() -> None:
    found = next_runs_of(None, grid(), None, [laws.get("hoffmann2022")], spend=10.0)
    assert found.rows == ()
    assert "batch" not in next_verdict(found.record)
    assert found.record.messages[-1].startswith("spend: 10 FLOPs do not pay for the cheapest candidate")


def test_money_is_the_price_of_the_device_hours() -> None:
    """In each run, together, and in the sentence that is printed. A price of no device, or of another, is refused."""
    given: dict[str, Any] = {"candidates": grid(), "spend": 2e20, "law": "hoffmann2022"}
    found = moewright.next_runs(hardware="H100", price="H100=2.5", **given).record
    assert found.hours is not None
    assert found.money is not None
    assert found.money == pytest.approx([2.5 * hours for hours in found.hours])
    assert found.money[1] == pytest.approx(sum(2.5 * run.device_hours[1] for run in found.chosen if run.device_hours))
    assert " for {:.0f} to {:.0f}".format(*found.money) in next_verdict(found)
    cheap = moewright.next_runs(hardware="H100", price="H100=0.001", **given).record
    assert cheap.money is not None
    assert 0 < cheap.money[1] < 0.5
    assert f" for {cheap.money[0]:.2g} to {cheap.money[1]:.2g}" in next_verdict(cheap)
    changes: list[dict[str, Any]] = [{"price": "H100=2.5"}, {"price": "H200=2.5", "hardware": "H100"}]
    for change in changes:
        with pytest.raises(UserError, match="price: "):
            moewright.next_runs(**change, **given)


def test_a_table_of_next_runs_is_replaced_and_a_run_table_is_not(tmp_path: Path) -> None:
    given: dict[str, Any] = {"candidates": grid(), "spend": 2e20, "law": "hoffmann2022"}
    for _ in range(2):
        found = moewright.next_runs(out=tmp_path / "next.parquet", **given)
    assert len(pd.read_parquet(tmp_path / "next.parquet")) == len(found.rows)
    write_frame(grid(), tmp_path / "runs.parquet", RUN_TABLE_MARK)
    with pytest.raises(UserError, match="exists and nothing in it says"):
        moewright.next_runs(out=tmp_path / "runs.parquet", **given)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"purpose": "guess"}, "for: unknown 'guess'; known: forecast, design, compare"),
        ({"within": 0.0}, "within: 0.0 must be above 0"),
        ({"confidence": 1.0}, "confidence: 1.0 must be at least 0.5 and below 1"),
        ({"noise": -1.0}, "noise"),
        ({"most": 0}, "most"),
        ({"purpose": "compare"}, "compare takes two models, found 1"),
        ({"purpose": "design"}, "two models or more"),
        ({"runs": None}, "spend: nothing has run yet"),
        ({"candidates": grid().iloc[:0]}, "none is left"),
        ({"candidates": grid().drop(columns="train_tokens")}, "needs train_flops"),
        ({"targets": target().drop(columns="train_tokens")}, "target: hoffmann2022 needs train_tokens"),
    ],
)
def test_bad_questions_are_one_line(change: dict[str, Any], said: str) -> None:
    runs, _ = simulated(grid(), np.random.default_rng(12), 0.003)
    given: dict[str, Any] = {"runs": runs, "candidates": grid(), "targets": target(), **change}
    with pytest.raises(UserError, match=said) as error:
        next_runs_of(laws=[laws.get("hoffmann2022")], **given)
    assert "\n" not in str(error.value)
