"""Wrong arguments of every kind: one line that names the argument, in Python and on the command line the same."""

import inspect
import math
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import moewright
from moewright import UserError
from moewright.commands import COMMANDS
from tests.test_cli import run

OLMOE = "examples/configs/olmoe-1b-7b.json"
TABLE = pd.DataFrame({"total_params": [1e9, 2e9], "train_tokens": [1e10, 2e10], "loss": [3.0, 2.9]})

GOOD: dict[str, dict[str, Any]] = {
    "inspect": {"config": OLMOE},
    "predict": {"config": OLMOE, "train_tokens": "2T"},
    "models": {"name": "olmoe-1b-7b"},
    "describe_laws": {"name": "zhao2025"},
    "fit": {"runs": TABLE, "law": "hoffmann2022"},
    "design": {"total_params": "3B", "train_tokens": "2T"},
    "plan": {"config": OLMOE, "hardware": "H100", "devices": 8},
    "calibrate": {"measurements": "examples/measured_steps.csv"},
    "train": {"spec": "examples/train/tiny.yaml", "dry_run": True},
    "sweep": {"spec": "examples/sweeps/tiny.yaml", "dry_run": True},
    "collect_runs": {"path": "examples"},
    "next_runs": {"runs": TABLE, "spend": "1e20"},
    "export": {"design": OLMOE, "format": "hf"},
    "make_report": {"path": OLMOE, "out": "new.html"},
    "prepare_data": {"sources": ["README.md"], "out": "new", "vocab_size": 300},
}
KINDS = {
    "inspect": "config:sources tokens_per_sequence:int? batch:int weights_dtype:text kv_dtype:text "
    "latent_cache:text window_cache:text tensor_parallel:int? hardware:name? devices:int? "
    "price:pairs? power_price:float?",
    "predict": "config:sources train_tokens:quantity law:names? unique_tokens:quantity? serve_tokens:quantity? "
    "own:table?",
    "models": "name:text?",
    "describe_laws": "name:name? evidence:flag",
    "fit": "runs:table law:name? source:text? where:pairs? column:pairs? holdout:text? bootstrap:int loss:text "
    "weights:text? cluster:texts? objective:text? tuning:text? asymptote:float? fix:pairs? bound:pairs? seed:int "
    "at:pairs? preregister:path? score:path? out:path? plots:path? force:flag",
    "design": "memory:quantity? total_params:quantity? active_params:quantity? decode_tokens_per_second:quantity? "
    "time_to_first_token:quantity? train_tokens:quantity? train_flops:quantity? train_device_hours:quantity? "
    "hardware:name? devices:int? context:quantity? batch:int? weights_dtype:text? kv_dtype:text? vocab_size:int? "
    "space:path? like:source? baseline:source? prefer:text train_hardware:name? "
    "train_devices:int? price:pairs? serve_tokens:quantity? power_price:float? law:names? own:table? top:int "
    "explain:flag out:path? print_space:flag",
    "plan": "config:source hardware:name devices:int sequence_length:int? global_batch:quantity? precision:text "
    "optimizer:text layout:text? train_tokens:quantity? price:pairs? top:int serve:flag batch:int? context:int? "
    "generate:int? weights_dtype:text kv_dtype:text draft_tokens:int acceptance:float? experts_on:name? "
    "serve_tokens:quantity? power_price:float? coefficients:path? gradient_dtype:text",
    "calibrate": "measurements:path out:path? force:flag",
    "train": "spec:path out:path? dry_run:flag",
    "sweep": "spec:source out:path? jobs:int? executor:text trainer:text? write_only:flag dry_run:flag watch:flag "
    "retry_failed:flag add:flag forecast:texts? noise:float?",
    "collect_runs": "path:paths out:path? curves:path? from_:text map_:path? final_tokens:float? force:flag",
    "next_runs": "runs:table? candidates:spec_or_table? for_:text spend:quantity? law:names? target:models? "
    "train_tokens:quantity? noise:float? within:float? confidence:float most:int hardware:name? price:pairs? out:path? "
    "force:flag",
    "export": "design:source format:text out:path? balance_loss:quantity?",
    "make_report": "path:paths out:path format:text title:text? watch:flag force:flag",
    "prepare_data": "sources:paths out:path tokenizer:path? vocab_size:int? text_key:text? source_key:text? "
    "document_separator:text? end_of_document:text? validation_share:float seed:int tokens_per_shard:int",
}
NEVER = (object(), b"1", 3j, ..., print, Decimal(1), moewright.Architecture, TABLE["loss"].map)
NO_TEXT = (3, True, 1.5, np.float64(2.0))
NO_PATH = (*NO_TEXT, "", "a\0b", "x" * 300, "x" * 5000, Path("a\0b"))
WRONG: dict[str, tuple[Any, ...]] = {
    "int": ("3", 3.0, True, math.nan, [3], {}, np.float64(3)),
    "float": ("3", True, [1.0], {}, np.array([1.0])),
    "quantity": (True, [1], {}, Path("x"), "a\0b"),
    "text": (*NO_TEXT, Path("x"), ["x"], {}, "", "a\0b"),
    "texts": (*NO_TEXT, Path("x"), {}, [3], "", [""], ["x", None], TABLE),
    "name": (*NO_TEXT, ["x"], {}, TABLE, "", "a\0b"),
    "names": (*NO_TEXT, {}, [3], [["x"]], "", [None], TABLE),
    "path": (*NO_PATH[:2], *NO_PATH[3:], ["x"], TABLE),
    "paths": (*NO_TEXT, {}, [3], [None], TABLE),
    "source": (*NO_TEXT, ["x"], TABLE, {3: 4}, "a\0b", "x" * 300),
    "sources": (*NO_TEXT, [3], TABLE, {3: 4}, "a\0b", "x" * 300),
    "table": (*NO_TEXT, ["x"], {}, TABLE["loss"], "a\0b", "x" * 300),
    "spec_or_table": (*NO_TEXT, ["x"], TABLE["loss"], {3: 4}, "a\0b", "x" * 300),
    "models": (*NO_TEXT, [3], TABLE, {3: 4}, ""),
    "pairs": (*NO_TEXT, [3], {3: 4}, Path("x"), TABLE),
    "flag": (1, 0, "yes", "", [], np.float64(1)),
}
"""What each kind refuses whatever it means; `?` after a kind: None is one of its values."""


def one_line(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """The complaint about a call, which must be one line."""
    with pytest.raises(UserError) as raised:
        call(*args, **kwargs)
    message = str(raised.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", KINDS)
def test_every_argument_refuses_what_is_no_value_of_its_kind(name: str) -> None:
    function = getattr(moewright, name)
    kinds = dict(pair.split(":") for pair in KINDS[name].split())
    assert list(kinds) == list(inspect.signature(function).parameters)
    for argument, kind in kinds.items():
        never = () if kind.rstrip("?") in ("pairs",) else NEVER
        for value in (*never, *WRONG[kind.rstrip("?")], *(() if kind.endswith("?") else (None,))):
            message = one_line(function, **{**GOOD[name], argument: value})
            assert message.startswith(argument.rstrip("_").replace("_", "-"))
            assert ": expected " in message
            assert ", found " in message
            assert len(message) < 200


@pytest.mark.parametrize("name", KINDS)
def test_names_and_numbers_of_arguments(name: str) -> None:
    function = getattr(moewright, name)
    parameters = inspect.signature(function).parameters
    good = GOOD[name]
    for argument, parameter in parameters.items():
        message = one_line(function, **good, **{f"{argument}s": 1})
        assert message.startswith(f"{argument}s: {name} has no such argument")
        assert "did you mean" in message
        if parameter.default is inspect.Parameter.empty:
            rest = {key: value for key, value in good.items() if key != argument}
            assert one_line(function, **rest) == f"{argument.replace('_', '-')}: missing; give {argument}=..."
    assert "qqqq: " in one_line(function, **good, qqqq=1)
    assert one_line(function, *[1] * 30).startswith(f"{name}: takes ")
    first = next(iter(parameters))
    if parameters[first].kind is not inspect.Parameter.KEYWORD_ONLY:
        assert one_line(function, good[first], **good) == f"{first}: given twice, by its place and by its name"


def test_a_path_that_a_file_names_may_be_impossible(tmp_path: Path) -> None:
    """`Path.is_file` raises for one that is too long, or that turns in circles."""
    for name in ("circle", "back"):
        (tmp_path / name).symlink_to(tmp_path / {"circle": "back", "back": "circle"}[name])
    for path in ("x" * 5000, tmp_path / "circle" / "config.json"):
        (tmp_path / "recipe.yaml").write_text(f"architecture: {path}\ndata: d\nsteps: 3\n", encoding="utf-8")
        message = one_line(moewright.train, tmp_path / "recipe.yaml", dry_run=True)
        assert len(message) < 300, message


def test_the_nearest_argument_is_named() -> None:
    assert one_line(moewright.inspect, OLMOE, batc=1) == "batc: inspect has no such argument; did you mean batch?"
    assert "did you mean law?" in one_line(moewright.predict, OLMOE, "2T", laws="zhao2025")
    assert "did you mean seed?" in one_line(moewright.fit, TABLE, "zhao2025", seeds=1)
    assert "did you mean bound?" in one_line(moewright.fit, TABLE, "zhao2025", bounds={})


def test_numbers_of_numpy_and_lists_of_any_kind_are_taken() -> None:
    found = moewright.inspect(OLMOE, batch=np.int64(3), tokens_per_sequence=np.int32(7))  # type: ignore[call-overload]
    assert (found.batch, found.tokens_per_sequence) == (3, 7)
    assert type(found.batch) is int
    asked = [("zhao2025", "abnar2025"), {"zhao2025": 1}.keys(), iter(["zhao2025"]), np.array(["zhao2025"])]
    for law in asked:
        answers = moewright.predict(OLMOE, np.float64(2e12), law=law).laws
        assert answers[0].law == "zhao2025"


# The same on the command line

BAD: dict[str, list[dict[str, Any]]] = {
    "inspect": [
        {"config": "{tmp}/missing.json"},
        {"config": "{tmp}"},
        {"config": "README.md"},
        {"config": OLMOE, "batch": 0},
        {"config": OLMOE, "batch": -1},
        {"config": OLMOE, "batch": 10**30},
        {"config": OLMOE, "batch": "3.5"},
        {"config": OLMOE, "batch": "many"},
        {"config": OLMOE, "tokens_per_sequence": "4k"},
        {"config": OLMOE, "weights_dtype": "bf17"},
        {"config": OLMOE, "kv_dtype": ""},
        {"config": OLMOE, "hardware": "H1000"},
        {"config": OLMOE, "hardware": "H100", "devices": 0},
        {"config": OLMOE, "devices": 2},
        {"config": OLMOE, "price": "H100=2"},
        {"config": OLMOE, "power_price": 0.1},
        {"config": OLMOE, "hardware": "H100", "price": "A100=2"},
        {"config": OLMOE, "hardware": "H100", "price": "H100"},
        {"config": OLMOE, "hardware": "H100", "price": "H100=-2"},
        {"config": OLMOE, "hardware": "H100", "power_price": -0.1},
        {"config": OLMOE, "hardware": "TPU-v5p", "power_price": 0.1},
    ],
    "plan": [
        {"config": OLMOE, "hardware": "H1000", "devices": 8},
        {"config": OLMOE, "hardware": "H100", "devices": 0},
        {"config": OLMOE, "hardware": "H100", "devices": 12},
        {"config": OLMOE, "hardware": "RTX-4090", "devices": 8},
        {"config": OLMOE, "hardware": "RTX-4090", "devices": 1},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "sequence_length": 8192},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "sequence_length": 0},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "precision": "fp7"},
        {"config": OLMOE, "hardware": "A100", "devices": 8, "precision": "fp8"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "optimizer": "adam"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "global_batch": "1000"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "global_batch": "4M"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "layout": ""},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "layout": "tp=3"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "layout": "tp=2,tp=2"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "layout": "dp=2"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "layout": "ep=3"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "layout": "zero=4"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "layout": "recompute=all"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "layout": "recompute=mla_up_proj"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "layout": "recompute=moe+moe"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "layout": "recompute=layers+moe_act"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "layout": "recompute=experts"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "gradient_dtype": "fp8"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "layout": "tp=2", "top": 2},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "price": ["H100=2"]},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "train_tokens": "1T", "price": ["H1000=2"]},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "train_tokens": "1T", "price": ["A100=2"]},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "train_tokens": "1T", "price": ["H100=free"]},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "train_tokens": "1T", "price": ["H100"]},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "top": 0},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "batch": 4},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "power_price": 0.1},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "coefficients": "{tmp}/missing.yaml"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "coefficients": "README.md"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "power_price": -0.1, "train_tokens": "1T"},
        {"config": OLMOE, "hardware": "TPU-v5p", "devices": 8, "power_price": 0.1, "train_tokens": "1T"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "serve": True, "serve_tokens": "many"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "serve": True, "price": ["H100=2"]},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "experts_on": "DESKTOP"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "serve": True, "batch": 0},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "serve": True, "context": 10**6},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "serve": True, "generate": 0},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "serve": True, "draft_tokens": 1, "acceptance": 0.5},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "serve": True, "acceptance": 0.5},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "serve": True, "experts_on": "DESKTOP"},
        {"config": OLMOE, "hardware": "H100", "devices": 1, "serve": True, "experts_on": "H1000"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "serve": True, "layout": "tp=3"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "serve": True, "weights_dtype": "bf17"},
        {"config": OLMOE, "hardware": "H100", "devices": 8, "serve": True, "precision": "fp8"},
    ],
    "calibrate": [
        {"measurements": "{tmp}/missing.csv"},
        {"measurements": "{tmp}"},
        {"measurements": "README.md"},
        {"measurements": "LICENSE"},
        {"measurements": "pyproject.toml"},
        {"measurements": "examples"},
        {"measurements": "examples/train/tiny.yaml"},
        {"measurements": OLMOE},
        {"measurements": "examples/measured_steps.csv", "out": "{tmp}"},
        {"measurements": "examples/sweeps/tiny.yaml"},
        {"measurements": "examples/measured_steps.csv", "out": "examples/measured_steps.csv"},
        {"measurements": "examples/measured_steps.csv", "out": "README.md"},
    ],
    "predict": [
        {"config": "{tmp}/missing.json", "train_tokens": "2T"},
        {"config": "{tmp}", "train_tokens": "2T"},
        {"config": OLMOE, "train_tokens": ""},
        {"config": OLMOE, "train_tokens": "2TB"},
        {"config": OLMOE, "train_tokens": "-1"},
        {"config": OLMOE, "train_tokens": "nan"},
        {"config": OLMOE, "train_tokens": "1e999"},
        {"config": OLMOE, "train_tokens": "2T", "law": ["zhao2026"]},
        {"config": OLMOE, "train_tokens": "2T", "law": ["zhao2025", ""]},
        {"config": OLMOE, "train_tokens": "2T", "law": ["{tmp}/missing.json"]},
        {"config": OLMOE, "train_tokens": "2T", "law": ["{tmp}/"]},
        {"config": OLMOE, "train_tokens": "2T", "unique_tokens": "0"},
        {"config": OLMOE, "train_tokens": "2T", "unique_tokens": "80GB"},
        {"config": OLMOE, "train_tokens": "2T", "serve_tokens": "0"},
        {"config": OLMOE, "train_tokens": "2T", "serve_tokens": "80GB"},
        {"config": [OLMOE, "dbrx"], "train_tokens": "2T", "serve_tokens": "2T"},
        {"config": [OLMOE, "{tmp}/missing.json"], "train_tokens": "2T"},
        {"config": [OLMOE, "dbrx"], "train_tokens": "2T", "law": ["hoffmann2022"]},
        {"config": [OLMOE, "dbrx"], "train_tokens": "2T", "law": ["docs/slicing2026.json"]},
        {"config": [OLMOE] * 13, "train_tokens": "2T"},
        {"config": OLMOE, "train_tokens": "2T", "law": ["zhao2025", "clark2022", "zhao2025"]},
        {"config": OLMOE, "train_tokens": "1e-5"},
        {"config": OLMOE, "train_tokens": "2T", "own": TABLE},
        {"config": [OLMOE, "dbrx"], "train_tokens": "2T", "own": "{tmp}/missing.csv"},
        {"config": [OLMOE, "dbrx"], "train_tokens": "2T", "own": "README.md"},
        {"config": [OLMOE, "dbrx"], "train_tokens": "2T", "own": "examples/measured_steps.csv"},
    ],
    "models": [
        {"name": "olmoe"},
        {"name": "x"},
        {"name": "examples/configs/dbrx.json"},
        {"name": "x" * 300},
        {"name": "../dbrx"},
        {"name": ""},
        {"name": "{tmp}"},
        {"name": "dbrx.json"},
        {"name": "all"},
        {"name": "dbrx,olmoe-1b-7b"},
        {"name": "Qwen/Qwen3-30B-A3B"},
    ],
    "laws": [
        {"name": "zhao2026"},
        {"name": "zhao"},
        {"name": "x"},
        {"name": "{tmp}"},
        {"name": "{tmp}/missing.json"},
        {"name": "README.md"},
        {"name": "examples/configs/dbrx.json"},
        {"name": "x" * 300},
        {"name": "a=b"},
        {"name": "zhao2025", "evidence": True},
        {"name": "../zhao2025"},
    ],
    "fit": [
        {"runs": "{tmp}/missing.csv", "law": "zhao2025"},
        {"runs": "{tmp}", "law": "zhao2025"},
        {"runs": "{runs}", "law": "zhao2026"},
        {"runs": "{runs}", "law": "hoffmann2022", "source": "nobody"},
        {"runs": "{runs}", "law": "hoffmann2022", "where": ["kind"]},
        {"runs": "{runs}", "law": "hoffmann2022", "where": ["kind=a"]},
        {"runs": "{runs}", "law": "all"},
        {"runs": "{runs}", "law": "all", "fix": ["E=1.7"]},
        {"runs": "{runs}", "law": "hoffmann2022", "column": ["total_params"]},
        {"runs": "{runs}", "law": "hoffmann2022", "column": ["total_params=N"]},
        {"runs": "{runs}", "law": "hoffmann2022", "column": ["N=total_params"]},
        {"runs": "{runs}", "law": "hoffmann2022", "column": ["loss=loss", "loss=total_params"]},
        {"runs": "{runs}", "law": "hoffmann2022", "holdout": "largest:2"},
        {"runs": "{runs}", "law": "hoffmann2022", "bootstrap": -1},
        {"runs": "{runs}", "law": "hoffmann2022", "bootstrap": "1.5"},
        {"runs": "{runs}", "law": "hoffmann2022", "loss": "los"},
        {"runs": "{runs}", "law": "hoffmann2022", "objective": "hubr"},
        {"runs": "{runs}", "law": "hoffmann2022", "tuning": "worst"},
        {"runs": "{runs}", "law": "hoffmann2022", "asymptote": math.nan},
        {"runs": "{runs}", "law": "hoffmann2022", "fix": ["E=nan"]},
        {"runs": "{runs}", "law": "hoffmann2022", "fix": ["E=1.7", "E=1.8"]},
        {"runs": "{runs}", "law": "hoffmann2022", "fix": ["nobody=1"]},
        {"runs": "{runs}", "law": "hoffmann2022", "bound": ["alpha=2:1"]},
        {"runs": "{runs}", "law": "hoffmann2022", "seed": -1},
        {"runs": "{runs}"},
        {"runs": "{runs}", "law": "hoffmann2022", "at": ["total_params=1B"]},
        {"runs": "{runs}", "law": "hoffmann2022", "preregister": "{tmp}/forecast.json"},
        {"runs": "{runs}", "law": "hoffmann2022", "preregister": "{tmp}/forecast.json", "at": ["total_params=1B"]},
        {"runs": "2.3", "score": "{tmp}/missing.json"},
        {"runs": "{runs}", "score": "README.md"},
        {"runs": "2.3", "score": "{tmp}/missing.json", "law": "hoffmann2022"},
        {"runs": "{runs}", "law": "hoffmann2022", "bootstrap": 0, "out": "{tmp}"},
    ],
    "design": [
        {"total_params": "3B"},
        {"train_tokens": "2T"},
        {"total_params": "", "train_tokens": "2T"},
        {"total_params": "nan", "train_tokens": "2T"},
        {"total_params": "-3B", "train_tokens": "2T"},
        {"memory": "80", "train_tokens": "2T"},
        {"total_params": "3B", "train_tokens": "2T", "top": 0},
        {"total_params": "3B", "train_tokens": "2T", "top": "ten"},
        {"total_params": "3B", "train_tokens": "2T", "context": "-1"},
        {"total_params": "3B", "train_tokens": "2T", "context": "1.5"},
        {"total_params": "3B", "train_tokens": "2T", "context": "32GB"},
        {"total_params": "3B", "train_tokens": "2T", "vocab_size": 0},
        {"total_params": "3B", "train_tokens": "2T", "weights_dtype": "bf17"},
        {"total_params": "3B", "train_tokens": "2T", "space": "{tmp}"},
        {"total_params": "3B", "train_tokens": "2T", "law": ["nothing"]},
        {"total_params": "3B", "train_tokens": "2T", "train_hardware": "H1000"},
        {"total_params": "3B", "train_tokens": "2T", "train_devices": 0},
        {"total_params": "3B", "train_tokens": "2T", "train_devices": 12},
        {"total_params": "3B", "train_tokens": "2T", "price": ["A100-80GB=1"]},
        {"total_params": "3B", "train_tokens": "2T", "price": ["H100"]},
        {"total_params": "3B", "train_tokens": "2T", "price": ["H100=-1"]},
        {"total_params": "3B", "train_tokens": "2T", "serve_tokens": "many"},
        {"total_params": "3B", "train_tokens": "2T", "power_price": -0.5},
        {"total_params": "3B", "train_tokens": "2T", "power_price": 0.1, "hardware": "M5-Max"},
        {"total_params": "3B", "train_tokens": "2T", "serve_tokens": "1T", "prefer": "train"},
        {"total_params": "3B", "train_tokens": "2T", "serve_tokens": "1T", "train_hardware": "A100-80GB"},
        {"total_params": "3B", "train_tokens": "2T", "own": "{runs}"},
        {"total_params": "3B", "train_tokens": "2T", "own": "{tmp}/missing.csv"},
        {"own": "{runs}", "print_space": True},
        {"total_params": "3B", "train_tokens": "2T", "print_space": True},
        {"explain": True, "print_space": True},
        {"total_params": "3B", "train_tokens": "2T", "prefer": "cheap"},
        {"total_params": "3B", "train_tokens": "2T", "baseline": "{tmp}/missing.json"},
        {"like": "{tmp}/missing.json", "train_tokens": "2T"},
    ],
    "train": [
        {"spec": "examples/train/tiny.yaml"},
        {"spec": "examples/train/tiny.yaml", "out": "{tmp}/run", "dry_run": True},
        {"spec": "{tmp}/missing.yaml", "dry_run": True},
        {"spec": "{tmp}", "dry_run": True},
        {"spec": "README.md", "dry_run": True},
        {"spec": OLMOE, "dry_run": True},
        {"spec": "{runs}", "dry_run": True},
        {"spec": "x" * 300, "dry_run": True},
        {"spec": "", "dry_run": True},
        {"spec": "examples/sweeps/tiny.yaml", "dry_run": True},
    ],
    "sweep": [
        {"spec": "examples/sweeps/tiny.yaml"},
        {"spec": "examples/sweeps/tiny.yaml", "dry_run": True, "watch": True},
        {"spec": "examples/sweeps/tiny.yaml", "dry_run": True, "add": True},
        {"spec": "examples/sweeps/tiny.yaml", "out": "{tmp}/s", "noise": 0.1},
        {"spec": "examples/sweeps/tiny.yaml", "out": "{tmp}/s", "forecast": ["zhao2025"]},
        {"spec": "examples/sweeps/tiny.yaml", "out": "{tmp}/s", "jobs": 0},
        {"spec": "examples/sweeps/tiny.yaml", "out": "{tmp}/s", "jobs": "two"},
        {"spec": "examples/sweeps/tiny.yaml", "out": "{tmp}/s", "executor": "slurmm"},
        {"spec": "examples/sweeps/tiny.yaml", "out": "{tmp}/s", "watch": True},
        {"spec": "examples/sweeps/tiny.yaml", "out": "{tmp}/s", "trainer": "hugging"},
        {"spec": "examples/sweeps/tiny.yaml", "out": "{tmp}/s", "trainer": "command"},
        {"spec": "examples/sweeps/tiny.yaml", "out": "{tmp}/s", "write_only": True},
        {"spec": "examples/sweeps/tiny.yaml", "dry_run": True, "write_only": True},
        {"spec": "examples/sweeps/tiny.yaml", "out": "{tmp}/s", "write_only": True, "jobs": 1},
        {"spec": "{tmp}/missing.yaml", "dry_run": True},
        {"spec": "examples/train/tiny.yaml", "dry_run": True},
    ],
    "runs": [
        {"path": "{tmp}/missing"},
        {"path": "README.md"},
        {"path": "examples/configs"},
        {"path": [""]},
        {"path": ["x" * 300]},
        {"path": "examples", "out": "{tmp}/runs.xls"},
        {"path": "examples", "out": "{tmp}"},
        {"path": "examples", "curves": "{tmp}/curves.txt"},
        {"path": "examples", "out": ""},
        {"path": "{runs}"},
    ],
    "export": [
        {"design": OLMOE, "format": "jax", "out": "{tmp}/new"},
        {"design": OLMOE, "format": "", "out": "{tmp}/new"},
        {"design": OLMOE, "format": "megatorn", "out": "{tmp}/new"},
        {"design": OLMOE, "format": "hf", "out": "examples"},
        {"design": OLMOE, "format": "hf", "out": "README.md/new"},
        {"design": "{tmp}/missing.json", "format": "hf", "out": "{tmp}/new"},
        {"design": "{tmp}", "format": "hf", "out": "{tmp}/new"},
        {"design": OLMOE, "format": "megatron", "out": "{tmp}/new", "balance_loss": "much"},
        {"design": OLMOE, "format": "megatron", "out": "{tmp}/new", "balance_loss": "-1"},
        {"design": OLMOE, "format": "megatron", "out": "{tmp}/new", "balance_loss": "nan"},
        {"design": "examples/hybrid.yaml", "format": "megatron", "out": "{tmp}/new"},
    ],
    "report": [
        {"path": "{tmp}/missing.json", "out": "{tmp}/report.html"},
        {"path": "{tmp}", "out": "{tmp}/report.html"},
        {"path": "olmoe", "out": "{tmp}/report.html"},
        {"path": "README.md", "out": "{tmp}/report.html"},
        {"path": "examples/small_mixtures/space.yaml", "out": "{tmp}/report.html"},
        {"path": [OLMOE, "examples/train/tiny.yaml"], "out": "{tmp}/report.html"},
        {"path": [OLMOE, "x" * 300], "out": "{tmp}/report.html"},
        {"path": OLMOE, "out": OLMOE},
        {"path": OLMOE, "out": "{tmp}"},
        {"path": OLMOE, "out": "README.md"},
        {"path": OLMOE, "out": "{tmp}/report.html", "format": "pdf"},
        {"path": OLMOE, "out": "{tmp}/report.html", "watch": True},
    ],
    "data prepare": [
        {"sources": ["{tmp}/missing.txt"], "out": "{tmp}/new", "vocab_size": 300},
        {"sources": ["{tmp}"], "out": "{tmp}/new", "vocab_size": 300},
        {"sources": ["README.md"], "out": "{tmp}/new"},
        {"sources": ["README.md"], "out": "{tmp}/new", "vocab_size": 3},
        {"sources": ["README.md"], "out": "{tmp}/new", "vocab_size": "many"},
        {"sources": ["README.md"], "out": "{tmp}/new", "tokenizer": "{tmp}/missing.json"},
        {"sources": ["README.md"], "out": "{tmp}/new", "vocab_size": 300, "validation_share": 0.7},
        {"sources": ["README.md"], "out": "{tmp}/new", "vocab_size": 300, "validation_share": "half"},
        {"sources": ["README.md"], "out": "{tmp}/new", "vocab_size": 300, "seed": -1},
        {"sources": ["README.md"], "out": "examples", "vocab_size": 300},
        {"sources": ["README.md"], "out": "{tmp}/new", "vocab_size": 300, "text_key": "text"},
        {"sources": ["README.md"], "out": "{tmp}/new", "vocab_size": 300, "tokens_per_shard": 0},
    ],
}
"""By command, arguments with something wrong in each; text where the command line cannot say it otherwise."""


def filled(arguments: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """With the places of the test's own files."""
    table = tmp_path.parent / f"{tmp_path.name}.csv"
    if not table.exists():
        TABLE.to_csv(table, index=False)

    def fill(value: Any) -> Any:
        if isinstance(value, list):
            return [fill(item) for item in value]
        return value.format(tmp=tmp_path, runs=table) if isinstance(value, str) else value

    return {name: fill(value) for name, value in arguments.items()}


def as_typed(path: str, arguments: dict[str, Any]) -> list[str]:
    """The command line that says the same."""
    first, parameter = next(iter(inspect.signature(getattr(moewright, COMMANDS[path])).parameters.items()))
    typed = path.split()
    for name, value in arguments.items():
        for item in value if isinstance(value, list) else [value]:
            if name == first and parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                typed.append(str(item))
            else:
                typed += [f"--{name.replace('_', '-')}", *([] if item is True else [str(item)])]
    return typed


CASES = [(path, number) for path, cases in BAD.items() for number in range(len(cases))]


@pytest.mark.parametrize(("path", "number"), CASES)
def test_python_and_the_command_line_say_the_same(
    path: str, number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = filled(BAD[path][number], tmp_path)
    message = one_line(getattr(moewright, COMMANDS[path]), **arguments)
    code, out, err = run(capsys, *as_typed(path, arguments))
    assert (code, out) == (2, "")
    assert err == f"moewright: {' '.join(message.split())}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", BAD)
def test_a_process_ends_with_2_and_one_line(path: str, tmp_path: Path) -> None:
    assert len(BAD[path]) >= 10
    for case in (BAD[path][0], BAD[path][-1]):
        typed = as_typed(path, filled(case, tmp_path))
        done = subprocess.run([sys.executable, "-m", "moewright", *typed], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("moewright: ")
        assert done.stderr.count("\n") == 1


anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.lists(st.text() | st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_whatever_is_given_is_answered_or_refused_in_one_line(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["inspect", "predict", "describe_laws", "export", "design", "train", "sweep"]))
    function = getattr(moewright, name)
    arguments = [one for one in inspect.signature(function).parameters if one not in ("out", "dry_run", "total_params")]
    good = {"design": {"total_params": "1", "train_tokens": "2T"}}.get(name, GOOD[name])  # no model is as small
    given_ = {**good, data.draw(st.sampled_from(arguments)): data.draw(anything)}
    answered = True
    try:
        function(**given_)
    except UserError as error:
        answered = "\n" not in str(error)
    assert answered
