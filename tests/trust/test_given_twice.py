"""One thing under two names or by two paths would count twice, or stand for two things: refused, in one line."""

import json
import os
import shutil
from collections.abc import Callable
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import pytest

import moewright
from moewright.commands import COMMANDS
from moewright.commands.checking import _MAY_REPEAT, bind, is_list, names_of
from moewright.data import open_files
from moewright.errors import UserError
from moewright.runs.readers.column_map import ColumnMap
from tests.lab import tiny


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run tables, and a fitted law with a copy of it."""
    monkeypatch.chdir(tmp_path)
    values = [(n, d, 1.7 + 0.35 / n**0.34 + 0.6 / d**0.28) for n in range(1, 7) for d in range(1, 5)]
    rows = [f"{n}e9,{d}e10,{loss}\n" for n, d, loss in values]
    Path("runs.csv").write_text("total_params,train_tokens,loss\n" + "".join(rows))
    Path("named.csv").write_text("N,D,loss\n" + "".join(rows))
    moewright.fit("runs.csv", "hoffmann2022", bootstrap=0, out="law.json")
    shutil.copy("law.json", "copy.json")
    return tmp_path


TWICE: dict[str, tuple[Callable[[], Any], str]] = {
    "a column as two variables": (
        lambda: moewright.fit("named.csv", "hoffmann2022", column=["total_params=N", "train_tokens=N"]),
        "column train_tokens: 'N' is total_params already",
    ),
    "a variable as the loss": (
        lambda: moewright.fit("named.csv", "hoffmann2022", column={"total_params": "N", "train_tokens": "D"}, loss="D"),
        "the table has no column 'D'",
    ),
    "a variable of the table as the loss": (
        lambda: moewright.fit("runs.csv", "hoffmann2022", loss="train_tokens", bootstrap=0),
        "the column train_tokens is a variable of the law",
    ),
    "the loss as the weights": (
        lambda: moewright.fit("runs.csv", "hoffmann2022", weights="loss"),
        "the column loss is the weight of the rows",
    ),
    "two files of one law, to predict": (
        lambda: moewright.predict("mixtral-8x7b", train_tokens="2T", law=["law.json", "copy.json"]),
        "law: 'hoffmann2022-fitted' is there twice",
    ),
    "two files of one law, for the next runs": (
        lambda: moewright.next_runs("runs.csv", law=["law.json", "copy.json"], spend="1e22"),
        "law: 'hoffmann2022-fitted' is there twice",
    ),
    "two files of one law, to design": (
        lambda: moewright.design(memory="80GB", train_tokens="2T", law=["law.json", "copy.json"]),
        "law: 'hoffmann2022-fitted' is there twice",
    ),
    "a published law by name and as an object": (
        lambda: moewright.predict("mixtral-8x7b", train_tokens="2T", law=["zhao2025", moewright.laws.get("zhao2025")]),
        "law: 'zhao2025' is there twice",
    ),
    "the price of a device in two spellings": (
        lambda: moewright.plan(
            "mixtral-8x7b", hardware="H100", devices=16, train_tokens="1T", price={"H100": 2, "h100": 3}
        ),
        "price: h100 and H100 are the same device",
    ),
    "the price of a device with a blank": (
        lambda: moewright.plan(
            "mixtral-8x7b", hardware="H100", devices=16, train_tokens="1T", price=["H100=2", "H100 =3"]
        ),
        "price H100: given twice",
    ),
    "prices of a design's device": (
        lambda: moewright.design(memory="80GB", train_tokens="2T", price=["H100=2", "h100=3"]),
        "price: h100 and H100 are the same device",
    ),
    "a logger's metric as two columns": (
        lambda: ColumnMap({"train_tokens": "seen", "total_params": {"from": "seen", "times": 1}}, "map.yaml"),
        "map.yaml: total_params: 'seen' is train_tokens already",
    ),
}


@pytest.mark.parametrize("case", TWICE)
def test_one_thing_under_two_names_is_refused(case: str, room: Path) -> None:
    ask, complaint = TWICE[case]
    with pytest.raises(UserError, match=complaint):
        ask()


def test_what_differs_is_taken(room: Path) -> None:
    """Two fits under names of their own; a metric with two factors, such as steps as tokens and as FLOPs."""
    other = json.loads(Path("copy.json").read_text())
    Path("copy.json").write_text(json.dumps({**other, "name": "hoffmann2022-before"}))
    found = moewright.predict("mixtral-8x7b", train_tokens="2T", law=["law.json", "copy.json"])
    assert {each["law"] for each in found.to_dict()["laws"]} == {"hoffmann2022-fitted", "hoffmann2022-before"}
    ColumnMap({"train_tokens": {"from": "step", "times": 512}, "train_flops": {"from": "step", "times": 1e15}}, "map")


def command_of(module: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(import_module(f"moewright.commands.{module}"), module)
    return function


LISTS = [
    (path, name)
    for path, module in COMMANDS.items()
    for name, parameter in signature(command_of(module)).parameters.items()
    if is_list(parameter) and name not in _MAY_REPEAT
]


@pytest.mark.parametrize(("path", "name"), LISTS)
def test_a_file_by_two_paths_is_given_twice(path: str, name: str, tmp_path: Path) -> None:
    """For every argument of every command that takes several things."""
    function = command_of(COMMANDS[path])
    file, link, hard = tmp_path / "file", tmp_path / "link", tmp_path / "hard"
    file.write_text("x")
    link.symlink_to(file)
    os.link(file, hard)
    needed = {
        each: 1 if "int" in names_of(parameter) else "x"
        for each, parameter in signature(function).parameters.items()
        if parameter.default is Parameter.empty
    }
    for also in (file, link, hard, tmp_path / ".." / tmp_path.name / "file"):
        with pytest.raises(UserError, match="is given twice"):
            bind(function, (), {**needed, name: [str(file), str(also)]})


def test_there_are_such_arguments() -> None:
    assert {("report", "path"), ("runs", "path"), ("predict", "law"), ("data prepare", "sources")} <= {*LISTS}


@pytest.mark.parametrize(
    ("train", "validation", "complaint"),
    [
        (["train.bin"], {"near": ["train.bin"]}, "in train and in validation set 'near'"),
        (["train.bin"], {"near": ["near.bin"], "far": ["link.bin"]}, "in train and in validation set 'far'"),
        (["train.bin", "link.bin"], {"near": ["near.bin"]}, "twice in train"),
        (["train.bin"], {"near": ["near.bin"], "far": ["near.bin"]}, "in validation set 'near' and in .* 'far'"),
    ],
)
def test_a_shard_stands_once(
    train: list[str], validation: dict[str, list[str]], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A validation loss on what was trained would pass for a good one."""
    monkeypatch.chdir(tmp_path)
    tiny.write_tokens(tmp_path)
    Path("link.bin").symlink_to("train.bin")
    with pytest.raises(UserError, match=f"the same shard stands {complaint}"):
        open_files(train, validation, tiny.VOCAB, "uint16")
