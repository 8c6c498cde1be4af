"""What designs cost: the layout and price that `plan` finds, bills of a whole life, and the devices that are meant."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import moewright
from moewright.designs.budgets import make_budgets
from moewright.designs.costs import costed_on, finalist_costs
from moewright.designs.preference import whole_bill_at_equal_loss
from moewright.designs.space import Space
from moewright.errors import UserError
from moewright.hardware import decode_tokens_per_second, load_device, memory_per_device
from moewright.hf import load_architecture
from moewright.report.design_tables import answer_lines
from tests.test_cli import run

SPACE = Space(widths=(2048, 2560), depths=(20, 24, 32), experts=(64, 128), top_k=(4, 8), dense_first=(0,))
BUDGETS = {"memory": "80GB", "active_params": "3B", "train_tokens": "2T"}


def test_a_named_cluster_is_laid_out_and_priced_as_plan_does() -> None:
    answer = moewright.design(**BUDGETS, space=SPACE, top=1, train_devices=64, price={"h100": 2.5})  # type: ignore[call-overload]
    costs = answer.to_dict()["designs"][0]["costs"]
    planned = moewright.plan(
        answer.designs[0].architecture, hardware="H100", devices=64, train_tokens="2T", price={"H100": 2.5}
    ).to_dict()["layouts"][0]
    assert costs["train_device_hours"] == planned["cost"]["device_hours"]
    assert costs["train_money"] == pytest.approx(planned["cost"]["money"])
    assert costs["train_days"] == pytest.approx([hours / 64 / 24 for hours in costs["train_device_hours"]])
    assert f"tp={planned['tp']},pp={planned['pp']},ep={planned['ep']}" in costs["train_layout"]
    assert answer.to_dict()["baseline"]["as_built"]["design_against_it"]["train_money"] == pytest.approx(
        answer.to_dict()["baseline"]["as_built"]["design_against_it"]["train_device_hours"]
    )
    tiny = moewright.design(**BUDGETS, space=SPACE, top=1, train_devices=1)  # type: ignore[call-overload]
    assert tiny.designs[0].costs.train_layout is None
    with pytest.raises(UserError) as refused:
        moewright.plan(tiny.designs[0].architecture, hardware="H100", devices=1)
    assert tiny.designs[0].costs.train_refusal == str(refused.value)
    assert str(refused.value) in tiny.warnings[0]
    assert str(refused.value) in " ".join(text for _, text in answer_lines(tiny))


def test_a_device_of_ones_own_has_a_price(tmp_path: Path) -> None:
    """By its name, in `design` as in `plan`; the same as the packaged one's by another name."""
    h100 = load_device("H100").model_dump(exclude={"name"}, exclude_none=True, exclude_defaults=True)
    (tmp_path / "mine.json").write_text(json.dumps({"devices": {"mine": h100}}))
    for device, name in (("H100", "H100"), (str(tmp_path / "mine.json"), "mine")):
        asked = {"space": SPACE, "top": 1, "train_hardware": device, "train_devices": 64, "price": {name: 2.5}}
        found = moewright.design(**BUDGETS, **asked).designs[0].costs  # type: ignore[call-overload]
        assert found.train_money is not None
        assert found.train_money == pytest.approx(tuple(2.5 * hours for hours in found.train_device_hours))


def test_hours_of_a_layout_beside_hours_by_utilisation_are_said() -> None:
    space = Space(widths=(1024,), depths=(16, 20), experts=(64,), top_k=(4, 8), dense_first=(0,))
    asked = {"total_params": "5B", "train_tokens": "1T", "space": space, "top": 1, "train_devices": 8}
    large, small = (moewright.design(**asked, baseline=name) for name in ("deepseek-v3", "olmoe-1b-7b"))  # type: ignore[call-overload]
    assert large.baseline.as_built.costs.train_layout is None
    assert any(warning.startswith("deepseek-v3 has no layout (") for warning in large.warnings)
    assert small.baseline.as_built.costs.train_layout is not None
    assert not any("no layout" in warning for warning in small.warnings)


@pytest.mark.parametrize(
    ("asked", "device", "assumed"),
    [
        ({"hardware": "H200"}, "H200", False),
        ({"hardware": "M4-Max"}, "H100", True),  # no network joins laptops
        ({"memory": "80GB"}, "H100", True),
        ({"hardware": "M4-Max", "train_hardware": "B200"}, "B200", False),
    ],
)
def test_which_device_trains(asked: dict[str, str], device: str, assumed: bool) -> None:
    on = costed_on(make_budgets({"train_tokens": "1T", **asked}))
    assert (on.train_hardware, on.train_assumed) == (device, assumed)


def test_device_hours_of_training_are_those_of_the_device_that_trains() -> None:
    asked = {"total_params": "7B", "active_params": "1.3B", "train_device_hours": 1e5, "train_hardware": "A100-80GB"}
    answer = moewright.design(**asked, space=SPACE, top=1)  # type: ignore[call-overload]
    assert answer.designs[0].costs.train_device_hours[1] == pytest.approx(1e5)
    assert answer.choice.on.hardware == "H100"  # that serves, assumed


def test_the_bill_of_serving_is_that_of_the_fullest_batch() -> None:
    """Against every batch of a power of two tried by itself, with a floor of speed and without."""
    olmoe = load_architecture("olmoe-1b-7b").architecture
    for floor in (None, 100.0):
        asked = {"hardware": "H100", "train_tokens": "5T", "serve_tokens": "1T", "context": 4096}
        budgets = make_budgets({**asked, "decode_tokens_per_second": floor})
        costs = finalist_costs(olmoe, 5e12, budgets, costed_on(budgets))
        tried = {}
        for batch in (2**k for k in range(11)):
            slow, fast = decode_tokens_per_second(olmoe, "H100", batch=batch, context=4096)
            fits = memory_per_device(olmoe, "H100", batch=batch, context=4096).fits
            if fits and slow >= (floor or 0):
                tried[batch] = (1e12 / (batch * fast) / 3600, 1e12 / (batch * slow) / 3600)
        best = min(tried, key=lambda batch: tried[batch][1])
        assert costs.serve_batch == best
        assert costs.serve_device_hours == pytest.approx(tried[best])


def test_a_batch_that_does_not_fit_is_halved_and_said() -> None:
    """As the largest of its halves that fits, and nothing where not one sequence does."""
    olmoe, deepseek = (load_architecture(name).architecture for name in ("olmoe-1b-7b", "deepseek-v3"))
    asked = {"hardware": "H100", "train_tokens": "5T", "serve_tokens": "1T", "context": 4096, "batch": 4096}
    budgets = make_budgets(asked)
    on = costed_on(budgets)
    fits = [
        batch
        for batch in (4096 >> k for k in range(13))
        if memory_per_device(olmoe, "H100", batch=batch, context=4096).fits
    ]
    assert finalist_costs(olmoe, 5e12, budgets, on).serve_batch == max(fits) < 4096
    none = finalist_costs(deepseek, 5e12, budgets, on)
    assert none.serve_batch == 0
    assert none.whole_bill is None
    alike = {**asked, "hardware": None, "total_params": "20B", "active_params": "3B", "space": SPACE, "top": 1}
    answer = moewright.design(**alike, baseline="deepseek-v3")  # type: ignore[call-overload]
    costs = answer.to_dict()["designs"][0]["costs"]
    assert 0 < costs["serve_batch"] < 4096
    assert answer.to_dict()["baseline"]["as_built"]["costs"]["serve_device_hours"] is None
    assert answer.to_dict()["baseline"]["as_built"]["design_against_it"]["whole_bill"] is None
    said = [warning for warning in answer.warnings if warning.startswith("serve-tokens:")]
    assert any("4096 sequences of the first design" in warning for warning in said)
    assert any("deepseek-v3" in warning and "no bill" in warning for warning in said)
    assert f"{costs['serve_batch']} of 4096 at a time" in " ".join(text for _, text in answer_lines(answer))
    with pytest.raises(UserError, match="serve-tokens: not one sequence"):
        moewright.design(**{**alike, "context": "10M"})  # type: ignore[call-overload]


def test_the_middle_of_a_bill_is_formed_in_one_way() -> None:
    """The difference that is printed is that of the sums by which the choice is made."""
    answer = moewright.design(**BUDGETS, space=SPACE, top=1, price="H100=2", serve_tokens="1T")  # type: ignore[call-overload]
    first, beside = answer.designs[0].costs, answer.baseline.as_built.costs
    assert first.whole_bill is not None
    assert beside.whole_bill is not None
    one, other = (sum(np.sqrt(low * high) for low, high in bill) for bill in (first.whole_bill, beside.whole_bill))
    found = answer.to_dict()["baseline"]["as_built"]["design_against_it"]["whole_bill"]
    assert found == pytest.approx(one / other - 1)


def test_shown_designs_are_priced_as_the_choice_priced_them() -> None:
    """One row of the columns that chose against the same design by itself."""
    answer = moewright.design(**BUDGETS, space=SPACE, top=3)  # type: ignore[call-overload]
    for design in answer.designs:
        alone = finalist_costs(design.architecture, design.train_tokens, answer.budgets, answer.choice.on)
        for name, value in vars(alone).items():
            assert vars(design.costs)[name] == (None if value is None else pytest.approx(value, rel=1e-9))


def test_power_has_a_price() -> None:
    """As `plan` prices it, hours and energy together; alone it is the energy's money."""
    asked = {**BUDGETS, "space": SPACE, "top": 1, "train_devices": 64}
    both = moewright.design(**asked, price={"H100": 2.5}, power_price=0.1).designs[0]  # type: ignore[call-overload]
    planned = moewright.plan(
        both.architecture, hardware="H100", devices=64, train_tokens="2T", price={"H100": 2.5}, power_price=0.1
    )
    bill = planned.layouts[0].cost
    assert bill is not None
    assert bill.money is not None
    assert bill.energy_money is not None
    together = tuple(money + energy for money, energy in zip(bill.money, bill.energy_money, strict=True))
    assert both.costs.train_money == pytest.approx(together)
    alone = moewright.design(**asked, power_price=0.1, serve_tokens="1T").designs[0].costs  # type: ignore[call-overload]
    assert alone.train_money is not None
    assert alone.serve_money is not None
    assert alone.serve_device_hours is not None
    kilowatts, drawn = 0.7, {"train": (0.7, 1.0), "serve": (0.5, 1.0)}
    for end in (0, 1):
        train, serve = alone.train_device_hours[end], alone.serve_device_hours[end]
        assert alone.train_money[end] == pytest.approx(train * kilowatts * drawn["train"][end] * 0.1)
        assert alone.serve_money[end] == pytest.approx(serve * kilowatts * drawn["serve"][end] * 0.1)


def test_a_whole_bill_prefers_smaller_designs() -> None:
    """Loss equal, serving decides; and by hand: training until the loss is equal, plus serving."""
    bills = {
        tokens: moewright.design(**BUDGETS, space=SPACE, top=1, price="H100=2", serve_tokens=tokens)  # type: ignore[call-overload]
        for tokens in ("1B", "100T")
    }
    few, many = (answer.designs[0] for answer in bills.values())
    assert many.active_params < few.active_params
    assert few.costs.serve_money[0] == pytest.approx(2 * few.costs.serve_device_hours[0])
    bill = ((np.array([4.0, 1.0]), np.array([9.0, 4.0])), (np.array([1.0, 2.0]), np.array([1.0, 8.0])))
    scores = whole_bill_at_equal_loss(bill, np.array([2.0, 2.1]), 0.1)
    assert np.exp(scores) == pytest.approx([6 + 1, 2 * np.e + 4])


def test_a_bill_of_power_alone_says_so_and_nothing_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """No table of eight columns or laws is wider than a terminal, whatever the figures in it."""
    line = ["design", "--memory=80GB", "--active-params=3B", "--train-tokens=2T", "--power-price=1e30", "--explain"]
    code, out, _ = run(capsys, *line, "--serve-tokens=1T")
    assert code == 0
    assert "for power alone" in out
    assert "…" not in out
    assert all(len(row) <= 80 for row in out.splitlines())
    assert not re.search(r"\d{10}", out)
    assert {"ludziejew", "ski2025"} <= set(out.split())
    code, out, _ = run(capsys, *line[:-1], "--price=H100=2.5")
    assert "at the price" in out
    assert "for power alone" not in out
