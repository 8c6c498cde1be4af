"""Tables that no law should be fitted to: one clear line for each, or a status that says so."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moewright import UserError, laws
from tests.laws.tables import synthetic_dense

GOOD = pd.DataFrame(synthetic_dense(0, rows=30))


def with_value(column: str, value: Any) -> pd.DataFrame:
    table = GOOD.astype(object)
    table.loc[7, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (with_value("loss", float("nan")), "column loss, row 7"),
        (with_value("loss", -2.5), "column loss, row 7: -2.5 must be above 0"),
        (with_value("loss", 55.0), "perplexity"),
        (with_value("loss", "diverged"), "column loss, row 7: 'diverged' is not a finite number"),
        (with_value("train_tokens", 0), "column train_tokens, row 7: 0 must be above 0"),
        (with_value("train_tokens", float("inf")), "column train_tokens, row 7"),
        (with_value("train_tokens", 20.0), "plain counts, not thousands, millions or billions"),
        (with_value("train_tokens", 3e15), "another unit"),
        (GOOD.rename(columns={"train_tokens": "tokens"}), "did you mean tokens"),
        (GOOD.rename(columns={"loss": "final_loss"}), "did you mean final_loss"),
        (GOOD.rename(columns={"total_params": "Total_Params"}), "did you mean Total_Params"),
        (GOOD[:1], "1 rows cannot determine the 5 free coefficients"),
        (GOOD[:4], "4 rows cannot determine"),
        (pd.concat([GOOD[:4]] * 10), "4 different configurations"),
        (GOOD[:0], "no rows"),
        (pd.concat([GOOD] * 40_000), "1,200,000 rows"),
        (pd.concat([GOOD, GOOD["loss"]], axis=1), "two columns named 'loss'"),
        ({"total_params": [1e9, 2e9], "train_tokens": [1e10], "loss": [2, 2]}, "do not make a table"),
        ([1, 2, 3], "expected a DataFrame"),
    ],
)
def test_wrong_tables_are_named(table: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        laws.fit_law("hoffmann2022", table, bootstrap=0)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"objectiv": "squares"}, "did you mean objective"),
        ({"objective": "square"}, "did you mean squares"),
        ({"fix": {"gamma": 1.0}}, "no coefficient 'gamma'"),
        ({"bound": {"alpha": (0.5, 0.1)}}, "bounds of alpha are empty"),
        ({"fix": {"E": 1, "A": 1, "alpha": 1, "B": 1, "beta": 1}}, "nothing is left to fit"),
        ({"holdout": "largest:2"}, "between 0 and 1"),
        ({"holdout": "split=test"}, "no column 'split'"),
        ({"holdout": "total_params=3"}, "no row has '3'"),
        ({"bootstrap": -1}, "bootstrap"),
        ({"tuning": "worst"}, "no tuning 'worst'"),
        ({"weights": "weight"}, "no column 'weight'"),
        ({"delta": -1.0}, "delta: -1.0 must be above 0"),
    ],
)
def test_wrong_settings_are_named(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        laws.fit_law("hoffmann2022", GOOD, **{"bootstrap": 0, **setting})


def test_constant_columns_are_underdetermined() -> None:
    fitted = laws.fit_law("hoffmann2022", GOOD.assign(train_tokens=2e10), bootstrap=20)
    assert fitted.status == "underdetermined"
    assert "train_tokens has one value in all rows" in fitted.record.messages[0]
    pinned = laws.fit_law("hoffmann2022", GOOD.assign(train_tokens=2e10), fix={"B": 0, "beta": 0.3}, bootstrap=20)
    assert pinned.status != "underdetermined"


def test_constant_losses_are_not_a_law() -> None:
    fitted = laws.fit_law("hoffmann2022", GOOD.assign(loss=2.5), bootstrap=20)
    assert fitted.status != "converged"
    assert fitted.predict(GOOD) == pytest.approx(2.5, abs=1e-6)


def test_laws_without_a_form_refuse() -> None:
    with pytest.raises(laws.InapplicableLaw, match="no form to fit"):
        laws.fit_law("ling2025", GOOD)


def test_no_draws_no_intervals() -> None:
    fitted = laws.fit_law("hoffmann2022", GOOD, bootstrap=0)
    with pytest.raises(laws.InapplicableLaw, match="bootstrap > 0"):
        fitted.interval(GOOD)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.one_of(st.floats(), st.floats(1e3, 1e12)),
            st.one_of(st.floats(), st.floats(1e3, 1e13)),
            st.one_of(st.floats(), st.floats(0.01, 13)),
        ),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from(["hoffmann2022", "liew2026", "marin2026"]),
)
def test_any_table_is_a_law_or_one_line(rows: list[tuple[float, float, float]], name: str) -> None:
    table = pd.DataFrame(rows, columns=["total_params", "train_tokens", "loss"])
    table = table.assign(sparsity=8.0, num_experts=64.0, train_flops=table["train_tokens"])
    try:
        fitted = laws.fit_law(name, table, bootstrap=10, starts=4)
    except UserError:
        return
    assert fitted.status in ("converged", "bound_hit", "not_converged", "underdetermined")
    assert np.isfinite(list(fitted.coefficients.values())).all()
    assert np.isfinite(fitted.predict(table)).all()
