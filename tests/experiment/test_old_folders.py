"""Folders that commit 34ba6fa wrote, before identities by meaning: read, continued, finished to the same bits."""

import json
import os
import platform
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from moewright import collect_runs

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
    """A command, one thread a process, so that bits repeat."""
    command = [sys.executable, "-m", "moewright", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
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


def test_a_sweep_goes_on_and_each_run_is_done_once(old: Path) -> None:
    done = moewright(old, "sweep", "sweep.yaml", "--out", "sweep-partial", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    losses, begins = {}, {}
    for file in (old / "sweep-partial" / "cells").glob("*.json"):
        cell = json.loads(file.read_text(encoding="utf-8"))
        rate = cell["recipe"]["learning_rate"]
        losses[f"{cell['settings']['expert_share']} {cell['settings']['seed']} {rate:g}"] = loss_of(
            old / "sweep-partial" / "runs" / file.stem
        )
        lines = (old / "sweep-partial" / "attempts" / f"{file.stem}.jsonl").read_text(encoding="utf-8").splitlines()
        begins[file.stem] = [json.loads(line)["step"] for line in lines if '"begin"' in line]
    assert losses.keys() == KNOWN["sweep"].keys()
    assert all(same(losses[name], known) for name, known in KNOWN["sweep"].items())
    # The two that were done were not begun again, and the third went on from its checkpoint.
    assert sorted(begins.values()) == [[0]] * 5 + [[0, 16]]


def test_runs_of_unknown_code_are_not_taken_for_these(old: Path) -> None:
    for file in (old / "sweep-partial" / "cells").glob("*.json"):
        cell = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps({**cell, "code": "0" * 64}), encoding="utf-8")
    refused = moewright(old, "sweep", "sweep.yaml", "--out", "sweep-partial")
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert "other code trained them" in refused.stderr
    assert "name a new folder, or --add" in refused.stderr
