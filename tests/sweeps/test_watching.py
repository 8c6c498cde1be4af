"""Looking on at another process's sweep: its states as they change, and Ctrl-C leaves it alone."""

import io
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moewright.errors import UserError
from moewright.experiment.collecting.learning_curves import sample_losses
from moewright.experiment.sweep_folder import SWEEP
from moewright.report.sweep_tables import sweep_progress
from moewright.screen import Screen
from moewright.sweeps.foresight.dry_run import dry_run
from moewright.sweeps.running.sweeping import sweep, sweep_status
from tests.lab.tiny import recipe


def test_changes_of_states_are_lines_where_nothing_is_drawn() -> None:
    console = Screen(file=io.StringIO(), width=80)
    with sweep_progress(console, looks_on=True) as progress:
        for done in (0, 0, 1, 1, 2):
            states = dict(enumerate(["done"] * done + ["running"] * (2 - done)))
            progress.refresh(SimpleNamespace(states=states, plan=SimpleNamespace(runs=[])))  # type: ignore[arg-type]
    lines = [line.partition(" ")[2] for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert lines == ["2 running", "1 running, 1 done", "2 done"]


@pytest.mark.slow
def test_watching_tells_and_touches_nothing(tmp_path: Path, data: dict[str, Any]) -> None:
    spec, out = tmp_path / "sweep.json", tmp_path / "out"
    axes = [{"grid": {"learning_rate": [0.01, 0.02]}}]
    spec.write_text(
        json.dumps({"recipe": recipe(data, 30), "axes": axes, "execution": {"cores_per_run": 1}}), encoding="utf-8"
    )
    command = [sys.executable, "-m", "moewright", "sweep", str(spec), "--out", str(out)]
    with subprocess.Popen([*command, "--jobs", "2", "--quiet"], stdout=subprocess.PIPE, text=True) as sweep:
        while not (out / SWEEP).exists():
            time.sleep(0.1)
        with subprocess.Popen([*command, "--watch"], stderr=subprocess.PIPE, text=True) as watch:
            assert watch.stderr is not None
            first = watch.stderr.readline()
            watch.send_signal(signal.SIGINT)
            assert watch.stderr.read().splitlines()[-1:] == ["moewright: interrupted"]
        assert watch.returncode == 130
        assert re.fullmatch(r"\d\d:\d\d:\d\d .*\d (pending|running|done).*\n", first)
        assert sweep.stdout is not None
        assert "done" in sweep.stdout.read()
    assert sweep.returncode == 0
    after = subprocess.run([*command, "--watch"], capture_output=True, text=True, check=True)
    assert after.stderr.endswith("2 done\n")
    collected = subprocess.run(
        [sys.executable, "-m", "moewright", "runs", str(out)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8", "PYTHONPATH": ":".join(sys.path)},
    )
    assert re.search(r"curve", collected.stdout)
    assert re.search(r"█[▁▂▃▄▅▆▇█]+", collected.stdout)


def test_losses_are_sampled_in_their_order(tmp_path: Path) -> None:
    """Of a run of any length, cut lines and lines of other kinds included."""
    assert sample_losses(tmp_path) == []
    steps = 5000
    lines = [
        json.dumps({"kind": "train", "step": step, "tokens": step, "loss": 1 / step, "time": 1.0})
        for step in range(1, steps + 1)
    ]
    found = []
    for count in (1, 7, steps):
        (tmp_path / "metrics.jsonl").write_text("\n".join([*lines[:count], '{"kind": "train", "st']), encoding="utf-8")
        found.append(sample_losses(tmp_path))
    assert all(losses == sorted(losses, reverse=True) for losses in found)
    assert [len(losses) for losses in found] == [1, 7, 10]
    assert found[-1][-1] == 1 / steps


def test_only_the_sweep_of_a_folder_is_looked_on_at(tmp_path: Path, data: dict[str, Any]) -> None:
    """Another specification shares runs with it, which would pass for progress of its own. So does a dry run refuse
    what the sweep itself would."""
    out = tmp_path / "out"

    def spec(**changes: Any) -> dict[str, Any]:
        return {"recipe": recipe(data, 30), "seeds": [0, 1], **changes}

    sweep(spec(), out, write_only=True)
    assert sweep_status(spec(), out).counts == {"pending": 2}
    assert sweep_status(spec(seeds=[1]), out).counts == {"pending": 1}  # a part of it
    for other, missing, all_of_it in ((spec(seeds=[0, 1, 2]), 1, 3), (spec(seeds=[7]), 1, 1)):
        with pytest.raises(UserError, match=f"another sweep: {missing} of this specification's {all_of_it} runs"):
            sweep_status(other, out)
    with pytest.raises(UserError, match=r"none of this specification's: it is another sweep's; .*--add"):
        dry_run(spec(seeds=[7]), out)
    assert [each.state for each in dry_run(spec(seeds=[7]), out, executor="slurm", add=True).runs] == ["pending"]
