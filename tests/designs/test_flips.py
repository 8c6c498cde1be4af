"""What flips the answer: each changed assumption against the design run that makes the same assumption."""

from dataclasses import replace
from io import StringIO
from typing import Any, cast

import numpy as np
import pytest

import moewright
from moewright.designs.branch_and_bound import FeasibleSet, search_problem
from moewright.designs.flips import READINGS, find_flips, wider_spaces
from moewright.designs.groups import groups_of
from moewright.designs.preference import PREFERENCES, choose_design, order_undecided
from moewright.designs.result import Designs
from moewright.designs.rules import RULES
from moewright.designs.space import Space
from moewright.report.design_tables import answer_lines, print_designs
from moewright.screen import Screen

SPACE = Space(widths=(2048, 2560), depths=(20, 24, 32), experts=(64, 128), top_k=(4, 8), dense_first=(0,))
BUDGETS = {"memory": "80GB", "active_params": "3B", "train_tokens": "2T", "space": SPACE, "top": 1}


@pytest.fixture(scope="module")
def answer() -> Designs:
    return moewright.design(**BUDGETS, explain=True)  # type: ignore[call-overload,no-any-return]


def test_each_flip_is_the_answer_to_the_changed_question(answer: Designs) -> None:
    """Against whole runs without a law, with a wider rule and with another preference."""
    flips = {flip.assumption: dict(flip.sizes) for flip in answer.flips.found}
    heard = answer.choice.hearing.laws
    without = moewright.design(**BUDGETS, law=heard[1:])  # type: ignore[call-overload]
    assert flips[f"without {heard[0]}"] == without.designs[0].sizes
    spaces = {rule: wider for rule, wider, _ in wider_spaces(SPACE)}
    assert len(spaces) >= len(RULES)
    for rule in list(spaces)[:: len(spaces) // 2]:
        wider = moewright.design(**{**BUDGETS, "space": spaces[rule]})  # type: ignore[call-overload]
        assert flips[rule] == wider.designs[0].sizes
    for prefer in PREFERENCES[1:3]:
        preferred = moewright.design(**BUDGETS, prefer=prefer)  # type: ignore[call-overload]
        assert flips[f"prefer {prefer}"] == preferred.designs[0].sizes
    for words in READINGS.values():
        assert words in flips


@pytest.mark.parametrize("plans", [{}, {"window": (0, 128), "weights_dtype": ("asked", "int4")}])
def test_what_a_wider_rule_adds_is_all_that_is_searched(plans: dict[str, Any]) -> None:
    """Every rule at each end: the same undecided designs and choice as a search of the whole wider space."""
    space = Space.model_validate({**SPACE.to_dict(), **plans})
    answer = moewright.design(**{**BUDGETS, "space": space})  # type: ignore[call-overload]
    flips = {flip.assumption: flip for flip in find_flips(answer.problem, answer.within, answer.choice).found}
    bands = wider_spaces(space)
    assert sum(added != wider for _, wider, added in bands) > len(bands) / 2
    for rule, wider, _ in bands:
        problem = search_problem(groups_of(wider), answer.budgets, answer.problem.judges)
        within = FeasibleSet(problem)
        whole = choose_design(problem, within, answer.choice.prefer)
        assert dict(flips[rule].sizes) == whole.designs.sizes(0), rule
        assert flips[rule].undecided == len(whole.undecided.designs), rule


def test_ends_at_which_no_space_is_wider_are_left_out() -> None:
    """The least expert size is one step, a ratio is as large as it may be, and a share is all."""
    space = Space(least_expert_size=64, most_width_over_depth=1e6, most_experts_share=1.0, least_active_over_total=0.0)
    names = [name for name, *_ in wider_spaces(space)]
    usual = [name for name, *_ in wider_spaces(Space())]
    for end in ("expert size from", "width/layers to", "experts' share of active to", "active/total from"):
        assert any(name.startswith(end) for name in usual)
        assert not any(name.startswith(f"{end} ") for name in names)
    assert "width to 8704" in usual


def test_a_flip_says_what_the_answer_loses_there(answer: Designs) -> None:
    first = answer.designs[0].sizes
    for flip in answer.flips.found:
        if not flip.changed(first):
            assert flip.loses == pytest.approx(0, abs=1e-12)
        else:
            assert flip.loses is None or flip.loses >= 0
    found = answer.to_dict()["flips"]
    assert [each["assumption"] for each in found] == [flip.assumption for flip in answer.flips.found]
    assert moewright.design(**BUDGETS).to_dict()["flips"] is None  # type: ignore[call-overload]
    assert len(answer_lines(answer)) <= 12


def test_an_assumption_that_leaves_too_many_open_is_said(answer: Designs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is either answered or named, in the record and in print."""
    every = {flip.assumption for flip in answer.flips.found}
    monkeypatch.setattr("moewright.designs.undecided.MOST_OPEN", 3)
    again = replace(answer)  # flips are found when they are asked for
    named = {flip.assumption for flip in again.flips.found} | set(again.flips.left_out)
    assert named == every
    assert "without zhao2025" in again.flips.left_out
    assert "prefer train" not in again.flips.left_out
    screen = Screen(file=StringIO(), width=80)
    print_designs(screen, again)
    printed = " ".join(cast(StringIO, screen.file).getvalue().split())
    assert "Not searched: without zhao2025: space: some" in printed
    assert again.to_dict()["left_out"].keys() == {"principle slicing", *again.flips.left_out}
    assert "…" not in printed[printed.index("What flips the answer") : printed.index("The answer stands")]


def test_prices_flip_a_whole_bill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moewright.designs.flips.wider_spaces", lambda _: ())
    answer = moewright.design(**BUDGETS, serve_tokens="5T", price="H100=2", explain=True)  # type: ignore[call-overload]
    names = [flip.assumption for flip in answer.flips.found]
    assert "the price of serving -20%" in names
    assert "prefer train" not in names


def test_deleting_designs_that_are_not_chosen_changes_nothing(answer: Designs) -> None:
    """Two hundred random deletions among the undecided designs."""
    choice, r = answer.choice, np.random.default_rng(5)
    first = choice.designs.sizes(0)
    designs = choice.undecided.designs
    chosen = np.logical_and.reduce([getattr(designs, name) == size for name, size in first.items()])
    for _ in range(200):
        kept = chosen | (r.random(len(designs)) < r.random())
        fewer = replace(choice.undecided, designs=designs.take(kept), losses=choice.undecided.losses[:, kept])
        again = order_undecided(answer.problem, fewer, choice.hearing, choice.prefer, choice.worth, choice.on)
        assert again.designs.sizes(0) == first
    assert choose_design(answer.problem, answer.within, choice.prefer).designs.sizes(0) == first
