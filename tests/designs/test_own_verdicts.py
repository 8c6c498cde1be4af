"""Own runs in a search: against `laws.judge`'s belief pair by pair, and what is printed, kept and refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

import moewright
from moewright import UserError, laws
from moewright.architecture import variables
from moewright.designs.candidates import distinct
from moewright.designs.hearing import BEATS_BY
from moewright.designs.own_verdicts import compared
from moewright.designs.preference import choose_design
from moewright.designs.result import Designs
from moewright.designs.space import Space, describe_space
from moewright.designs.undecided import undecided_set
from moewright.laws.judging.compared_designs import ComparedDesigns
from moewright.laws.judging.own_runs import SURE, OwnRuns
from moewright.laws.variable import Array
from moewright.report.page.page_sources import read_sources
from moewright.report.page.sections.what_if_section import what_if_blocks
from tests.laws.test_own_runs import small_runs
from tests.test_cli import run

LAWS = ["zhao2025", "clark2022"]
BUDGETS: dict[str, Any] = {"total_params": "2B", "active_params": "600M", "train_tokens": "40B", "top": 4}


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    """Experts twice as wide cost .05 nats, which no law says."""
    return small_runs(24, 0.05)


@pytest.fixture(scope="module")
def space() -> Space:
    few = {"widths": (1024, 1536, 2048), "depths": (12, 16, 20, 24, 32), "experts": (8, 16, 32, 64, 128)}
    return Space.model_validate({**Space().to_dict(), **few, "top_k": (1, 2, 4, 8), "shared_experts": (0,)})


@pytest.fixture(scope="module")
def answer(runs: pd.DataFrame, space: Space) -> Designs:
    return moewright.design(**BUDGETS, space=space, law=LAWS, own=runs)


def test_what_the_runs_drop_is_what_every_pair_says(answer: Designs, runs: pd.DataFrame, space: Space) -> None:
    """The search drops in rounds, and never has a covariance of all."""
    alone = moewright.design(**BUDGETS, space=space, law=LAWS)
    designs = alone.choice.undecided.designs
    told, changed = answer.problem.own, answer.choice.own
    assert told is not None
    assert changed is not None
    every = compared(answer.problem, designs)
    among = told.probabilities(every, every)
    np.testing.assert_allclose(among + among.T, 1, atol=1e-9)
    beaten = among.max(axis=0) >= SURE
    assert 0.1 < beaten.mean() < 0.9
    left = answer.choice.undecided.designs
    assert (changed.beaten, len(left)) == (beaten.sum(), (~beaten).sum() + changed.kept_open)
    assert set(zip(*(getattr(left, name).tolist() for name in ("kind", "expert_size", "num_layers")), strict=True)) >= {
        *zip(*(getattr(designs, name)[~beaten].tolist() for name in ("kind", "expert_size", "num_layers")), strict=True)
    }


def test_a_belief_about_many_is_that_about_two(answer: Designs, runs: pd.DataFrame) -> None:
    """The same points: once with their covariance, as `laws.judge` has it, once without."""
    some = compared(answer.problem, answer.choice.undecided.designs.take(np.arange(10)))
    own = OwnRuns.read(runs, [laws.get(name) for name in LAWS])
    with_covariance = own.asked([some])
    places = np.arange(10)
    expected = np.array([with_covariance.probabilities(place, places) for place in places])
    told = own.about([some])
    off = ~np.eye(10, dtype=bool)
    np.testing.assert_allclose(told.probabilities(some, some)[off], expected[off], atol=1e-6)
    assert with_covariance.belief is not None
    np.testing.assert_allclose(told.means(some), with_covariance.belief.mean, atol=1e-9)


class FewerExperts:
    """Runs that are sure of one thing, which the laws deny: a run of fewer experts ends lower."""

    def means(self, designs: ComparedDesigns) -> Array:
        return np.asarray(designs.of(variables.num_experts))

    def probabilities(self, first: ComparedDesigns, second: ComparedDesigns) -> Array:
        return 0.5 + 0.5 * np.sign(self.means(second)[None, :] - self.means(first)[:, None])


def test_runs_that_contradict_the_laws_keep_designs_open(answer: Designs) -> None:
    """Of all that the laws drop, held against each design that beats it one by one."""
    problem = replace(answer.problem, own=cast(Any, FewerExperts()))
    choice = choose_design(problem, answer.within, "loss")
    assert choice.own is not None
    by_laws = undecided_set(problem, answer.within, choice.hearing)
    every = distinct(answer.within.sample(every=1))
    losses = replace(problem, judges=choice.hearing.readings).losses(every)
    kept = 0
    for row in range(len(every)):
        beats = (losses[:, [row]] > by_laws.losses + BEATS_BY).all(axis=0)
        contradicted = by_laws.designs.num_experts[beats] > every.num_experts[row]
        kept += bool(beats.any() and contradicted.all() and every.num_experts[row] == every.num_experts.min())
    assert choice.own.kept_open == kept > 0
    assert set(choice.undecided.designs.num_experts.tolist()) == {int(every.num_experts.min())}


def test_what_is_printed_kept_and_shown(
    answer: Designs, runs: pd.DataFrame, space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.to_parquet(tmp_path / "mine.parquet")
    (tmp_path / "space.yaml").write_text(describe_space(space))
    line = [f"--{name.replace('_', '-')}={value}" for name, value in BUDGETS.items()]
    line += ["--space", str(tmp_path / "space.yaml"), *(f"--law={name}" for name in LAWS)]
    folder = tmp_path / "designs"
    code, out, _ = run(capsys, "design", *line, "--own", str(tmp_path / "mine.parquet"), "--out", str(folder))
    assert code == 0
    assert f"your 24 runs drop {answer.choice.own.beaten if answer.choice.own else 0} more" in " ".join(out.split())
    record = json.loads((folder / "designs.json").read_text())
    assert record["undecided"]["own"]["heard"]
    assert record["undecided"]["count"] == answer.undecided.count
    assert record["designs"][0]["own"] is None
    assert record["designs"][1]["own"]["runs"] == 24
    assert record["baseline"]["as_built"]["design_against_it"]["loss"]["own"]["heard"]
    (source,) = read_sources([folder])
    assert f"--own {folder / 'own.parquet'}" in source.command
    kept = OwnRuns.read(moewright.runs.load(folder / "own.parquet"), [laws.get("clark2022")])
    assert kept.rows[0].equals(OwnRuns.read(runs, [laws.get("clark2022")]).rows[0])
    (block,) = what_if_blocks([source])
    assert "your own runs decide with the laws" in block.html
    code, out, err = run(capsys, "design", *line, "--own", str(tmp_path / "space.yaml"))
    assert (code, out) == (2, "")
    assert "space.yaml" in err


def test_a_handful_of_runs_is_named_and_changes_nothing(space: Space) -> None:
    few = moewright.design(**BUDGETS, space=space, law=LAWS, own=small_runs(7, 0.05))
    alone = moewright.design(**BUDGETS, space=space, law=LAWS)
    assert few.undecided == alone.undecided
    assert few.warnings[0].startswith("your runs are not heard: 7 runs; 8 are needed")
    own = few.to_dict()["undecided"]["own"]
    assert (own["heard"], own["beaten"]) == (False, None)
    with pytest.raises(UserError, match="own: no finished run has a loss"):
        moewright.design(**BUDGETS, space=space, law=LAWS, own=small_runs(8, 0.0).assign(status="failed"))
