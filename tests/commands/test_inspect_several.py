"""Several configs side by side: the quantities of each as it is alone, the differences and nothing else."""

import random

import pytest

import moewright
from moewright.hf.published_models import model_names
from moewright.report import show
from moewright.screen import Screen
from tests.test_cli import run

R = random.Random("several")


@pytest.mark.parametrize("names", [R.sample(model_names(), 2 + number % 3) for number in range(12)], ids=" ".join)
def test_each_is_as_it_is_alone(names: list[str]) -> None:
    both = moewright.inspect(names, tokens_per_sequence=2048, hardware="H100", devices=8)
    assert isinstance(both, moewright.InspectionComparison)
    alone = [moewright.inspect(name, tokens_per_sequence=2048, hardware="H100", devices=8).to_dict() for name in names]
    answer = both.to_dict()
    assert list(answer["models"]) == alone
    found = {(each["group"], each["name"]): list(each["values"]) for each in answer["differences"]}
    assert all(any(value != values[0] for value in values) for values in found.values())
    expected = {
        ("Parameters", "all"): [one["total_params"] for one in alone],
        ("Active", "all"): [one["active_params"] for one in alone],
        ("Bytes", "weights as published"): [one["published_weights_bytes"] for one in alone],
        ("8 x H100", "time to first token"): [one["hardware"]["prefill"]["time_to_first_token"] for one in alone],
        ("FLOPs of a token", "training"): [one["flops_per_token"]["training"] for one in alone],
        **{("Parameters", name): [one["params"][name] for one in alone] for name in alone[0]["params"]},
        **{("Active", name): [one["active"][name] for one in alone] for name in alone[0]["active"]},
    }
    for key, values in expected.items():
        assert found.get(key) == (values if any(value != values[0] for value in values) else None)


def test_one_is_one_and_equal_ones_differ_in_nothing() -> None:
    one = moewright.inspect("dbrx")
    assert moewright.inspect(["dbrx"]).to_dict() == one.to_dict()
    same = moewright.inspect(["dbrx", one.architecture, "examples/configs/dbrx.json"])
    assert isinstance(same, moewright.InspectionComparison)
    by_spec = {("Model", "family"), ("Bytes", "weights as published"), ("Bytes", "published format")}
    assert {(each.group, each.name) for each in same.differences()} <= by_spec  # of which a spec says less


def test_the_length_is_one_that_all_were_made_for() -> None:
    both = moewright.inspect(["qwen3-30b-a3b", "tinyllama-1.1b"])
    assert isinstance(both, moewright.InspectionComparison)
    assert {each.tokens_per_sequence for each in both.inspections} == {2048}


def test_one_screen_at_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    for names in (["qwen3-30b-a3b", "mixtral-8x7b"], ["deepseek-v3", "glm-4.5-air", "kimi-k2"], ["dbrx", "dbrx"]):
        show(moewright.inspect(names, hardware="H100"), Screen(width=80))
        shown = capsys.readouterr().out
        assert max(map(len, shown.splitlines())) <= 80
        assert shown.count("\n") < 24, shown
        show(moewright.inspect(names, hardware="H100"), Screen(width=80, explain=True))
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    assert "No counted quantity differs." in shown


def test_bills_are_written_as_those_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--hardware", "H100", "--devices", "2", "--price", "H100=2.5")
    _, alone, _ = run(capsys, "inspect", "mixtral-8x7b", *asked)
    _, both, _ = run(capsys, "inspect", "mixtral-8x7b", "qwen3-30b-a3b", *asked)
    low, high = alone.split("1T trained ")[1].split(",")[0].split("-")
    assert f"{low} to {high} " in next(line for line in both.splitlines() if line.startswith("1T trained, money"))


def test_what_is_wrong_with_any_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "inspect", "dbrx", "qwen3-30b")
    assert (code, out) == (2, "")
    assert err == "moewright: no file and no published model is called 'qwen3-30b'; did you mean qwen3-30b-a3b?\n"
    with pytest.raises(moewright.UserError, match="config: an empty list"):
        moewright.inspect([])
