from typing import Any

import numpy as np
import pandas as pd
import pytest

from moewright.runs import diagnose, load, prepare
from moewright.runs.diagnosis import robust_scale
from tests.runs.public_data import FILES, public_table


def clean_table(rows: int = 120, seed: int = 0) -> pd.DataFrame:
    """Runs that follow a Chinchilla law (arXiv 2203.15556) with 0.3 % noise: nothing to find."""
    rng = np.random.default_rng(seed)
    params = np.exp(rng.uniform(np.log(1e8), np.log(5e9), rows))
    tokens = np.exp(rng.uniform(np.log(1e9), np.log(1e11), rows))
    loss = 1.69 + 406.4 / params**0.34 + 410.7 / tokens**0.28
    return pd.DataFrame(
        {
            "run_id": [f"r{i}" for i in range(rows)],
            "total_params": params,
            "train_tokens": tokens,
            "schedule": "cosine",
            "vocab_size": 50_000,
            "status": "finished",
            "loss": loss * np.exp(rng.normal(0, 0.003, rows)),
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_found_in_a_clean_table(seed: int) -> None:
    assert diagnose(prepare(clean_table(seed=seed))).empty


@pytest.mark.parametrize(
    ("row", "changes", "problem", "column"),
    [
        (3, {"status": "diverged", "loss": np.nan}, "diverged", "status"),
        (4, {"loss": 11.0}, "diverged", "loss"),
        (3, {"status": "failed", "loss": np.nan}, "failed", "status"),
        (5, {"status": "unfinished"}, "unfinished", "status"),
        (5, {"status": "unfinished", "loss": np.nan}, "unfinished", "status"),
        (5, {"status": "unfinished", "loss": np.inf}, "diverged", "loss"),
        (6, {"schedule": "wsd"}, "unlike", "schedule"),
        (7, {"run_id": "r0"}, "duplicate", "run_id"),
        (8, {"loss": 4.9}, "outlier", "loss"),
    ],
)
def test_each_kind_of_bad_row_is_found_and_no_other(
    row: int, changes: dict[str, Any], problem: str, column: str
) -> None:
    table = clean_table()
    for name, value in changes.items():
        table.loc[row, name] = value
    findings = diagnose(prepare(table))
    assert ((findings["row"] == row + 1) & (findings["problem"] == problem) & (findings["column"] == column)).any()
    assert set(findings["row"]) == {row + 1}


def test_a_part_of_the_schedule_is_unfinished() -> None:
    table = prepare(clean_table().assign(schedule_fraction=[0.6] + [1.0] * 119))
    findings = diagnose(table)
    assert findings["problem"].tolist() == ["unfinished"]
    assert findings["detail"].tolist() == ["60.0% of its schedule ran"]


def test_a_copied_row_is_a_duplicate_and_a_repeat_is_not() -> None:
    table = clean_table()
    copy = table.iloc[[0]].assign(run_id="copy")
    repeat = table.iloc[[0]].assign(run_id="repeat", loss=table["loss"].iloc[0] * 1.001)
    findings = diagnose(prepare(pd.concat([table, copy, repeat], ignore_index=True)))
    assert findings[["row", "problem", "column"]].values.tolist() == [[121, "duplicate", "loss"]]


def test_another_model_under_the_same_name_is_said() -> None:
    table = clean_table()
    other = table.iloc[[3]].assign(total_params=2 * table["total_params"].iloc[3], loss=2.9)
    findings = diagnose(prepare(pd.concat([table, other, table.iloc[[4]].assign(loss=2.9)], ignore_index=True)))
    details = findings.loc[findings["column"] == "run_id", "detail"].tolist()
    size = table["total_params"].iloc[3]
    assert details == [
        f"the name of row 4, but another model: total_params {2 * size:,}, there {size:,}",
        "the name of row 5",
    ]


def test_many_bad_rows_do_not_hide_each_other() -> None:
    table = clean_table(200)
    table.loc[:19, "loss"] *= 1.3
    findings = diagnose(prepare(table))
    assert set(findings.loc[findings["problem"] == "outlier", "row"]) == set(range(1, 21))


def test_the_table_is_not_changed() -> None:
    table = prepare(clean_table())
    before = table.copy()
    diagnose(table)
    pd.testing.assert_frame_equal(table, before)


def test_robust_scale_is_the_standard_deviation_of_normal_noise() -> None:
    values = np.random.default_rng(0).normal(0, 2.5, 100_000)
    values[:1000] = 1e6
    assert robust_scale(values) == pytest.approx(2.5, rel=0.03)


def test_the_wsd_sweep_and_nothing_regular_is_flagged_in_the_slicing_table() -> None:
    findings = diagnose(load(public_table("slicing"), source="slicing"))
    assert (findings["problem"] == "unlike").sum() == 64
    assert (findings["problem"] == "outlier").sum() <= 3


@pytest.mark.parametrize("source", ["joint_moe", "takano_dense"])
def test_published_tables_without_known_faults_are_clean(source: str) -> None:
    assert diagnose(load(public_table(source), source=source)).empty
    assert FILES[source].exists()


def test_a_table_without_finished_runs_has_nothing_to_doubt() -> None:
    """As `moewright runs` has it while the only run of a folder is under way."""
    empty = pd.DataFrame({"loss": [], "total_params": [], "train_tokens": []}, dtype=float)
    assert diagnose(prepare(empty)).empty
