"""What is undecided near some budgets, against searching again at each of them; and formulas that were recorded."""

import random
from typing import Any

import numpy as np
import pytest

from moewright.designs.branch_and_bound import FeasibleSet, SearchProblem, search_problem
from moewright.designs.budgets import make_budgets
from moewright.designs.candidates import Candidates, columns
from moewright.designs.dominance import beaten
from moewright.designs.groups import groups_of
from moewright.designs.hearing import hear
from moewright.designs.judges import choose_judges
from moewright.designs.recorded import Program, RecordedColumn, named
from moewright.designs.space import SWITCHED_OFF, Space
from moewright.designs.undecided import undecided_set
from moewright.designs.vicinity import Vicinity, find_vicinity, trained_with

SMALL = Space(widths=(2048, 2560), depths=(16, 24, 32, 40), experts=(32, 64, 128, 256), top_k=(4, 8))
BUDGETS: dict[str, dict[str, Any]] = {
    "memory": {"memory": "80GB", "active_params": "3B", "train_tokens": "2T"},
    # 75 tokens for each active parameter: laws fall silent on the way.
    "silence": {"total_params": "20B", "active_params": "2B", "train_tokens": "150B"},
    "speed": {"hardware": "H100", "decode_tokens_per_second": 60, "time_to_first_token": 3, "train_flops": "1e22"},
}


def at(vicinity: Vicinity, r: random.Random, off: dict[str, float]) -> SearchProblem:
    """The search at random budgets of a vicinity, in its space without some rules."""
    budgets = vicinity.problem.budgets
    ends = vicinity.without_rules if off else vicinity
    assert ends is not None
    for limit, low, high in zip(vicinity.problem.bounds, ends.low, ends.high, strict=True):
        most = r.uniform(low, high)
        value = 1 / most if limit.name == "decode_tokens_per_second" else most
        budgets = budgets.model_copy(update={limit.name: value})
    budgets = trained_with(budgets, r.choice(vicinity.trainings).amount)
    space = Space.model_validate({**SMALL.to_dict(), **off})
    return search_problem(groups_of(space), budgets, vicinity.problem.judges)


def rows(designs: Candidates) -> list[tuple[int, ...]]:
    return sorted(tuple(designs.sizes(row).values()) for row in range(len(designs)))


@pytest.mark.parametrize("name", BUDGETS)
def test_the_carried_designs_hold_every_undecided_set(name: str) -> None:
    """18 random settings of each vicinity: the same laws are heard, and the same designs left, as in a search.

    At two of three rules of the space are off.
    """
    budgets = make_budgets(BUDGETS[name])
    problem = search_problem(groups_of(SMALL), budgets, choose_judges(None, budgets))
    vicinity = find_vicinity(problem)
    assert vicinity is not None
    assert vicinity.without_rules is not None
    without = vicinity.without_rules
    r = random.Random(3)
    lost = breaking = 0
    for turn in range(18):
        off = {rule: SWITCHED_OFF[rule] for rule in without.rules if turn % 3 and r.random() < 0.5}
        other = at(vicinity, r, off)
        within = FeasibleSet(other)
        hearing = hear(other, within)
        amount = getattr(other.budgets, other.budgets.training)
        place = [training.amount for training in vicinity.trainings].index(amount)
        training = vicinity.trainings[place]
        most = np.array([limit.most for limit in other.bounds])
        silent = {law for law, costs in training.falls_silent.items() if (costs <= most[:, None]).all(axis=0).any()}
        silent |= {
            law
            for law, by_rules in without.falls_silent[place].items()
            for rules, costs in by_rules.items()
            if rules <= set(off) and (costs <= most[:, None]).all(axis=0).any()
        }
        lost += bool(silent)
        assert set(hearing.laws) == set(training.hearing.laws) - silent
        if within.designs:
            designs = vicinity.all_designs
            counted = columns(designs, SMALL.vocab_size)
            fits = np.all(
                [np.asarray(limit.cost(counted, other.budgets.served)) <= limit.most for limit in other.bounds], axis=0
            )
            bits = sum(1 << without.rules.index(rule) for rule in off)
            fits &= np.concatenate([np.zeros(len(vicinity.designs), dtype=np.int64), without.breaks]) & ~bits == 0
            breaking += int(fits[len(vicinity.designs) :].sum())
            carried = designs.take(fits)
            losses = SearchProblem(other.groups, other.budgets, hearing.readings, other.bounds).losses(carried)
            assert rows(carried.take(~beaten(losses, losses))) == rows(undecided_set(other, within, hearing).designs)
    assert lost or name != "silence"
    assert breaking


def run(program: Program, given: dict[str, Any]) -> list[Any]:
    """The steps of a program, by numpy."""
    found: list[Any] = []
    for name, *arguments in program.steps:
        if name == "given":
            found.append(given[arguments[0]])
        elif name == "number":
            found.append(arguments[0])
        elif name == "column":
            found.append(program.carried[arguments[0]])
        else:
            found.append(getattr(np, name)(*(found[step] for step in arguments)))
    return found


def test_a_recorded_formula_is_computed_again() -> None:
    a, b = np.array([1.5, 4.0, 9.0]), np.array([2, 3, 4])
    x, y = named("a", a), named("b", b)
    wanted = [
        (x + 0 * y) ** 2 * np.maximum(y, 3) - np.log(x) / np.exp(-x),
        1 / x + x**0.5 + np.reciprocal(x),
        np.asarray(x) + y,  # leaves the record
        x * (y > 2) + np.ones_like(x),
        np.float64(7.0) * y,
    ]
    assert all(isinstance(value, RecordedColumn) for value in wanted)
    program = Program()
    steps = [program.add(value) for value in wanted]
    found = run(program, {"a": a, "b": b})
    for value, step in zip(wanted, steps, strict=True):
        np.testing.assert_array_equal(found[step], value.view(np.ndarray))
    assert [values.tolist() for values in program.carried] == [a.tolist()]
    before = len(program.steps)
    program.add(named("a", a) * 1.0 + 0.0)
    assert len(program.steps) == before
