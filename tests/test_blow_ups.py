"""Small or endless inputs that would take all memory or all time: refused in one line, in seconds and 200 MB.

Each command runs in a process of its own. The memory that Python and the command's libraries take to start is measured
by the same command on a file that is not there, and comes on top. Processor time has a limit far above what
docs/inputs.md says, so that a busy machine fails no test, and far below what such inputs took.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

SECONDS, BYTES = 15, 200e6
WAIT = 300
"""Seconds of the clock after which a reader of an endless file counts as stuck."""
LAYER = {
    "mixer": {"kind": "attention", "num_heads": 8, "num_kv_heads": 8, "head_dim": 64},
    "feed_forward": {"kind": "dense", "size": 256},
}
MODEL: dict[str, Any] = {
    "format": "moewright-architecture/1",
    "vocab_size": 1000,
    "hidden_size": 512,
    "layers": [LAYER],
}
RECIPE = {"architecture": MODEL, "data": "d", "train_tokens": 1, "batch_tokens": 1}
INSPECT = ("inspect", "{}")
SWEEP = ("sweep", "{}", "--dry-run")
FIT = ("fit", "{}", "--law", "hoffmann2022", "--bootstrap", "0")
DESIGN = ("design", "--memory", "80GB", "--train-tokens", "2T")


def nested(times: int) -> dict[str, Any]:
    """Repeats of repeats: few bytes, more layers than atoms."""
    found: dict[str, Any] = {"repeat": 1000, "layers": [LAYER]}
    for _ in range(times):
        found = {"repeat": 1000, "layers": [found]}
    return found


def yaml_of(model: dict[str, Any], layers: str) -> str:
    more = "\n".join(f"{name}: {json.dumps(value)}" for name, value in model.items() if name != "layers")
    return f"{more}\nlayers:\n- &layer {json.dumps(LAYER)}\n{layers}"


def axis(values: range) -> str:
    return json.dumps(list(values))


GROUPS = [{"count": 1 + i % 7, "expert_size": 1 + i, "top_k": 1} for i in range(60_000)]
CASES: dict[str, tuple[tuple[str, ...], str, Callable[[], str], str]] = {
    "a million aliased layers": (
        INSPECT,
        "x.yaml",
        lambda: yaml_of(MODEL, "- *layer\n" * 1_000_000),
        "characters of YAML",
    ),
    "many aliased layers": (
        INSPECT,
        "x.yaml",
        lambda: yaml_of(MODEL, "- *layer\n" * 20_000),
        "more than 100,000 values",
    ),
    "many layers": (
        INSPECT,
        "x.json",
        lambda: json.dumps({**MODEL, "layers": [LAYER] * 50_000}),
        "50000 layers are more",
    ),
    "repeats of repeats": (
        INSPECT,
        "x.json",
        lambda: json.dumps({**MODEL, "layers": [nested(40)]}),
        "more than the 1000",
    ),
    "many groups": (
        INSPECT,
        "x.json",
        lambda: json.dumps({**MODEL, "layers": [{**LAYER, "feed_forward": {"kind": "moe", "groups": GROUPS}}]}),
        "at most 1000 items",
    ),
    "many seeds": (
        SWEEP,
        "x.json",
        lambda: json.dumps({"recipe": RECIPE, "seeds": list(range(200_000))}),
        "200,000 runs",
    ),
    "many points": (
        SWEEP,
        "x.json",
        lambda: json.dumps({"recipe": RECIPE, "axes": [{"points": [{"seed": i} for i in range(200_000)]}]}),
        "200,000 cells are more than the 20,000",
    ),
    "a wide grid": (
        SWEEP,
        "x.yaml",
        lambda: json.dumps({"recipe": RECIPE, "axes": [{"grid": {n: list(range(1, 900)) for n in "abcdefgh"}}]}),
        "cells are more than the 20,000",
    ),
    "many rows": (FIT, "x.csv", lambda: "a,loss\n" + "1,2\n" * 2_000_000, "more than 1,000,000 rows"),
    "many lines": (FIT, "x.jsonl", lambda: '{"loss":2}\n' * 2_000_000, "more than 1,000,000 rows"),
    "many columns": (FIT, "x.csv", lambda: ",".join(f"a{i}" for i in range(100_000)), "more than 10,000 columns"),
    "a huge value": (FIT, "x.csv", lambda: f"a,loss\n{'7' * 20_000_000},2\n", "field larger than field limit"),
    "a space without an end": (
        (*DESIGN, "--space", "{}"),
        "x.yaml",
        lambda: (
            f"widths: {axis(range(512, 13_312, 64))}\ndepths: {axis(range(4, 204))}\nexperts: {axis(range(8, 108))}\n"
            f"top_k: {axis(range(1, 33))}\n"
        ),
        "combinations, more than the 10,000,000",
    ),
}


def _run(arguments: tuple[str, ...], path: Path) -> tuple[int, str, float]:
    """Exit code, stderr and bytes at most."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))

    typed = [argument.replace("{}", str(path)) for argument in arguments]
    command = [sys.executable, "-m", "moewright", *typed]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=limited) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, said, used.ru_maxrss * 1024.0


@pytest.mark.parametrize("name", CASES)
def test_blow_ups_are_refused_in_time_and_memory(name: str, tmp_path: Path) -> None:
    arguments, file, make, message = CASES[name]
    (tmp_path / file).write_text(make())
    code, said, most = _run(arguments, tmp_path / file)
    assert (code, said.count("\n")) == (2, 1), said[-500:]
    assert message in said
    _, _, start_most = _run(arguments, tmp_path / f"absent-{file}")
    assert most - start_most < BYTES


READERS: dict[str, tuple[str, ...]] = {
    "inspect": INSPECT,
    "predict": ("predict", "{}", "--train-tokens", "2T"),
    "hardware": ("inspect", "examples/configs/qwen3-30b-a3b.json", "--hardware", "{}"),
    "law": ("predict", "examples/configs/qwen3-30b-a3b.json", "--train-tokens", "2T", "--law", "{}"),
    "space": (*DESIGN, "--space", "{}"),
    "like": ("design", "--train-tokens", "2T", "--like", "{}"),
    "sweep": SWEEP,
    "recipe": ("train", "{}", "--dry-run"),
    "export": ("export", "{}", "--format", "hf", "--out", "out"),
    "tokenizer": ("data", "prepare", "README.md", "--tokenizer", "{}", "--out", "out"),
}


@pytest.mark.parametrize("reader", READERS)
def test_devices_and_pipes_are_not_read(reader: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither may ever end."""
    from tests.test_cli import run

    (tmp_path / "zero.json").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.json")
    for path in ("zero.json", "pipe.json"):
        typed = [argument.replace("{}", str(tmp_path / path)) for argument in READERS[reader]]
        code, out, err = run(capsys, *typed)
        assert (code, out) == (2, "")
        assert "not a regular file but a device or a pipe" in err


FOLDERS: dict[str, tuple[str, ...]] = {
    "finished": ("runs", "{}", "--json"),
    "interrupted": ("runs", "{}", "--curves", "curves.csv.gz"),
    "sweep-partial": ("report", "{}", "--out", "report.html"),
    "data": ("train", "recipe.yaml", "--dry-run"),
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_of_a_folder_is_read_as_one_that_never_ends(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every file of runs, sweeps and datasets, in turn an endless device and a pipe that nobody writes to."""
    from tests.test_cli import run

    archive = Path("tests/experiment/old_folders/34ba6fa.tar.xz").resolve()
    shutil.unpack_archive(archive, tmp_path / "valid", filter="data")
    files = sorted(each for each in (tmp_path / "valid" / folder).rglob("*") if each.is_file())
    for number, kind in product(range(len(files)), ("device", "pipe")):
        room = shutil.copytree(tmp_path / "valid", tmp_path / "room")
        monkeypatch.chdir(room)
        changed = room / files[number].relative_to(tmp_path / "valid")
        changed.unlink()
        changed.symlink_to("/dev/zero") if kind == "device" else os.mkfifo(changed)
        signal.alarm(WAIT)  # by default the end of the process: better than of none
        code, _, err = run(capsys, *(each.replace("{}", folder) for each in FOLDERS[folder]))
        signal.alarm(0)
        assert code in (0, 2), err
        assert "Traceback" not in err
        assert code == 0 or err.count("\n") == 1
        shutil.rmtree(room)


def test_tables_that_never_end_are_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.test_cli import run

    for ending in ("csv", "jsonl", "parquet"):
        (tmp_path / f"zero.{ending}").symlink_to("/dev/zero")
        os.mkfifo(tmp_path / f"pipe.{ending}")
        with open(tmp_path / f"huge.{ending}", "wb") as file:
            file.truncate(2 * 2**30)  # sparse
        for name, message in (
            ("zero", "a device or a pipe"),
            ("pipe", "a device or a pipe"),
            ("huge", "bytes are more"),
        ):
            code, _, err = run(capsys, "fit", str(tmp_path / f"{name}.{ending}"), "--law", "hoffmann2022")
            assert code == 2
            assert message in err
