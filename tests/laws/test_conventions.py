"""A run table as laws read it: variables counted from the models, against the law's own for each model."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

import moewright
from moewright import laws
from moewright.architecture import Architecture
from moewright.laws.counted_variables import in_conventions

LAWS = ("liew2026", "zhao2025", "ludziejewski2025", "abnar2025", "krajewski2024", "wang2024", "clark2022")


def model(experts: int, top_k: int, width: int = 64) -> dict[str, Any]:
    mixer = {"kind": "attention", "num_heads": 4, "num_kv_heads": 4, "head_dim": width // 4}
    groups = [{"count": experts, "expert_size": 32, "top_k": top_k}]
    layer = {"mixer": mixer, "feed_forward": {"kind": "moe", "groups": groups}}
    layers = [{"repeat": 2, "layers": [layer]}]
    return {"format": "moewright-architecture/1", "vocab_size": 100, "hidden_size": width, "layers": layers}


@pytest.fixture
def table() -> pd.DataFrame:
    shapes = [(8, 1), (8, 2), (16, 2), (16, 4), (64, 4), (64, 8), (32, 2)]
    rows = [
        {"architecture": json.dumps(model(e, k, width)), "train_tokens": tokens, "total_params": 1.0, "loss": 3 + 1 / k}
        for e, k in shapes
        for width in (64, 128)
        for tokens in (1e6, 2e6)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("name", LAWS)
def test_a_models_variables_are_the_laws_own(table: pd.DataFrame, name: str) -> None:
    """Also where the table has a column of that name in another meaning, as total_params here."""
    law = laws.get(name)
    counted, names = in_conventions(law, table)
    for row in counted.to_dict("records"):
        a = Architecture.from_dict(json.loads(row["architecture"]))
        tokens = row["train_tokens"] if any(variable.per_token for variable in law.inputs) else None
        for variable, value in law.variables(a, train_tokens=tokens).items():
            assert row[variable] == pytest.approx(value, rel=1e-12)
    assert set(names) == {v.name for v in law.inputs if v.name != "train_tokens"}


def test_a_table_without_models_is_taken_at_its_word(table: pd.DataFrame) -> None:
    plain = table.drop(columns="architecture")
    assert in_conventions(laws.get("liew2026"), plain) == (plain, ())
    holes = table.assign(architecture=table["architecture"].where(table.index > 0))
    assert in_conventions(laws.get("liew2026"), holes)[1] == ()


def test_a_column_that_was_named_is_taken_at_its_word(table: pd.DataFrame) -> None:
    counted, names = in_conventions(laws.get("liew2026"), table, told={"total_params"})
    assert "total_params" not in names
    assert (counted["total_params"] == 1.0).all()


def test_fit_says_what_it_counted(table: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    noisy = table.assign(loss=3 + rng.normal(0, 0.01, len(table)))
    found = moewright.fit(noisy, "liew2026", bootstrap=0)
    assert set(found.counted) == {"total_params", "sparsity"}  # E was counted with the table already
    assert found.to_dict()["counted"] == list(found.counted)
