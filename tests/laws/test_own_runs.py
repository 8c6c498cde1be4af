"""Own runs that decide what laws leave open: made-up tables whose truth is known, and runs of other people replayed."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import moewright
from moewright import Architecture, UserError, laws
from moewright.laws.judging.compared_designs import ComparedDesigns
from moewright.laws.judging.own_runs import SURE, ask_own_runs, combined
from tests.laws.evidence_tables import DATA, TABLES
from tests.laws.test_judging import architecture
from tests.test_cli import run

TOKENS = 2e10
QUICK = [laws.get("krajewski2024"), laws.get("clark2022")]
AGREEING = [laws.get("zhao2025"), laws.get("clark2022")]
"""Of more experts of one size; krajewski2024 has no number of experts that runs moved."""


def small_runs(count: int, coarse_is_worse: float, seed: int = 0) -> pd.DataFrame:
    """A run table of small mixtures as zhao2025 has them, and experts twice as wide cost so many nats more."""
    draw = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        split = int(2 ** draw.integers(0, 4))
        sizes = {
            "hidden_size": np.array([128 * draw.integers(4, 9)]),
            "num_layers": np.array([draw.integers(6, 13)]),
            "num_experts": np.array([8 * split]),
            "top_k": np.array([split]),
            "expert_size": np.array([2048 // split]),
            "shared_size": np.array([0]),
        }
        model = architecture(sizes, 0)
        zhao = laws.get("zhao2025")
        loss = zhao.loss(**zhao.variables(model, train_tokens=TOKENS)) + coarse_is_worse * np.log2(8 / split)
        rows.append(
            {
                "architecture": json.dumps(model.to_dict()),
                "train_tokens": TOKENS,
                "loss": loss * np.exp(0.002 * draw.standard_normal()),
            }
        )
    return moewright.runs.prepare(pd.DataFrame(rows))


def pair() -> tuple[Architecture, Architecture]:
    """Fine and coarse experts at equal total and active parameters, twice as wide as the largest run."""
    size = {"hidden_size": 2048, "num_layers": 12, "shared_size": 0}
    fine = {**size, "num_experts": 64, "top_k": 8, "expert_size": 512}
    coarse = {**size, "num_experts": 8, "top_k": 1, "expert_size": 4096}
    one, other = (architecture({key: np.array([n]) for key, n in each.items()}, 0) for each in (fine, coarse))
    return one, other


def test_runs_decide_what_laws_leave_open() -> None:
    fine, coarse = pair()
    assert laws.judge(fine, coarse, train_tokens=TOKENS).better is None
    told = laws.judge(fine, coarse, train_tokens=TOKENS, law=QUICK, own=small_runs(24, 0.03))
    assert told.better == "first"
    assert told.own is not None
    assert told.own.probability is not None
    assert told.own.probability >= SURE
    assert told.reason.startswith("your 24 runs say the first with probability")
    assert told.low is not None
    assert told.high is not None
    assert told.low < (told.mean or 0.0) < 0
    designs = [ComparedDesigns(model, TOKENS) for model in (fine, coarse)]
    belief = ask_own_runs(small_runs(24, 0.03), designs, QUICK)
    assert belief.opinion(0, 1) == told.own
    turned = laws.judge(coarse, fine, train_tokens=TOKENS, law=QUICK, own=belief.of(1, 0))
    assert turned.better == "second"
    assert turned.own is not None
    assert turned.own.probability == pytest.approx(1 - told.own.probability, abs=1e-6)


def test_runs_that_contradict_all_laws_leave_it_open() -> None:
    """More experts of one size: all laws agree; runs in which each doubling costs .05 nats say otherwise."""
    size = {"hidden_size": 1024, "num_layers": 12, "shared_size": 0, "top_k": 1, "expert_size": 2048}
    few, many = (
        architecture({key: np.array([n]) for key, n in {**size, "num_experts": experts}.items()}, 0)
        for experts in (8, 64)
    )
    assert laws.judge(few, many, train_tokens=TOKENS, law=AGREEING).better == "second"
    rows = []
    draw = np.random.default_rng(1)
    for experts in (2, 4, 8, 16, 32, 64) * 4:
        sizes = {**size, "hidden_size": 128 * int(draw.integers(4, 9)), "num_layers": 8, "num_experts": experts}
        model = architecture({key: np.array([n]) for key, n in sizes.items()}, 0)
        loss = 3.5 + 0.05 * np.log2(experts) - 0.1 * np.log(sizes["hidden_size"] / 512)
        rows.append(
            {
                "architecture": json.dumps(model.to_dict()),
                "train_tokens": TOKENS,
                "loss": loss * np.exp(0.001 * draw.standard_normal()),
            }
        )
    told = laws.judge(few, many, train_tokens=TOKENS, law=AGREEING, own=moewright.runs.prepare(pd.DataFrame(rows)))
    assert told.better is None
    assert "all 2 laws that may judge it agree, beyond noise, but your 24 runs say the first" in told.reason


def test_a_handful_of_runs_and_runs_of_no_pattern_are_not_heard() -> None:
    fine, coarse = pair()
    few = laws.judge(fine, coarse, train_tokens=TOKENS, law=QUICK, own=small_runs(7, 0.03))
    assert (few.better, few.own is not None and few.own.heard) == (None, False)
    assert "7 runs; 8 are needed" in few.reason
    with pytest.raises(UserError, match="no finished run has a loss"):
        laws.judge(fine, coarse, train_tokens=TOKENS, own=small_runs(8, 0.0).assign(status="failed"))
    bare = small_runs(8, 0.0)
    with pytest.raises(UserError, match="no column loss"):
        laws.judge(fine, coarse, train_tokens=TOKENS, own=bare.drop(columns="loss"))
    with pytest.raises(UserError, match="1 finished runs have no expert_size"):
        laws.judge(
            fine, coarse, train_tokens=TOKENS, own=bare.assign(expert_size=bare["expert_size"].where(bare.index > 0))
        )
    noise = small_runs(24, 0.0)
    noise["loss"] = np.random.default_rng(0).uniform(2.5, 4.5, len(noise))
    assert laws.judge(fine, coarse, train_tokens=TOKENS, law=QUICK, own=noise).better is None


def test_a_run_that_is_there_twice_is_heard_once() -> None:
    """However often: eight copies would be eight times as sure."""
    runs, designs = small_runs(12, 0.0), [ComparedDesigns(model, TOKENS) for model in pair()]
    once, often = (ask_own_runs(pd.concat([runs] * copies), designs, AGREEING) for copies in (1, 8))
    assert often.runs == 12
    assert often.opinion(0, 1) == once.opinion(0, 1)


def test_verdicts_and_runs_are_combined_by_one_rule() -> None:
    direction = np.array([0, 0, 0, -1, -1, -1, 1, 1, 1], dtype=np.int8)
    probability = np.array([0.5, 0.97, 0.03, 0.97, 0.5, 0.03, 0.03, 0.5, 0.97])
    assert combined(direction, probability).tolist() == [0, -1, 1, -1, -1, 0, 1, 1, 0]


@pytest.mark.skipif(not DATA.exists(), reason="the public run tables are not on this machine")
def test_twelve_small_runs_of_other_people_are_right_about_the_larger_ones() -> None:
    """Runs of 336 channels asked about those of 432, trained alike and further apart than noise."""
    table = next(each for each in TABLES if each.name == "slicing_low")
    frame = pd.DataFrame(dict(table.read().columns))
    smallest = frame[frame["hidden_size"] == 336]
    own = smallest.iloc[np.random.default_rng(3).permutation(len(smallest))[:12]]
    larger = frame[frame["hidden_size"] == 432].reset_index(drop=True)
    designs = ComparedDesigns.from_columns({str(name): larger[name].to_numpy() for name in larger})
    found = ask_own_runs(own, [designs], QUICK)
    assert found.belief is not None
    one, other = np.triu_indices(len(larger), 1)
    loss, cell = larger["loss"].to_numpy(), larger["cell"].to_numpy()
    kept = (cell[one] == cell[other]) & (np.abs(loss[one] - loss[other]) > table.noise)
    one, other = one[kept], other[kept]
    verdict = combined(np.zeros(len(one), dtype=np.int8), found.probabilities(one, other))
    decided = verdict != 0
    assert decided.mean() > 0.05
    assert (verdict == np.sign(loss[one] - loss[other]))[decided].mean() > 0.9


def test_predict_takes_own_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    small_runs(24, 0.03).to_parquet(tmp_path / "mine.parquet")
    for model, name in zip(pair(), ("fine", "coarse"), strict=True):
        (tmp_path / f"{name}.json").write_text(json.dumps(model.to_dict()))
    line = ("predict", str(tmp_path / "fine.json"), str(tmp_path / "coarse.json"), "--train-tokens", "20B")
    mine = ("--own", str(tmp_path / "mine.parquet"), "--law", "krajewski2024", "--law", "clark2022")
    code, out, _ = run(capsys, *line, *mine)
    assert code == 0
    assert "fine is better than coarse" in out.replace("\n", " ")
    assert "Your runs, first less second: -" in out
    code, out, _ = run(capsys, *line, *mine, "--json")
    assert (code, json.loads(out)["pairs"][0]["own"]["heard"]) == (0, True)
    code, out, err = run(capsys, *line[:2], *line[3:], *mine)
    assert (code, out) == (2, "")
    assert "give two configs or more" in err
