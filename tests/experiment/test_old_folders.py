"""Folders that commit 34ba6fa wrote, before identities by meaning: read, continued, finished to the same bits."""

import json
import os
import platform
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from moewright import collect_runs
from moewright.experiment.product_backends import OVERRIDE

torch = pytest.importorskip("torch")

WRITTEN = Path(__file__).with_name("old_folders")
KNOWN: dict[str, Any] = json.loads((WRITTEN / "34ba6fa.json").read_text(encoding="utf-8"))
BITS_REPEAT = (
    torch.__version__ == KNOWN["torch"]
    and torch.backends.cpu.get_cpu_capability() == KNOWN["capability"]
    and "AMD EPYC" in (Path("/proc/cpuinfo").read_text() if platform.system() == "Linux" else "")
)
"""On the kind of machine that wrote them with that torch; on others sums are rounded elsewhere."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folders, unpacked in another place than they were written in, and not a moment ago."""
    with tarfile.open(WRITTEN / "34ba6fa.tar.xz") as files:
        files.extractall(tmp_path, filter="data")
    for path in tmp_path.rglob("*"):
        os.utime(path, (1.7e9, 1.7e9))
    return tmp_path


def moewright(old: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command, one thread a process, so that bits repeat; products as the folders say, which is oneDNN's."""
    command = [sys.executable, "-m", "moewright", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", OVERRIDE: ""}
    return subprocess.run(command, cwd=old, env=environment, capture_output=True, text=True, check=False)


def loss_of(folder: Path) -> float:
    status: dict[str, Any] = json.loads((folder / "status.json").read_text(encoding="utf-8"))
    assert status["state"] == "finished"
    return float(status["loss"])


def same(loss: float, known: float) -> bool:
    return loss == known if BITS_REPEAT else loss == pytest.approx(known, rel=1e-4)


def test_runs_are_read(old: Path) -> None:
    table = collect_runs(old).table
    assert sorted(table["state"]) == ["done"] * 3 + ["interrupted"] * 2
    assert same(table.loc[table["run_id"] == "finished", "loss"].item(), KNOWN["finished"])
    assert table.loc[table["run_id"] == "finished", "matmul_utilization"].item() > 0


def test_a_run_goes_on_and_a_finished_one_is_left_alone(old: Path) -> None:
    before = (old / "finished" / "metrics.jsonl").read_bytes()
    for name in ("finished", "interrupted"):
        done = moewright(old, "train", "recipe.yaml", "--out", name)
        assert done.returncode == 0, done.stderr
        assert same(loss_of(old / name), KNOWN["finished"])
    assert (old / "finished" / "metrics.jsonl").read_bytes() == before
    if BITS_REPEAT:
        weights = [
            old / name / "checkpoints" / "step-00000125" / "model.safetensors" for name in ("finished", "interrupted")
        ]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def sweep_of(old: Path) -> tuple[dict[str, float], dict[str, list[int]]]:
    """Losses by settings and rate of a sweep that is done, and by run the steps that its attempts began from."""
    losses, begins = {}, {}
    for file in (old / "sweep-partial" / "cells").glob("*.json"):
        cell = json.loads(file.read_text(encoding="utf-8"))
        rate = cell["recipe"]["learning_rate"]
        losses[f"{cell['settings']['expert_share']} {cell['settings']['seed']} {rate:g}"] = loss_of(
            old / "sweep-partial" / "runs" / file.stem
        )
        begins[file.stem] = [begun["step"] for begun in begins_of(old, file.stem)]
    return losses, begins


def begins_of(old: Path, run: str) -> list[dict[str, Any]]:
    file = old / "sweep-partial" / "attempts" / f"{run}.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line) for line in lines if '"begin"' in line]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_known(losses: dict[str, float]) -> None:
    assert losses.keys() == KNOWN["sweep"].keys()
    assert all(same(losses[name], known) for name, known in KNOWN["sweep"].items())


@pytest.mark.slow
def test_a_sweep_goes_on_and_each_run_is_done_once(old: Path) -> None:
    done = moewright(old, "sweep", "sweep.yaml", "--out", "sweep-partial", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    losses, begins = sweep_of(old)
    assert_known(losses)
    # The two that were done were not begun again, and the third went on from its checkpoint.
    assert sorted(begins.values()) == [[0]] * 5 + [[0, 16]]

    runs = contents(old / "sweep-partial" / "runs")
    again = moewright(old, "sweep", "sweep.yaml", "--out", "sweep-partial", "--jobs", "2")
    assert again.returncode == 0, again.stderr
    assert sweep_of(old) == (losses, begins)
    assert contents(old / "sweep-partial" / "runs") == runs


@pytest.mark.slow
def test_a_sweep_killed_while_it_goes_on_loses_nothing(old: Path) -> None:
    """`kill -9` of the submitter and of the worker that went on with the old run, past its old checkpoint."""
    run, done = "1eddff8e6a98", ("44d6dd18bcfa", "ed40a1f6f3a2")
    runs = old / "sweep-partial" / "runs"
    before = {name: contents(runs / name) for name in done}
    command = [sys.executable, "-m", "moewright", "sweep", "sweep.yaml", "--out", "sweep-partial", "--jobs", "1"]
    with (old / "log").open("w") as log:
        submitter = subprocess.Popen(
            command, cwd=old, env={**os.environ, "OMP_NUM_THREADS": "1", OVERRIDE: ""}, stdout=log, stderr=log
        )
    try:
        checkpoints, until = runs / run / "checkpoints", time.monotonic() + 300
        while len(begins_of(old, run)) < 2 or not any(f.name > "step-00000016" for f in checkpoints.glob("step-*")):
            assert submitter.poll() is None, (old / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.002)
    finally:
        submitter.kill()
        submitter.wait()
    with suppress(ProcessLookupError):
        os.kill(begins_of(old, run)[-1]["pid"], signal.SIGKILL)
    assert [begun["step"] for begun in begins_of(old, run)] == [0, 16]

    ended = moewright(old, "sweep", "sweep.yaml", "--out", "sweep-partial", "--jobs", "2")
    assert ended.returncode == 0, ended.stderr
    losses, begins = sweep_of(old)
    assert_known(losses)
    assert begins[run][:2] == [0, 16]
    assert all(step > 16 for step in begins[run][2:])
    assert {name: contents(runs / name) for name in done} == before


def test_watching_and_planning_change_nothing(old: Path) -> None:
    before = contents(old)
    for look in ("--watch", "--dry-run"):
        seen = moewright(old, "sweep", "sweep.yaml", "--out", "sweep-partial", look)
        assert seen.stderr == "" or "Traceback" not in seen.stderr
        assert "interrupted" in seen.stdout, seen.stderr
        assert contents(old) == before
    assert "2 done, 1 interrupted, 4 pending" in " ".join(seen.stdout.split())


@pytest.mark.parametrize(("run", "step"), [("finished", 125), ("interrupted", 32)])
def test_a_run_is_exported(old: Path, run: str, step: int) -> None:
    """A folder that moved away from its tokenizer says which line of it to mend, as it did."""
    refused = moewright(old, "export", run, "--format", "hf", "--out", "refused")
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert "put it back, or write null to export without a tokenizer" in refused.stderr
    record = old / run / "run.json"
    record.write_text(record.read_text(encoding="utf-8").replace("/old/here", str(old)), encoding="utf-8")
    done = moewright(old, "export", run, "--format", "hf", "--out", "model")
    assert done.returncode == 0, done.stderr
    assert f"weights: of step {step}, fp32" in done.stdout
    exported = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in (old / "model").iterdir()} == exported


def test_runs_of_unknown_code_are_not_taken_for_these(old: Path) -> None:
    for file in (old / "sweep-partial" / "cells").glob("*.json"):
        cell = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps({**cell, "code": "0" * 64}), encoding="utf-8")
    refused = moewright(old, "sweep", "sweep.yaml", "--out", "sweep-partial")
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert "other code trained them" in refused.stderr
    assert "name a new folder, or --add" in refused.stderr
