"""Numbers at the edge: the same words mean the same on the command line, in YAML, in JSON and in Python."""

import json
import math
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

import moewright
from moewright.commands import COMMANDS
from moewright.commands.checking import check, names_of, parse_annotation
from moewright.complaints import check_integer, check_number
from moewright.errors import UserError
from moewright.plain_values import UnfitTextError, parse_json, parse_yaml
from moewright.quantities import brief
from moewright.runs import load
from moewright.sweeps.sweep_spec import Execution
from tests.test_cli import run

MODEL = "examples/configs/qwen3-30b-a3b.json"
WORDS = ["4", "4.0", "4e0", "+4", "-0", "0", "-1", "04", "0x4", "1e3", "1e309", "5e-324", "1_000", "1,000", "٣", "１"]
WORDS += ["nan", ".nan", "inf", "NaN", "true", "True", "", " ", "9" * 19, "9" * 400, "1e", "0b1", "4 ", "--4", "1e-400"]


def means(word: str, read: Any) -> Any:
    """The number that a reader of files takes a word for; None where it takes it for none or refuses it."""
    try:
        found = read(word)
    except UnfitTextError:
        return None
    found = found["a"] if isinstance(found, dict) else found
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


@pytest.mark.parametrize("word", WORDS)
def test_json_and_yaml_agree_where_both_have_a_number(word: str) -> None:
    in_json = means(word, lambda each: parse_json(f'{{"a": {each}}}'))
    in_yaml = means(word, lambda each: parse_yaml(f"a: {each}\n"))
    if in_json is not None and not math.isnan(in_json):  # NaN without a dot is text to YAML
        assert (in_yaml, type(in_yaml)) == (in_json, type(in_json))


@pytest.mark.parametrize("word", WORDS)
def test_the_command_line_takes_whole_numbers_as_yaml_does(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "inspect", MODEL, f"--batch={word}", "--json")
    value = means(word, lambda each: parse_yaml(f"a: {each}\n"))
    if isinstance(value, int) and 1 <= value <= 10**9:
        assert code == 0
        assert json.loads(out) == moewright.inspect(MODEL, batch=value).to_dict()
    else:
        assert (code, out) == (2, "")
        assert err.startswith("moewright: batch: expected an integer")
        assert err.count("\n") == 1
        assert len(err) < 200


@pytest.mark.parametrize(
    "value", [True, False, 1.0, "4", -1, 0, math.nan, math.inf, 10**400, 10**5000, -(10**5000)], ids=brief
)
def test_python_takes_only_whole_numbers(value: Any) -> None:
    for name in ("batch", "tokens_per_sequence", "devices"):
        more: dict[str, Any] = {"hardware": "H100"} if name == "devices" else {}
        with pytest.raises(UserError) as caught:
            moewright.inspect(MODEL, **{name: value}, **more)
        assert len(str(caught.value)) < 200


def test_no_number_is_too_large_for_a_fraction() -> None:
    """Every argument of every command that takes fractions: whole numbers beyond float64 are refused at the door."""
    tried = 0
    for path, name in COMMANDS.items():
        parameters = signature(getattr(import_module(f"moewright.commands.{name}"), name)).parameters
        for argument in parameters.values():
            if {"float"} == {*names_of(argument)} - {"None"}:
                tried += 1
                for value in (10**400, -(10**5000)):
                    with pytest.raises(UserError, match="expected a number") as caught:
                        check(value, parse_annotation(argument.annotation), f"{path}.{argument.name}")
                    assert len(str(caught.value)) < 200
    assert tried >= 3


@pytest.mark.parametrize("value", [10**400, 10**5000, math.nan, math.inf, -math.inf, True, "1", None, 1j], ids=brief)
def test_checks_of_single_values_never_break(value: Any) -> None:
    for read in (
        lambda: check_number(value, "x"),
        lambda: check_integer(value, "x"),
        lambda: check_number(value, "x", above=0),
    ):
        with pytest.raises(UserError) as caught:
            read()
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *[("2e9", 2e9), ("2B", 2e9), ("2_000_000_000", 2e9), ("2000000000", 2e9), ("2 B", 2e9), ("2.0E+9", 2e9)],
        *[(word, None) for word in ("٢", "2__0", "_2", "2_", "1e309", "-2e9", "0", "-0", "2Q", "0x2", "true", "1e9e9")],
    ],
)
def test_counts_mean_the_same_in_every_table(word: str, value: float | None, tmp_path: Path) -> None:
    """A count in a CSV file, as text in JSON lines, and as an argument."""
    (tmp_path / "runs.csv").write_text(f'total_params,loss\n"{word}",2.5\n')
    (tmp_path / "runs.jsonl").write_text(json.dumps({"total_params": word, "loss": 2.5}))
    for name in ("runs.csv", "runs.jsonl"):
        if value is None:
            with pytest.raises(UserError, match="row 1, column total_params"):
                load(tmp_path / name)
        else:
            assert load(tmp_path / name)["total_params"].tolist() == [value]
    if value is None:
        with pytest.raises(UserError, match="train-tokens"):
            moewright.predict(MODEL, word)
    else:
        assert moewright.predict(MODEL, word).train_tokens == value


@pytest.mark.parametrize("word", ["9" * 400, "-" + "9" * 5000, "1e309", "-1", "true", '"4"', "4.5", "null"])
def test_recipes_with_such_a_number_are_one_line(word: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(
        f'{{"architecture": "x.yaml", "data": "d", "train_tokens": 100, "batch_tokens": 10, "seed": {word}}}'
    )
    with pytest.raises(UserError) as caught:
        moewright.train(path, dry_run=True)
    assert len(str(caught.value)) < 300 + len(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["time_limit", "stall_limit"])
@pytest.mark.parametrize(
    ("written", "minutes"),
    [
        *[("90s", 1.5), ("30m", 30.0), ("2h", 120.0), ("1d", 1440.0), ("1.5h", 90.0), (1.5, 1.5), (90, 90.0)],
        *[
            (each, None)
            for each in ("infh", "nanh", "inf", "-1h", "0h", "1_0_h", "٣h", "1e309h", "1e300h", "2 weeks", "h")
        ],
        *[(each, None) for each in (math.inf, math.nan, -1, 0, True, 10**400, "1:30", "", "2hh")],
    ],
    ids=brief,
)
def test_limits_of_time(field: str, written: Any, minutes: float | None) -> None:
    if minutes is not None:
        assert getattr(Execution.from_dict({field: written}), field) == minutes
        return
    with pytest.raises(UserError, match=field) as caught:
        Execution.from_dict({field: written})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", [10**400, 10**5000, math.inf, math.nan, -1, 0, True, "4", 1.5, 2**63], ids=brief)
@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "num_experts", "rms_norm_eps"])
def test_configs_in_python_with_such_a_number_are_one_line(key: str, value: Any) -> None:
    config = json.loads(Path(MODEL).read_text()) | {key: value}
    if key == "rms_norm_eps" and value in (1.5, 2**63):
        return
    with pytest.raises(UserError) as caught:
        moewright.inspect(config)
    assert key in str(caught.value)
    assert len(str(caught.value)) < 300
