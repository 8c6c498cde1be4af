"""Laws fitted to one's own runs as judges, with their draws; and what a wrong file says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import moewright
from moewright import UserError, laws
from moewright.laws import FittedLaw


@pytest.fixture(scope="module")
def own_law() -> FittedLaw:
    """A fit of Liew's form to a made-up table whose answer is known: sparsity hurts, experts hurt a little."""
    r = np.random.default_rng(0)
    rows = []
    for _ in range(160):
        experts, top_k = 2 ** r.integers(5, 9), 2 ** r.integers(1, 5)
        size = 10 ** r.uniform(7.5, 9.5)
        loss = 1.5 + np.exp(5.0 - 0.25 * np.log(size) + 0.08 * np.log(experts / top_k) + 0.01 * np.log(experts))
        noise = np.exp(r.normal(0, 0.002))
        rows.append({"total_params": size, "sparsity": experts / top_k, "num_experts": experts, "loss": loss * noise})
    return laws.fit_law("liew2026", pd.DataFrame(rows), bootstrap=60)


def test_a_fitted_law_joins_with_its_draws(own_law: FittedLaw, tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    own_law.save(path)
    budgets: dict[str, Any] = {"total_params": "7B", "active_params": "1.3B", "train_tokens": "5T"}
    answer = moewright.design(**budgets, law=[str(path)], top=3)
    assert answer.laws == (
        "zhao2025",
        "ludziejewski2025",
        "clark2022",
        "krajewski2024",
        "abnar2025",
        "ling2025",
        own_law.name,
    )
    alone = moewright.design(**budgets, law=own_law, top=3)
    # Joined to the published ones unless a name restricts them.
    assert alone.laws == answer.laws
    pair = moewright.design(**budgets, law=["zhao2025", own_law], top=3)
    assert pair.laws == ("zhao2025", own_law.name)
    share = pair.baseline.as_built.probability_by_draws[own_law.name]
    first, published = pair.designs[0].architecture, pair.baseline.as_built.architecture
    point = [own_law.loss(**own_law.variables(a, train_tokens=5e12)) for a in (first, published)]
    # Less than the noise of one run apart, and far beyond the runs: nobody can tell.
    assert abs(point[0] / point[1] - 1) < 0.002
    assert share == pytest.approx(0.5, abs=0.25)
    ranking = pair.bootstrap[own_law.name]
    assert ranking.num_finalists <= len(pair.choice.undecided.designs) + len(pair.laws)  # nobody is counted twice
    assert ranking.num_draws == len(own_law.record.draws)
    assert ranking.probability_best.sum() == pytest.approx(1)
    favourite = pair.favourites[own_law.name].sizes
    assert ranking.num_undecided >= 1
    low, high = ranking.ranges["num_experts"]
    assert low <= favourite["num_experts"] <= high
    # What the made-up truth says: fill the total, and use as many experts as the budget allows.
    assert favourite["top_k"] / favourite["num_experts"] >= 1 / 8
    assert json.loads(json.dumps(pair.to_dict()))["fitted"][own_law.name]["draws"] == ranking.num_draws


def test_a_law_without_tokens_may_not_judge_at_fixed_flops(own_law: FittedLaw) -> None:
    budgets: dict[str, Any] = {"total_params": "7B", "train_flops": "1e22"}
    assert "clark2022" not in moewright.design(**budgets, top=1).laws
    with pytest.raises(UserError, match="clark2022 does not see training tokens"):
        moewright.design(**budgets, law=["clark2022"])
    with pytest.raises(UserError, match="does not see training tokens"):
        moewright.design(**budgets, law=own_law)


@pytest.mark.parametrize(
    "name", ["epoch2024", "hoffmann2022", "flame2025", "marin2026", "liew2026", "steplaw", "li2025"]
)
def test_laws_that_cannot_see_the_choice_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=name):
        moewright.design(total_params="7B", train_tokens="1T", law=name)


def test_law_files_from_another_version(own_law: FittedLaw, tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    own_law.save(path)
    content = json.loads(path.read_text())
    changes: list[dict[str, Any]] = [{"format": "moewright-law/9"}, {"law": "zhao1999"}, {"coefficients": {}}]
    for change in changes:
        path.write_text(json.dumps({**content, **change}))
        with pytest.raises(UserError, match=r"own\.json"):
            moewright.design(total_params="7B", train_tokens="1T", law=str(path))
