from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moewright import laws, runs
from moewright.laws.published.slicing2026 import CAPPED, FORM, UNIFORM_LOSS, below_uniform, log_rate_deficit
from moewright.runs.importers.slicing import import_slicing
from tests.runs.public_data import public_table

SAVED = Path(__file__).resolve().parents[2] / "docs" / "slicing2026.json"
SWEEP = "2025_07_02-07_52_21_lr_sweep_5XD_dropless_lf_lowlb"


def rows(*names: str, rate: float = 4e-4) -> pd.DataFrame:
    """Runs of the sweep by size and model, dropless with a weak balance loss and the loss-free bias."""
    frame = pd.DataFrame({"name": [f"{SWEEP}_{name}" for name in names], "lr": rate, "lb_loss_weight": 1e-4})
    return runs.prepare(import_slicing(frame, "rows"), "rows")


@pytest.fixture(scope="module")
def law() -> laws.FittedLaw:
    return laws.load(SAVED)


def test_the_saved_law_predicts_the_runs_that_it_was_fitted_to(law: laws.FittedLaw) -> None:
    table = runs.load(public_table("slicing"), source="slicing")
    error = law.predict(table) - table["loss"]
    assert law.status == "converged"
    assert law.record.num_rows == 498
    assert np.sqrt(np.mean(error**2)) == pytest.approx(law.record.rmse, rel=1e-9)
    assert law.record.rmse < 0.03  # without a law, runs of one size, rate and schedule spread by 0.094


def test_the_law_predicts_a_size_that_it_has_not_seen() -> None:
    """Fitted to one of the two sizes, the other's 3.6 to 5.0 nats come out within 0.045."""
    table = runs.load(public_table("slicing"), source="slicing")
    for size in ("10M", "20M"):
        seen = table["model_size"] == size
        other = table[~seen]
        fitted = laws.fit_law(
            "slicing2026", table[seen], objective="huber_log", delta=0.004, bootstrap=0, starts=4, cluster="config_id"
        )
        assert np.sqrt(np.mean((fitted.predict(other) - other["loss"]) ** 2)) < 0.045


def test_every_kind_of_row_has_a_sane_loss(law: laws.FittedLaw) -> None:
    models = ["e1x1c1", "e2x1c1_nogen", "e64x0.25c4_nogen", "e4096x0.0625c16_nogen", "e16x0.5c1_0.5gen"]
    models += ["e128x0.015625c64_nogen", "e8,16x0.25,0.125c2,4_nogen", "e16,16,32x0.5,0.25,0.125c1,2,4_nogen"]
    sizes = ["olmo2b_10M", "olmo2b_20M", "olmo2b_50M", "olmo2_10M", "olmo2_50M", "olmo2_100M", "olmo2_200M"]
    names = [f"{size}_{model}" for size in [*sizes, "olmo2_1_0B"] for model in models]
    losses = law.predict(pd.concat([rows(*names, rate=rate) for rate in (4e-4, 1e-2)]))
    assert np.isfinite(losses).all()
    assert (losses > 2.0).all()
    assert (losses < UNIFORM_LOSS).all()


def test_loss_falls_with_size_and_with_experts_but_not_with_a_sole_active_one(law: laws.FittedLaw) -> None:
    by_size = law.predict(rows(*(f"olmo2_{size}_e64x0.25c4_nogen" for size in ("10M", "20M", "50M", "100M", "200M"))))
    assert (np.diff(by_size) < 0).all()
    by_experts = law.predict(rows(*(f"olmo2_50M_e{experts}x0.25c4_nogen" for experts in (8, 16, 32, 64, 128))))
    assert (np.diff(by_experts) < -0.02).all()
    sole = law.predict(rows("olmo2_50M_e8x1c1_nogen", "olmo2_50M_e64x1c1_nogen"))
    assert sole[0] == pytest.approx(sole[1], abs=0.01)


def test_a_dense_model_has_no_effect_of_the_mixture(law: laws.FittedLaw) -> None:
    dense = rows("olmo2_20M_e1x1c1")
    kept = ("scale", "slope", "curve", "ratio_max")
    none = {name: value if name in kept else 0.0 for name, value in law.coefficients.items()}
    columns = {name: dense[name].to_numpy() for name in FORM.variables}
    assert FORM.loss(none, columns) == pytest.approx(law.predict(dense), rel=1e-12)


def test_the_rate_deficit_is_zero_at_the_step_laws_rate() -> None:
    best = laws.get("steplaw").learning_rate(total_params=26_882_064.0, train_tokens=2e9)
    assert log_rate_deficit(26_882_064.0, 2e9, 0.55 * best) == pytest.approx(0.0, abs=1e-12)
    assert log_rate_deficit(26_882_064.0, 2e9, 0.055 * best) == pytest.approx(np.log(10))


@given(st.floats(0.1, 60.0))
def test_the_bend_keeps_small_losses_and_stays_below_uniform(total: float) -> None:
    loss = below_uniform(total)
    assert loss < UNIFORM_LOSS
    assert loss <= total
    if total < 5:
        assert loss == pytest.approx(total, rel=0.001)


@given(st.floats(0.5, 10.5))
def test_the_link_is_its_own_inverse_and_knows_its_slope(loss: float) -> None:
    total = CAPPED.sum(loss, {})
    assert CAPPED.loss(total, {}) == pytest.approx(loss, rel=1e-9)
    step = 1e-5
    numeric = (CAPPED.loss(total + step, {}) - CAPPED.loss(total - step, {})) / (2 * step)
    assert CAPPED.slope(loss, {}) == pytest.approx(numeric, rel=1e-4)
