"""Without torch, and without submitit: everything but the training itself.

Each case runs in a process of its own in which neither package can be imported.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from moewright.sweeps.running.submitting import note_run, note_specification, submitting
from moewright.sweeps.running.sweeping import load_sweep, planner_in
from tests.lab.tiny import recipe

BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "submitit"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""
IMPORT_ALL = """
import importlib, pkgutil, moewright
for module in pkgutil.walk_packages(moewright.__path__, "moewright.", onerror=lambda name: None):
    if not module.name.startswith(("moewright.lab", "moewright.__main__", "moewright.exporters.templates")):
        importlib.import_module(module.name)
"""
COMMAND = "sys.argv[0] = 'moewright'; from moewright.cli import main; main()"


@pytest.fixture
def small_sweep(data: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({"recipe": recipe(data), "axes": [{"grid": {"num_experts": [4, 8]}}]}))
    return path


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BLOCK + program, *arguments], capture_output=True, text=True)


def test_every_module_but_the_labs_is_imported() -> None:
    ended = run(IMPORT_ALL)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("executor", ["local", "slurm"])
def test_a_dry_run_counts_and_says_that_times_are_unknown(small_sweep: Path, executor: str) -> None:
    ended = run(COMMAND, "sweep", str(small_sweep), "--dry-run", "--executor", executor)
    assert ended.returncode == 0, ended.stderr
    assert "2: 2 main" in ended.stdout
    assert ("torch is not installed" in ended.stdout or "submitit is not installed" in ended.stdout) == (
        executor == "local"
    )


def test_a_sweep_leaves_no_folder_behind(small_sweep: Path, tmp_path: Path) -> None:
    ended = run(COMMAND, "sweep", str(small_sweep), "--out", str(tmp_path / "out"))
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_sweep_is_looked_at_and_collected(small_sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    loaded = load_sweep(small_sweep)
    planner = planner_in(None, loaded)
    with submitting(out):
        note_specification(out, loaded.to_dict(), planner.code)
        for planned in planner.plan({}).known:
            note_run(out, planner, planned)
    ended = run(COMMAND, "sweep", str(small_sweep), "--out", str(out), "--watch", "--json")
    assert json.loads(ended.stdout)["states"] == {"pending": 2}, ended.stderr
    ended = run(COMMAND, "runs", str(out))
    assert "Traceback" not in ended.stderr
    assert ended.returncode in (0, 2)  # there is no result yet
