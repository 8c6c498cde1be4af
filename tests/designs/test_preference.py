"""What evidence decides, what it leaves open, what cost decides there, and the baseline beside it."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import moewright
from moewright import UserError
from moewright.architecture.counts import active_params, total_params
from moewright.designs.branch_and_bound import FeasibleSet, SearchProblem, search_problem
from moewright.designs.budgets import make_budgets
from moewright.designs.candidates import Candidates, columns, join
from moewright.designs.groups import groups_of
from moewright.designs.judges import choose_judges
from moewright.designs.preference import PREFERENCES, Preference, choose_design
from moewright.designs.result import Designs
from moewright.designs.space import Space
from moewright.hf import load_architecture
from moewright.laws import ComparedDesigns, judge_columns
from moewright.report.design_tables import answer_lines

SMALL = Space(
    widths=(1536, 2048, 2560),
    depths=(20, 24, 32, 40),
    experts=(64, 128, 256),
    top_k=(4, 8),
    shared_experts=(0, 1),
    dense_first=(0,),
)
BUDGETS = {"memory": "80GB", "active_params": "3B", "train_tokens": "2T"}


def searched(space: Space, asked: dict[str, Any]) -> tuple[SearchProblem, FeasibleSet]:
    """The search of a space under budgets."""
    budgets = make_budgets(asked)
    problem = search_problem(groups_of(space), budgets, choose_judges(None, budgets))
    return problem, FeasibleSet(problem)


@pytest.fixture(scope="module")
def answer() -> Designs:
    return moewright.design(**BUDGETS, top=3)  # type: ignore[call-overload,no-any-return]


def test_verdicts_are_those_of_laws_judge() -> None:
    """Whoever is not undecided is beaten by one that is; by the rule of `laws.judge` nothing undecided is beaten by the
    recommended design, unless it has the same expansion, about which krajewski2024 is heard too."""
    problem, within = searched(SMALL, BUDGETS)
    choice = choose_design(problem, within, "balanced")
    undecided = choice.undecided.designs
    everything = join([ranges.groups for ranges in within] + [ranges.widest for ranges in within])

    def compared(designs: Candidates) -> ComparedDesigns:
        return ComparedDesigns(columns(designs, problem.space.vocab_size), 2e12)

    open_ones = {tuple(undecided.sizes(row).values()) for row in range(len(undecided))}
    ruled_out = [r for r in range(len(everything)) if tuple(everything.sizes(r).values()) not in open_ones]
    assert len(ruled_out) > 100
    some = everything.take(np.random.default_rng(0).choice(ruled_out, 60, replace=False))
    for row in range(len(some)):
        verdicts = judge_columns(compared(undecided), compared(some.take([row])))
        assert (verdicts.direction == -1).any()  # an undecided one is better
        assert not (verdicts.direction == 1).any()
    of_first = judge_columns(compared(choice.designs.take([0])), compared(undecided))
    assert not of_first.decided[of_first.differs["expansion"]].any()


@pytest.mark.parametrize("prefer", PREFERENCES)
def test_removing_designs_that_are_not_chosen_does_not_change_the_choice(prefer: Preference) -> None:
    """Random values of every axis are removed, but for the chosen design's own: eight times for each preference."""
    r = np.random.default_rng(3)
    problem, within = searched(SMALL, BUDGETS)
    first = choose_design(problem, within, prefer).designs.sizes(0)
    axes = {"widths": "hidden_size", "depths": "num_layers", "experts": "num_experts", "top_k": "top_k"}
    for _ in range(8):
        fewer = {
            axis: tuple(v for v in getattr(SMALL, axis) if v == first[size] or r.random() < 0.5)
            for axis, size in axes.items()
        }
        narrowed = SMALL.model_copy(update=fewer)
        assert choose_design(*searched(narrowed, BUDGETS), prefer).designs.sizes(0) == first


def test_preferences_choose_among_the_same_designs() -> None:
    problem, within = searched(SMALL, BUDGETS)
    choices = {prefer: choose_design(problem, within, prefer) for prefer in PREFERENCES}
    assert len({len(choice.undecided.designs) for choice in choices.values()}) == 1
    means = {name: choice.hearing.mean_by_law(choice.undecided.losses).min() for name, choice in choices.items()}
    assert len(set(means.values())) == 1
    first = {name: choice.designs.take([0]) for name, choice in choices.items()}
    heard = replace(problem, judges=choices["loss"].hearing.readings)
    loss = {name: choices["loss"].hearing.mean_by_law(heard.losses(d)) for name, d in first.items()}
    assert min(loss.values()) == loss["loss"]
    with pytest.raises(UserError, match="prefer"):
        moewright.design(**BUDGETS, prefer="cheap")  # type: ignore[call-overload]


def test_a_baseline_stands_beside_the_answer(answer: Designs) -> None:
    baseline, first = answer.baseline, answer.designs[0]
    assert not baseline.named
    assert baseline.scaled is not None
    assert baseline.scaled.within_budgets
    assert active_params(baseline.scaled.architecture) <= 3e9
    built = load_architecture(baseline.name).architecture
    assert baseline.as_built.total_params == total_params(built)
    record = json.loads(json.dumps(answer.to_dict()))["baseline"]
    against = record["as_built"]["design_against_it"]
    middle = [np.sqrt(np.prod(one.train_device_hours)) for one in (first.costs, baseline.as_built.costs)]
    assert against["train_device_hours"] == pytest.approx(middle[0] / middle[1] - 1)
    assert against["memory_bytes"] == pytest.approx(first.memory_bytes / baseline.as_built.memory_bytes - 1)
    verdict = moewright.laws.judge(first.architecture, built, train_tokens=2e12)
    assert against["loss"]["better"] == verdict.better
    assert against["loss"]["decided"] == verdict.decided
    named = moewright.design(**BUDGETS, baseline="gpt-oss-20b", top=1)  # type: ignore[call-overload]
    assert (named.baseline.name, named.baseline.named) == ("gpt-oss-20b", True)
    assert named.designs[0].sizes == first.sizes
    with pytest.raises(UserError, match=r"^baseline: .* is dense"):
        moewright.design(**BUDGETS, baseline="qwen3-8b")  # type: ignore[call-overload]


def test_the_answer_is_twelve_lines_at_most(answer: Designs) -> None:
    lines = answer_lines(answer)
    assert len(lines) <= 12
    assert all(len(text) <= 80 - 9 for _, text in lines)
    labels = [label for label, _ in lines if label]
    assert labels == ["Build", "Costs", "Against", "Open", "Chosen", "Doubt", "Settle"]
    first = answer.designs[0].sizes
    assert f"{first['num_experts']} experts of {first['expert_size']}, top-{first['top_k']}" in lines[0][1]
    assert f"{answer.undecided.count:,} of {answer.feasible:,}" in dict(lines)["Open"]
    found = answer.to_dict()
    assert found["recommended"]["index"] == 0
    assert found["undecided"]["count"] == answer.undecided.count
    assert found["undecided"]["reasons"].keys() <= found["undecided"]["ranges"].keys()


def test_where_no_law_may_judge_the_answer_says_so() -> None:
    asked = {"total_params": "7B", "active_params": "1.3B", "train_tokens": "5T", "space": SMALL, "top": 1}
    answer = moewright.design(**asked, law="krajewski2024")  # type: ignore[call-overload]
    found = answer.to_dict()
    assert found["undecided"]["confidence"] is None
    assert not found["undecided"]["may_judge"]
    assert found["undecided"]["silent"] == {"krajewski2024": "its runs did not move expansion"}
    assert "no law may judge" in answer.warnings[0]
    assert "none may judge" in answer.reasons()[0]
    lines = dict(answer_lines(answer))
    assert "may not judge" in lines["Open"]
    assert "no law may judge" in lines["Doubt"]
    one = moewright.design(**asked, law="ludziejewski2025")  # type: ignore[call-overload]
    assert one.to_dict()["undecided"]["confidence"] is None  # the back-test speaks of two laws and more
    assert "1 times outside" not in dict(answer_lines(one))["Doubt"]
    two = moewright.design(**asked, law=["ludziejewski2025", "zhao2025"])  # type: ignore[call-overload]
    assert two.to_dict()["undecided"]["confidence"] == 0.98


def test_a_decided_difference_has_its_probability(answer: Designs) -> None:
    for beside in (answer.baseline.as_built, answer.baseline.scaled):
        assert beside is not None
        assert beside.verdict is not None
        assert beside.probability == {None: None, "first": 0.98, "second": pytest.approx(0.02)}[beside.verdict.better]


def test_what_is_not_printed_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError

    for name in ("choose_by_principles", "shadow_prices", "constraint_modes"):
        monkeypatch.setattr(f"moewright.designs.result.{name}", never)
    answer = moewright.design(total_params="7B", train_tokens="5T", space=SMALL, top=1)
    assert answer_lines(answer)
    assert "train_device_hours" in answer._repr_html_()
