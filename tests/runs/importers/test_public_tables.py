import numpy as np

from moewright.runs import load
from tests.runs.public_data import public_table


def test_joint_moe_follows_the_authors_law() -> None:
    """The authors' own coefficients (arXiv 2502.05172, equation 6) on the imported columns: RMSE .0183 and .0118."""
    table = load(public_table("joint_moe"), source="joint_moe")
    start, ceiling, phi = np.exp(0.729077), np.exp(5.671439), 0.01
    e = 1 / (1 / (table["num_experts"] - 1 + phi + 1 / (1 / start - 1 / ceiling)) + 1 / ceiling)
    predicted = (
        35.907456 * e**-0.228513 * table["active_params"] ** -(0.18893 - 0.009798 * np.log(e))
        + 35.979302 * e**0.552916 * table["train_tokens"] ** -(0.177532 + 0.02585 * np.log(e))
        + 1.36374
    )
    squares = (table["loss"] - predicted) ** 2
    by_split = np.sqrt(squares.groupby(table["split"]).mean())
    assert len(table) == 270
    assert round(float(by_split["train"]), 4) == 0.0183
    assert round(float(by_split["test"]), 4) == 0.0118


def test_clark_routing_follows_the_authors_law() -> None:
    """Clark et al. 2022 (arXiv 2202.01169) on S-BASE and dense runs at routing frequency .5: RMSE(log10) .0037."""
    table = load(public_table("clark_routing"), source="clark_routing")
    assert len(table) == 223
    rows = table[
        table["router"].isin(["S-BASE", "DENSE"]) & (table["routing_frequency"] == 0.5) & (table["top_k"] == 1)
    ]
    assert len(rows) == 61
    e = 1 / (1 / (rows["num_experts"] - 1 + 1 / (1 / 1.847 - 1 / 314.478)) + 1 / 314.478)
    log_n, log_e = np.log10(rows["active_params"]), np.log10(e)
    residual = np.log10(rows["loss"]) - (-0.082 * log_n - 0.108 * log_e + 0.009 * log_n * log_e + 1.104)
    assert round(float(np.sqrt((residual**2).mean())), 4) == 0.0037
    assert (rows["train_tokens"] == 130e9).all()
    assert table["loss_c4"].isna().sum() == 1  # kept, missing value and all


def test_takano_dense_compute_is_six_n_d() -> None:
    table = load(public_table("takano_dense"), source="takano_dense")
    assert len(table) == 234
    np.testing.assert_allclose(table["train_flops"], 6 * table["total_params"] * table["train_tokens"], rtol=1e-3)
