"""What tokens cost, by hand."""

from typing import Any

import pytest

import moewright
from moewright import UserError
from moewright.hardware.bills import DRAWN, Tariff
from moewright.hardware.devices import load_device
from moewright.hardware.inspection_comparison import InspectionComparison

OLMOE = "examples/configs/olmoe-1b-7b.json"


def test_a_bill_by_hand() -> None:
    # 3.6e9 tokens at 1,000 to 2,000 a second and device: 1,000 to 500 hours of 0.7 kW, half to all of it drawn
    cost = Tariff(load_device("H100"), {"H100-SXM": 2.5}, 0.2).bill("serve", 3.6e9, (1000.0, 2000.0))
    assert cost.device_hours == pytest.approx((500, 1000))
    assert cost.money == pytest.approx((1250, 2500))
    assert cost.energy_kwh == pytest.approx((500 * 0.7 * DRAWN["serve"][0], 700))
    assert cost.energy_money == pytest.approx((0.2 * 500 * 0.7 * DRAWN["serve"][0], 140))
    unknown = Tariff(load_device("TPU-v5p")).bill("train", 3.6e9, (1000.0, 2000.0))
    assert (unknown.money, unknown.energy_kwh, unknown.energy_money) == (None, None, None)


def test_training_and_serving_add_up() -> None:
    plan = moewright.plan(
        OLMOE, hardware="H100", devices=8, train_tokens="1T", serve_tokens="2T", price={"H100": 2}, power_price=0.1
    )
    trained, life = plan.layouts[0].cost, plan.record.lifetime
    assert trained is not None
    assert life is not None
    assert life.together is not None
    for name in ("device_hours", "money", "energy_kwh", "energy_money"):
        first, second, both = (getattr(cost, name) for cost in (trained, life.serving, life.together))
        assert both == pytest.approx((first[0] + second[0], first[1] + second[1]))
    alone = moewright.plan(
        OLMOE,
        hardware="H100",
        devices=8,
        serve=True,
        layout=life.layout,
        batch=life.batch * (8 // degrees(life.layout)),
        context=2048,
        generate=2048,
        serve_tokens="2T",
    ).layouts[0]
    assert alone.cost is not None
    assert alone.cost.device_hours == pytest.approx(life.serving.device_hours)


def degrees(layout: str) -> int:
    named = dict(pair.split("=") for pair in layout.split(","))
    return int(named["tp"]) * int(named["dp"]) * int(named["pp"])


def test_prices_need_tokens_and_their_own_device() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"power_price": 0.1}, "power-price: needs train-tokens or serve-tokens"),
        ({"power_price": 0.1, "train_tokens": "1T", "hardware": "TPU-v5p"}, "power-price: no board power is stated"),
        ({"price": {"A100": 1}, "serve": True, "serve_tokens": "1T"}, "price: A100 is not the device asked about"),
        ({"price": {"A1000": 1}, "train_tokens": "1T"}, "price: unknown device 'A1000'"),
    ]
    for settings, message in cases:
        with pytest.raises(UserError, match=message):
            moewright.plan(OLMOE, **{"hardware": "H100", "devices": 8, **settings})


def test_what_inspect_bills() -> None:
    """1T of training as its device-hours; 1M generated and read as their seconds on two devices, by hand."""
    asked: dict[str, Any] = {"hardware": "H100", "devices": 2, "batch": 4, "tokens_per_sequence": 2048}
    found = moewright.inspect(OLMOE, **asked, price="H100=2.5", power_price=0.1).hardware
    assert found is not None
    assert found.bills is not None
    assert found.bills["train"].device_hours == pytest.approx(found.device_hours_per_trillion_tokens)
    for work, tokens, stage in (("generate", 4, found.decode), ("read", 4 * 2048, found.prefill)):
        million = [1e6 / tokens * seconds * 2 / 3600 for seconds in stage.seconds]
        assert found.bills[work].device_hours == pytest.approx(million)
        assert found.bills[work].money == pytest.approx([2.5 * hours for hours in million])
    kilowatts = 0.7
    assert found.bills["generate"].energy_money == pytest.approx(
        [
            0.1 * kilowatts * hours * drawn
            for hours, drawn in zip(found.bills["generate"].device_hours, DRAWN["serve"], strict=True)
        ]
    )
    unpriced = moewright.inspect(OLMOE, **asked)
    assert unpriced.to_dict()["hardware"]["bills"] is None
    both = moewright.inspect([OLMOE, "mixtral-8x7b"], **asked, price={"H100": 2.5})
    assert isinstance(both, InspectionComparison)
    money = next(each for each in both.differences() if each.name == "1M generated, money")
    assert money.values[0] == found.bills["generate"].money
