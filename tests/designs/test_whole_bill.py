"""Size and tokens for the whole bill, and the runs that would settle the largest doubt."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq

import moewright
from moewright.architecture.counts import active_params
from moewright.designs.candidates import Candidates, build_design
from moewright.designs.costs import design_costs
from moewright.designs.preference import order_undecided
from moewright.designs.result import Designs
from moewright.designs.space import Space
from moewright.designs.vicinity import trained_with
from moewright.designs.whole_bill import LEAST_TRAINING, MOST_TRAINING, open_at_every_size
from moewright.laws.selection.belief import NOISE
from moewright.report.design_tables import answer_lines

SPACE = Space(widths=(1024, 2048, 2560), depths=(16, 20, 32), experts=(64, 128), top_k=(4, 8), dense_first=(0,))
BUDGETS: dict[str, Any] = {"memory": "80GB", "active_params": "3B", "train_tokens": "2T", "space": SPACE, "top": 1}


@pytest.fixture(scope="module")
def billed() -> Designs:
    return moewright.design(**BUDGETS, serve_tokens="20T", price="H100=2.5", train_devices=256)


def bill_by_hand(answer: Designs, design: Candidates) -> tuple[float, float]:
    """(tokens, bill) of one design, by root finding on problems that differ in the training, and a built model."""
    budgets = answer.budgets
    readings = [r for r in answer.choice.hearing.readings if any(v.per_token for v in r.inputs)]

    def losses(of: Candidates, tokens: float) -> Any:
        problem = replace(answer.problem, judges=tuple(readings), budgets=trained_with(budgets, tokens))
        return problem.losses(of)[:, 0]

    goal, most = losses(answer.choice.designs.take([0]), 2e12), 2e12 * MOST_TRAINING
    if (losses(design, most) > goal).any():
        return np.inf, np.inf
    wanted = []
    for number in range(len(readings)):

        def at(tokens: float, number: int = number) -> float:
            return float(losses(design, tokens)[number] - goal[number])

        wanted.append(
            2e12 * LEAST_TRAINING
            if at(2e12 * LEAST_TRAINING) <= 0
            else brentq(at, 2e12 * LEAST_TRAINING, most, rtol=1e-9)
        )
    architecture = build_design(design, answer.space, budgets.context)
    costs = design_costs(architecture, max(wanted), budgets, answer.choice.on)
    assert costs.train_money is not None
    assert costs.serve_money is not None
    return max(wanted), sum(float(np.sqrt(low * high)) for low, high in (costs.train_money, costs.serve_money))


def test_the_least_bill_of_all_sizes_and_tokens(billed: Designs) -> None:
    """Designs that are open at some size, one by one: none has a lower bill, and all laws find the chosen as good."""
    found = billed.whole_bill
    assert found is not None
    pool = open_at_every_size(billed.problem, billed.choice)
    by_hand = [bill_by_hand(billed, pool.take([row])) for row in range(0, len(pool), max(len(pool) // 60, 1))]
    tokens, bill = bill_by_hand(billed, found.designs)
    assert tokens == pytest.approx(found.train_tokens, rel=1e-6)
    assert max(found.tokens_by_law.values()) == found.train_tokens
    assert bill <= min(each for _, each in by_hand) * (1 + 1e-9)
    assert found.active_params < billed.designs[0].active_params
    assert found.train_tokens > 2e12
    record = billed.to_dict()["whole_bill"]
    assert record["against_recommended"] == found.against_recommended < 0
    lines = answer_lines(billed)
    assert len(lines) <= 12
    assert all(len(text) <= 80 - 9 for _, text in lines)
    labels = [label for label, _ in lines if label]
    assert labels == ["Build", "Costs", "Against", "Open", "Chosen", "Doubt", "Settle"]
    assert any(text.startswith("as good: ") and f"{found.against_recommended:+.0%}" in text for _, text in lines)
    assert any("whatever the budget of training" in warning for warning in billed.warnings)


def test_every_size_has_its_undecided_designs(billed: Designs) -> None:
    """Against searches with that bound on the active parameters."""
    pool = open_at_every_size(billed.problem, billed.choice)
    rows = {tuple(pool.sizes(row).values()) for row in range(len(pool))}
    for bound in (10**9.3, 10**9.0):
        smaller = moewright.design(**{**BUDGETS, "active_params": bound}).choice
        assert smaller.hearing.laws == billed.choice.hearing.laws
        undecided = smaller.undecided.designs
        assert {tuple(undecided.sizes(row).values()) for row in range(len(undecided))} <= rows


def test_more_serving_chooses_less_active_parameters() -> None:
    sizes = []
    for tokens in ("1B", "1T", "100T"):
        found = moewright.design(**BUDGETS, serve_tokens=tokens).whole_bill
        assert found is not None
        sizes.append(found.active_params)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]
    assert moewright.design(**BUDGETS).whole_bill is None
    assert moewright.design(**BUDGETS, law="clark2022", serve_tokens="1T").whole_bill is None  # it sees no tokens


def test_the_runs_that_settle_are_about_what_would_be_chosen_otherwise() -> None:
    """With a loss higher by as much as is said the other design is chosen, with less it is not."""
    answer = moewright.design(**BUDGETS, baseline="qwen3-30b-a3b")
    found, choice = answer.settling, answer.choice
    assert found is not None
    assert found.axis == "num_layers"
    few = choice.undecided.designs.num_layers < found.second.num_layers
    for factor, is_other in ((0.99, False), (1.01, True)):
        worse = replace(choice.undecided, losses=choice.undecided.losses + np.where(few, factor * found.nats, 0.0))
        again = order_undecided(answer.problem, worse, choice.hearing, choice.prefer, choice.worth, choice.on)
        assert (again.designs.sizes(0) == found.second.to_dict()) == is_other
    first = answer.designs[0]
    loss = np.mean([first.predicted_loss[law] for law in choice.hearing.laws])
    # The mean of so many differences of two runs, each with noise, is told from nothing with 95 %.
    assert 1.645 * NOISE * loss * np.sqrt(2 / found.seeds) <= found.nats
    assert found.active_params == pytest.approx(active_params(first.architecture) / 32)
    assert found.train_flops == pytest.approx(2 * found.seeds * 6 * found.active_params * found.train_tokens)
    assert found.device_hours[1] == pytest.approx(found.train_flops / 989.4e12 / 0.18 / 3600, rel=0.01)
    assert answer.to_dict()["settle"]["second"] == found.second.to_dict()


def test_without_a_doubt_about_layers_the_next_mixture_is_tried() -> None:
    answer = moewright.design(**BUDGETS, baseline="olmoe-1b-7b")
    found = answer.settling
    assert found is not None
    assert found.axis == "mixture"
    assert found.second.to_dict() == answer.choice.designs.sizes(1)
    more = answer.choice.worth.of_more_training
    assert more is not None
    assert found.nats >= more
    plans = Space.model_validate({**SPACE.to_dict(), "kv_dtype": ["asked", "fp8"]})
    formats = moewright.design(**{**BUDGETS, "space": plans}, baseline="olmoe-1b-7b")
    assert formats.designs[0].layer_plan.cache == "fp8"
    assert formats.settling is not None
    assert formats.settling.axis == "mixture"  # formats are chosen after training
    plans = Space.model_validate({**SPACE.to_dict(), "attention": ["grouped", "latent"]})
    answer = moewright.design(**{**BUDGETS, "space": plans})
    about, more = answer.settling, answer.choice.worth.of_more_training
    assert about is not None
    assert about.axis == "layer_plan"
    assert more is not None
    assert about.nats >= more
    assert moewright.design(**BUDGETS, law="krajewski2024").settling is None  # none may judge
