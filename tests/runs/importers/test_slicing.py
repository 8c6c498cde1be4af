from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moewright.architecture import counts
from moewright.errors import UserError
from moewright.runs import load, prepare
from moewright.runs.importers import import_source
from moewright.runs.importers.slicing import mean_rate
from moewright.runs.importers.slicing_models import SLICING_SIZES, SlicingGroup, backbone, read_name, slicing_size
from tests.runs.public_data import public_table

PREFIX = "2025_07_02-07_52_21_lr_sweep_5XD_dropless_lf_lowlb_olmo2_20M"


def row(name: str, **columns: object) -> pd.DataFrame:
    """One run of the source, as its CSV would have it."""
    return prepare(import_source(pd.DataFrame([{"name": name, "lr": 4e-4, **columns}]), "slicing", "runs.csv"))


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return load(public_table("slicing"), source="slicing")


def test_counts_of_the_dense_backbones_are_the_authors() -> None:
    """Parameters that the authors' scripts list: without vocabulary and q/k norms, and with both."""
    without = {"10M": 14456400, "20M": 26882064, "50M": 65549440, "100M": 132927808, "200M": 260945440}
    without |= {"400M": 530889120, "1.0B": 1342261248}
    for label, count in without.items():
        size = SLICING_SIZES["olmo2", label]
        model = backbone(size, (SlicingGroup(1.0, 1, 1),), 0.0)
        qk_norms = 2 * size.hidden_size * size.num_layers
        assert counts.total_params_non_embedding(model) - qk_norms == count
    with_all = {"10M": 9745008, "20M": 19859040, "50M": 52782000}
    for label, count in with_all.items():
        assert counts.total_params(backbone(SLICING_SIZES["olmo2b", label], (SlicingGroup(1.0, 1, 1),), 0.0)) == count


def test_every_run_of_the_table_is_there(table: pd.DataFrame) -> None:
    assert len(table) == 498
    assert table["loss"].equals(table["train_ce"])
    assert set(table["train_tokens"]) == {1e9, 2e9}
    repeats = table.groupby("config_id").size()
    assert repeats.sum() == 498
    assert repeats.max() > 1


def test_names_and_columns_agree_but_where_known(table: pd.DataFrame) -> None:
    """Widths by name are those by column; the exceptions are the traps that the importer documents."""
    by_name = [read_name(name) for name in table["run_id"]]
    assert all(len(name.groups) == number for name, number in zip(by_name, table["num_groups"], strict=True))
    default_shared = [
        name
        for name, column in zip(by_name, table["shared_mult"], strict=True)
        if (name.shared_multiplier or 0.0) != column
    ]
    assert [name.groups for name in default_shared] == [(SlicingGroup(1.0, 4, 1),)]


def test_the_third_group_comes_from_the_name(table: pd.DataFrame) -> None:
    three = table[table["num_groups"] == 3]
    assert len(three) == 2
    assert set(three["num_experts"]) == {64}
    assert set(three["top_k"]) == {7}
    assert set(three["expert_ratio"]) == {16 * 0.5 + 16 * 0.25 + 32 * 0.125}


def test_loss_free_bias_is_a_word_of_the_name(table: pd.DataFrame) -> None:
    words = table["run_id"].str.contains("_lf_")
    assert (table["bias_step"] == np.where(words, 0.001, 0.0)).all()
    assert row("2025_07_01-12_33_49_lr_sweep_5XD_half_olmo2_10M_e16x0.25c4_nogen")["bias_step"].item() == 0


def test_lowlb_runs_carry_the_weight_of_the_column(table: pd.DataFrame) -> None:
    batch = table[table["sweep_started"] == "2025_07_02-16_38_37"]
    assert len(batch) == 44
    assert batch["run_id"].str.contains("lowlb").all()
    assert (batch["balance_weight"] == 0.01).all()
    assert (table.loc[table["lb_loss_weight"].isna(), "balance_weight"] == 0).all()


def test_quarter_generalists_that_use_less_than_a_feed_forward(table: pd.DataFrame) -> None:
    narrow = table[table["active_width"] < 0.99]
    assert set(narrow["active_width"]) == {0.75}
    assert (narrow["shared_multiplier"] == 0.25).all()
    assert (narrow["active_params"] < table[table["active_width"] == 1.0]["active_params"].max()).all()


def test_capacity_is_what_default_means_and_dense_has_none(table: pd.DataFrame) -> None:
    assert (table.loc[table["routing"] == "default", "capacity_factor"] == 1.2).all()
    assert table.loc[table["routing"] == "dropless", "capacity_factor"].isna().all()
    dense = table[table["num_experts"] == 1]
    assert len(dense) == 7
    assert dense[["balance_weight", "bias_step", "drops_tokens", "shared_size"]].eq(0).all(axis=None)
    assert (dense["total_params"] == dense["active_params"]).all()


def test_a_mixture_without_the_word_gen_has_the_launchers_shared_expert() -> None:
    named = row("2025_06_26-14_07_24_lr_sweep_5XD_olmo2_10M_e4x1c1_lr=0.004", shared_mult=0.0)
    assert named["shared_multiplier"].item() == 1.0
    assert row("2025_06_26-14_07_24_lr_sweep_5XD_olmo2_10M_e1x1c1", shared_mult=0.0)["shared_multiplier"].item() == 0


def test_rows_need_no_more_than_name_and_rate() -> None:
    run = row(f"{PREFIX}_e32x0.25c3_0.25gen").iloc[0]
    assert (run["num_experts"], run["top_k"], run["expert_size"]) == (32, 3, 432)
    assert (run["shared_multiplier"], run["drops_tokens"], run["bias_step"]) == (0.25, 0, 0.001)
    assert run["train_tokens"] == 2e9
    assert "loss" not in run


@pytest.mark.parametrize(
    ("size", "width", "tokens"),
    [("olmo2_50M", 640, 5e9), ("olmo2_100M", 832, 1e10), ("olmo2b_10M", 48, 1e9), ("olmo2_1_0B", 2048, 1e11)],
)
def test_sizes_beyond_the_public_rows(size: str, width: int, tokens: float) -> None:
    run = row(f"2025_07_02-07_52_21_lr_sweep_5XD_dropless_{size}_e64x0.125c8_nogen", model_size="?", extra=1).iloc[0]
    assert (run["hidden_size"], run["train_tokens"], run["extra"]) == (width, tokens, 1)


def test_a_name_without_xd_has_one_chinchilla_of_tokens() -> None:
    assert row("2025_07_02-07_52_21_olmo2_50M_e64x0.125c8_nogen")["train_tokens"].item() == 1e9


def test_an_unlisted_size_lies_between_its_neighbours_and_warns() -> None:
    with pytest.warns(UserWarning, match="olmo2_30M is not listed"):
        size = slicing_size("olmo2", "30M")
    assert SLICING_SIZES["olmo2", "20M"].hidden_size < size.hidden_size < SLICING_SIZES["olmo2", "50M"].hidden_size


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a_run_of_mine", "row 1, column model_size: '' is not a size"),
        ("olmo2_20M_e4x0.5c8_nogen", "row 1: no usable expert groups"),
        ("olmo2_20M_dense", "row 1: no usable expert groups"),
    ],
)
def test_rows_that_say_nothing_are_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        row(name)


def test_another_table_is_refused_with_the_missing_column(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    pd.DataFrame({"nane": ["x"], "lr": [1e-3]}).to_csv(path, index=False)
    with pytest.raises(UserError, match="no column 'name'; did you mean 'nane'"):
        load(path, source="slicing")


@pytest.mark.parametrize(("schedule", "warmup", "decay"), [("CosWithWarmup", 2000, None), ("WSD", 50, 50)])
@pytest.mark.parametrize("steps", [191, 954, 1907, 4769, 9537])
def test_the_mean_rate_is_that_of_the_schedule_step_by_step(
    schedule: str, warmup: int, decay: int | None, steps: int
) -> None:
    at = np.arange(steps) + 0.5
    rate = np.minimum(at / warmup, 1.0)
    if decay is None:
        cosine = 0.1 + 0.9 * (1 + np.cos(np.pi * (at - warmup) / max(steps - warmup, 1))) / 2
        rate = np.where(at > warmup, cosine, rate)
    else:
        rate = np.minimum(rate, (steps - at) / decay)
    assert mean_rate(schedule, steps) == pytest.approx(rate.mean(), rel=2e-3)


group = st.tuples(st.integers(1, 4096), st.integers(0, 6), st.integers(1, 64))


@given(st.lists(group, min_size=1, max_size=3), st.sampled_from(["", "_nogen", "_0.5gen"]), st.booleans())
def test_names_are_read_as_they_are_written(groups: list[tuple[int, int, int]], gen: str, biased: bool) -> None:
    experts = ",".join(str(e) for e, _, _ in groups)
    multipliers = ",".join(f"{2.0**-m:g}" for _, m, _ in groups)
    top_ks = ",".join(str(k) for _, _, k in groups)
    sweep = "lr_sweep_5XD_lf" if biased else "lr_sweep_5XD"
    name = read_name(f"2025_07_02-07_52_21_{sweep}_olmo2_50M_e{experts}x{multipliers}c{top_ks}{gen}_lr=0.004")
    assert name.groups == tuple(SlicingGroup(2.0**-m, e, k) for e, m, k in groups)
    assert (name.family, name.size, name.data_multiple, name.loss_free_bias) == ("olmo2", "50M", 5.0, biased)
    assert name.learning_rate == 0.004
    if gen:
        assert name.shared_multiplier == (0.0 if gen == "_nogen" else 0.5)


@given(st.text())
def test_any_name_is_read_without_complaint(name: str) -> None:
    read_name(name)
