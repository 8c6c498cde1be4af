"""Size and tokens for the whole bill, and the runs that would settle the largest doubt."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq

import moewright
from moewright.architecture.counts import active_params
from moewright.designs.candidates import Candidates, build_design
from moewright.designs.costs import design_costs, middle_of_bill
from moewright.designs.preference import order_undecided
from moewright.designs.result import Designs
from moewright.designs.space import Space
from moewright.designs.vicinity import trained_with
from moewright.designs.whole_bill import LEAST_TRAINING, MOST_TRAINING, open_at_every_size
from moewright.errors import UserError
from moewright.laws.selection.belief import NOISE
from moewright.report.design_figures import mixture_grid
from moewright.report.design_folder import write_designs
from moewright.report.design_tables import answer_lines
from moewright.report.page.page_sources import read_sources
from moewright.report.page.sections.what_if_section import what_if_blocks
from tests.designs import brute_force
from tests.designs.test_branch_and_bound import PUBLISHED, of_row, random_question

SPACE = Space(widths=(1024, 2048, 2560), depths=(16, 20, 32), experts=(64, 128), top_k=(4, 8), dense_first=(0,))
WIDE = Space(widths=(2048, 3072, 4096), depths=(24, 32), experts=(16, 64, 128), top_k=(4, 8), dense_first=(0,))
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
    assert record["against_asked"] == found.against_asked < 0
    lines = answer_lines(billed)
    assert len(lines) <= 12
    assert all(len(text) <= 80 - 9 for _, text in lines)
    labels = [label for label, _ in lines if label]
    assert labels == ["Build", "Costs", "Against", "Open", "Chosen", "Doubt", "Settle"]
    assert not found.chosen
    assert any(text.startswith("with --prefer bill") and f"{found.against_asked:+.0%}" in text for _, text in lines)
    kept = "the answer keeps the training tokens and active parameters that you gave, --prefer bill takes it"
    assert any(warning.endswith(kept) for warning in billed.warnings)


@pytest.mark.parametrize("seed", range(24))
def test_the_chosen_size_and_tokens_are_those_of_a_plain_loop(seed: int) -> None:
    """Random small spaces, against a loop over specs that shares no code with the search; costs of one built model."""
    r = np.random.default_rng(1000 + seed)
    lists, asked = random_question(r)
    for name in ("weights_dtype", "kv_dtype", "prediction_blocks"):  # formats of a space: tests/designs/test_costs.py
        lists.pop(name, None)
    if "train_flops" in asked and seed % 2:
        asked["active_params"] = None
    laws: tuple[str, ...] = PUBLISHED if seed % 3 else (("zhao2025", "ludziejewski2025", "ling2025")[seed // 3 % 3],)
    if "train_flops" in asked:
        laws = tuple(law for law in laws if law != "clark2022")
    moves, served = bool(seed % 2), float(10 ** r.uniform(9, 14))
    space = Space.model_validate({**lists, "vocab_size": brute_force.VOCABULARY})
    given = {**asked, "context": brute_force.CONTEXT, "batch": 2, "serve_tokens": served, "law": laws, "space": space}
    if not brute_force.tokens_within(lists, asked):
        with pytest.raises(UserError):
            moewright.design(**given)
        return
    answer = moewright.design(**given, prefer="bill" if moves else "balanced", top=1)
    found, choice = answer.whole_bill, answer.choice
    assert found is not None
    first, tokens = of_row(choice.designs, 0), answer.asked.train_tokens

    def bill(sizes: brute_force.Sizes, amount: float) -> float:
        whole = design_costs(brute_force.spec(sizes), amount, answer.budgets, choice.on).whole_bill
        assert whole is not None
        return sum(float(np.sqrt(low * high)) for low, high in whole)

    readings = [(judge.name, judge.reading) for judge in choice.hearing.readings]
    expected = brute_force.least_bill(lists, asked, readings, (first, tokens), bill, choice.hearing.may_judge)
    ours = bill(first, tokens)
    assert found.chosen == (moves and expected[0] / ours <= 0.95)
    assert found.against_asked == pytest.approx(expected[0] / ours - 1, abs=1e-6)
    if found.saves:
        assert found.train_tokens == pytest.approx(expected[1], rel=1e-6)
        assert bill(of_row(found.designs, 0), found.train_tokens) == pytest.approx(expected[0], rel=1e-6)
    if found.chosen:
        assert answer.designs[0].sizes == found.designs.sizes(0)
        assert answer.designs[0].train_tokens == found.train_tokens
        assert answer.designs[1].sizes == choice.designs.sizes(0)


def test_every_size_has_its_undecided_designs(billed: Designs) -> None:
    """Against searches with that bound on the active parameters."""
    pool = open_at_every_size(billed.problem, billed.choice)
    rows = {tuple(pool.sizes(row).values()) for row in range(len(pool))}
    for bound in (10**9.3, 10**9.0):
        smaller = moewright.design(**{**BUDGETS, "active_params": bound}).choice
        assert smaller.hearing.laws == billed.choice.hearing.laws
        undecided = smaller.undecided.designs
        assert {tuple(undecided.sizes(row).values()) for row in range(len(undecided))} <= rows


def test_more_serving_chooses_fewer_active_parameters_and_more_training() -> None:
    """As Sardana et al. find (arXiv 2401.00448, figure 1), of the design that is recommended."""
    answers = [moewright.design(**BUDGETS, serve_tokens=tokens, prefer="bill") for tokens in ("1B", "1T", "100T")]
    sizes, tokens = ([getattr(each.designs[0], name) for each in answers] for name in ("active_params", "train_tokens"))
    assert sizes == sorted(sizes, reverse=True)
    assert tokens == sorted(tokens)
    assert sizes[-1] < sizes[0]
    assert tokens[-1] > tokens[0]
    assert moewright.design(**BUDGETS).whole_bill is None
    assert moewright.design(**BUDGETS, law="clark2022", serve_tokens="1T").whole_bill is None  # it sees no tokens


def test_the_answer_moves_where_it_was_asked_to(tmp_path: Path) -> None:
    """The same design as is offered without; the asked answer is the second, and all is said of the right one."""
    given = {**BUDGETS, "serve_tokens": "20T", "price": "H100=2.5"}
    asked, moved = moewright.design(**given), moewright.design(**given, prefer="bill", explain=True)
    offered, first = asked.whole_bill, moved.designs[0]
    assert offered is not None
    assert moved.moved is not None
    assert first.sizes == offered.designs.sizes(0)
    assert first.train_tokens == offered.train_tokens > 2e12
    assert moved.asked.sizes == asked.designs[0].sizes
    assert moved.asked.predicted_loss == asked.designs[0].predicted_loss
    for law in offered.tokens_by_law:
        assert first.predicted_loss[law] <= asked.designs[0].predicted_loss[law] + 1e-9
    bills = [float(np.sum(middle_of_bill(d.costs.whole_bill or ((0, 0), (0, 0))))) for d in (first, moved.asked)]
    assert bills[0] / bills[1] - 1 == pytest.approx(offered.against_asked)
    assert moved.asked.score == pytest.approx(np.log(bills[1] / bills[0]))
    assert first.score == 0
    record = moved.to_dict()
    assert record["recommended"]["prefer"] == "bill"
    assert record["whole_bill"]["chosen"]
    assert record["designs"][0]["train_tokens"] == record["whole_bill"]["train_tokens"]
    assert record["designs"][0]["architecture"] == first.architecture.to_dict()
    assert record["settle"] is None
    assert max(offered.against_by_law.values()) == pytest.approx(offered.against_asked)
    lines = answer_lines(moved)
    assert len(lines) <= 12
    assert all(len(text) <= 80 - 9 for _, text in lines)
    assert any(text.startswith(f"bill {offered.against_asked:+.0%} against asked 128") for _, text in lines)
    assert record["recommended"]["reasons"][0].startswith("of all sizes and tokens that zhao2025, ")
    assert all(reason.startswith("of design 2: ") for reason in record["recommended"]["reasons"][1:])
    folder = write_designs(moved, tmp_path / "designs")
    (source,) = read_sources([folder])
    assert "--prefer bill" in source.command
    assert sorted(place.name for place in folder.glob("design-*")) == ["design-01", "design-02"]
    (block,) = what_if_blocks([source])
    assert "that was asked for, design 2 above" in block.html
    for options in ({"prefer": "bill"}, {"prefer": "bill", "serve_tokens": "1T", "own": pd.DataFrame()}):
        with pytest.raises(UserError, match="prefer: "):
            moewright.design(**BUDGETS, **options)


def test_a_training_that_is_left_open_is_that_of_the_model() -> None:
    """As with its tokens and `--prefer bill`; a model whose publisher states none leaves nothing to reach."""
    given: dict[str, Any] = {"like": "phi-3.5-moe", "serve_tokens": "20T", "space": WIDE, "top": 1}
    left, asked = moewright.design(**given), moewright.design(**given, train_tokens="4.9T", prefer="bill")
    assert left.moved is not None
    assert asked.moved is not None
    assert left.designs[0].sizes == asked.designs[0].sizes
    assert left.designs[0].train_tokens == asked.designs[0].train_tokens > 4.9e12
    assert left.designs[0].active_params <= asked.budgets.active_params
    assert left.warnings[0] == "train-tokens: none were asked for; phi-3.5-moe's 4.9T set the loss"
    assert left.to_dict()["recommended"]["prefer"] == "bill"
    with pytest.raises(UserError, match="exactly one of them sets the training, none was given"):
        moewright.design(like="mixtral-8x7b", serve_tokens="20T")
    with pytest.raises(UserError, match="none was given"):
        moewright.design(like="olmoe-1b-7b")
    with pytest.raises(UserError, match="the whole bill chooses"):
        moewright.design(like="olmoe-1b-7b", serve_tokens="2T", prefer="train")
    # A mixture that is undecided at no asked training is in the map too.
    apart = moewright.design(memory="80GB", train_tokens="2T", serve_tokens="5T", prefer="bill")
    assert apart.designs[0].sizes["num_experts"] not in apart.choice.designs.num_experts
    listed = [number for numbers in mixture_grid(apart).listed.values() for number in numbers]
    assert sorted(listed) == [*range(1, len(apart.designs) + 1)]


def test_too_many_open_designs_are_a_line_of_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moewright.designs.whole_bill.MOST_POOL", 10)
    answer = moewright.design(**BUDGETS, serve_tokens="5T")
    assert answer.whole_bill is None
    assert any("too many open" in text for _, text in answer_lines(answer))
    assert any("other sizes and tokens were not compared" in warning for warning in answer.warnings)
    assert answer.to_dict()["whole_bill_refusal"].startswith("space: some ")


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
