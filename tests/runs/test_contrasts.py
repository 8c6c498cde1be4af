import numpy as np
import pandas as pd
import pytest

from moewright.errors import UserError
from moewright.runs.contrasts import contrast, matched_differences, repeat_noise


def crossed(effect: float, noise: float, seed: int, models: int = 20) -> pd.DataFrame:
    """Every model at both routings; models differ by far more than the effect."""
    rng = np.random.default_rng(seed)
    rows = [
        {"model": model, "routing": routing, "loss": 3 + level + effect * (routing == "b") + rng.normal(0, noise)}
        for model, level in enumerate(rng.normal(0, 1, models))
        for routing in ("a", "b")
    ]
    return pd.DataFrame(rows)


def test_a_known_effect_is_recovered_through_large_differences_between_models() -> None:
    matches = matched_differences(crossed(-0.05, 0.0, 0), "routing", "a", "b", same=["model"])
    assert len(matches) == 20
    np.testing.assert_allclose(matches["difference"], -0.05, atol=1e-12)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(200):
        found = contrast(matched_differences(crossed(0.02, 0.03, seed), "routing", "a", "b", same=["model"]), seed=seed)
        hits += found.low <= 0.02 <= found.high
    assert 165 <= hits <= 195  # 90 % nominal; a bootstrap of 20 pairs falls a little short


def test_clusters_widen_the_interval_of_copied_matches() -> None:
    matches = matched_differences(crossed(0.0, 0.03, 1), "routing", "a", "b", same=["model"])
    copied = pd.concat([matches] * 5, ignore_index=True)
    alone, together = contrast(copied), contrast(copied, cluster=["model"])
    assert together.clusters == 20
    assert together.high - together.low > 1.8 * (alone.high - alone.low)


def test_unmatched_and_missing_rows_take_no_part() -> None:
    table = pd.DataFrame(
        {
            "model": ["x", "x", "y", "z", "z"],
            "weight": [np.nan, np.nan, 1.0, np.nan, np.nan],
            "routing": ["a", "b", "a", "a", "b"],
            "loss": [3.0, 2.9, 3.5, 3.1, np.nan],
        }
    )
    matches = matched_differences(table, "routing", "a", "b", same=["model", "weight"])
    assert matches["model"].tolist() == ["x"]
    assert contrast(matches).mean == pytest.approx(-0.1)
    assert contrast(matches.iloc[:0]).matches == 0


def test_wrong_columns_are_user_errors() -> None:
    table = crossed(0, 0, 0)
    with pytest.raises(UserError, match="no column 'modle'; did you mean 'model'"):
        matched_differences(table, "routing", "a", "b", same=["modle"])
    with pytest.raises(UserError, match="cannot both differ and be the same"):
        matched_differences(table, "routing", "a", "b", same=["routing"])


def test_repeat_noise_is_the_standard_deviation_of_one_run() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"config_id": np.repeat(np.arange(3000), 2), "loss": rng.normal(3, 0.01, 6000)})
    table.loc[len(table)] = {"config_id": -1, "loss": 9.0}
    noise, repeated = repeat_noise(table)
    assert repeated == 3000
    assert noise == pytest.approx(0.01, rel=0.05)
