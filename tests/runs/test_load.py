import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from moewright.architecture import counts
from moewright.architecture.variables import granularity_krajewski, shared_ratio_zhao, sparsity_abnar
from moewright.errors import UserError
from moewright.runs import derive, load, prepare, require
from moewright.runs.importers.slicing_models import SlicingGroup, SlicingSize, backbone

GOOD = pd.DataFrame(
    {
        "run_id": ["a", "b", "c"],
        "total_params": ["1B", "2B", "4e9"],
        "train_tokens": ["20B", "40B", "0.1T"],
        "loss": [3.0, 2.8, 2.6],
        "my_note": ["x", "y", "z"],
    }
)


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_the_same_table_from_every_format(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"runs.{ending}"
    if ending == "csv":
        GOOD.to_csv(path, index=False)
    elif ending == "parquet":
        GOOD.to_parquet(path)
    else:
        GOOD.to_json(path, orient="records", lines=True)
    table = load(path)
    assert table["total_params"].tolist() == [1e9, 2e9, 4e9]
    assert table["train_tokens"].tolist() == [20e9, 40e9, 100e9]
    assert table["my_note"].tolist() == ["x", "y", "z"]
    assert table["status"].eq("finished").all()
    assert table["config_id"].nunique() == 3


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("loss", float("nan"), r"row 2 \(run b\), column loss \[nats per token\]: is missing"),
        ("loss", -1.0, r"row 2 \(run b\), column loss .*-1 is impossible"),
        ("loss", float("inf"), r"row 2 \(run b\), column loss .*inf is impossible"),
        (
            "train_tokens",
            "0",
            r"row 2 \(run b\), column train_tokens \[tokens\]: 0 is impossible: must be finite and pos",
        ),
        ("train_tokens", "40Q", r"row 2 .*column train_tokens .*'40Q' has the unknown unit 'Q'; known: K, M, B, T"),
        ("train_tokens", "many", r"row 2 .*column train_tokens .*'many' is not a number such as"),
        ("total_params", "-2B", r"row 2 .*column total_params .*-2e\+09 is impossible"),
    ],
)
def test_a_bad_value_is_named_by_row_and_column(column: str, value: Any, message: str) -> None:
    frame = GOOD.astype({column: object})
    frame.loc[1, column] = value
    with pytest.raises(UserError, match=message) as raised:
        prepare(frame, "runs.csv")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("train_token", "train_tokens"), ("Total Params", "total_params"), ("num_expert", "num_experts"), ("los", "loss")],
)
def test_a_near_name_is_suggested(wrong: str, right: str) -> None:
    frame = GOOD.rename(columns={right: wrong}) if right in GOOD else GOOD.assign(**{wrong: 8})
    with pytest.raises(UserError, match=rf"column '{wrong}': did you mean '{right}'"):
        prepare(frame)


def test_a_missing_column_is_named_with_its_neighbour() -> None:
    with pytest.raises(UserError, match="no column 'tokens'; did you mean 'train_tokens'"):
        require(GOOD, ["tokens"])


def test_unknown_status_and_unfinished_runs_without_loss() -> None:
    frame = GOOD.assign(status=["finished", "diverged", "unfinished"], loss=[3.0, np.inf, np.nan])
    assert prepare(frame)["loss"].isna().tolist() == [False, False, True]
    with pytest.raises(UserError, match="row 2, column status: 'done' is none of finished"):
        prepare(GOOD.assign(status=["finished", "done", "finished"]))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("runs.txt", "a", "read from .csv, .parquet, .jsonl, not .txt"),
        ("runs.csv", "", "not a CSV table"),
        ("runs.csv", "loss\n", "holds no runs"),
        ("runs.csv", 'a,b\n1,2\n1,2,3,4\n"', "not a CSV table"),
        ("runs.parquet", "no parquet", "not a PARQUET table"),
        ("runs.jsonl", "{not json}", "not a JSONL table"),
        ("absent.csv", None, "cannot be read: No such file"),
    ],
)
def test_unreadable_files_are_one_line(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        load(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_unknown_source_is_suggested(tmp_path: Path) -> None:
    GOOD.to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(UserError, match="did you mean 'slicing'"):
        load(tmp_path / "runs.csv", source="slice")


def test_configurations_differ_by_settings_not_by_seed_or_loss() -> None:
    frame = pd.DataFrame(
        {"total_params": [1e9, 1e9, 2e9], "seed": [1, 2, 1], "loss": [3.0, 3.01, 2.9], "loss_c4": [3.2, 3.3, 3.1]}
    )
    ids = prepare(frame)["config_id"]
    assert ids[0] == ids[1] != ids[2]


def test_variables_from_an_architecture_are_those_of_the_architecture() -> None:
    models = [
        backbone(SlicingSize(64, 3, 4, 1e6), (SlicingGroup(0.25, 8, 2),), 0.5),
        backbone(SlicingSize(96, 2, 4, 1e6), (SlicingGroup(0.5, 4, 1), SlicingGroup(0.125, 16, 4)), 0.0),
    ]
    frame = pd.DataFrame({"architecture": [str(_json(model)) for model in models], "loss": [3.0, 2.9]})
    table = prepare(frame)
    assert table["total_params"].tolist() == [counts.total_params(model) for model in models]
    assert table["active_params"].tolist() == [counts.active_params(model) for model in models]
    np.testing.assert_allclose(table["shared_ratio"], [shared_ratio_zhao(model) for model in models], rtol=1e-12)
    np.testing.assert_allclose(table["sparsity_abnar"], [sparsity_abnar(model) for model in models], rtol=1e-12)
    np.testing.assert_allclose(
        table["granularity_krajewski"], [granularity_krajewski(model) for model in models], rtol=1e-12
    )


def test_a_given_column_wins_over_the_derived_one() -> None:
    table = derive(pd.DataFrame({"num_experts": [8.0], "top_k": [2.0], "expansion": [5.0]}))
    assert table["expansion"].tolist() == [5.0]
    assert table["sparsity_liew"].tolist() == [4.0]


def test_a_bad_architecture_names_its_row() -> None:
    frame = pd.DataFrame({"architecture": ["{}"], "loss": [3.0]})
    with pytest.raises(UserError, match=r"row 1, column architecture: vocab_size: Field required"):
        prepare(frame)


def test_a_million_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = 1_000_000
    frame = pd.DataFrame(
        {
            "total_params": rng.choice([1e8, 1e9, 1e10], rows),
            "train_tokens": rng.choice(["1B", "20B", "1T"], rows),
            "loss": rng.normal(3, 0.1, rows),
        }
    )
    frame.to_parquet(tmp_path / "runs.parquet")
    table = load(tmp_path / "runs.parquet")
    assert len(table) == rows
    assert table["config_id"].nunique() == 9


def test_importing_moewright_does_not_import_pandas() -> None:
    code = "import sys, moewright; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _json(model: object) -> str:
    import json

    return json.dumps(model.to_dict())  # type: ignore[attr-defined]
