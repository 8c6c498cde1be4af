"""A sweep whose processes are killed at random moments ends as the plain trainer would have it.

`python -m tests.benchmarks.torture_sweep` does the same for longer, with a full disk.
"""

import json
from pathlib import Path

import pytest

from moewright.experiment.recipe import Recipe
from moewright.experiment.sweep_folder import ATTEMPTS, CELLS, RUNS
from moewright.lab.training import train
from moewright.sweeps.running.sweeping import sweep_status
from tests.sweeps.adversary import Adversary, Victim, check_attempts, check_full_disk
from tests.sweeps.disk_faults import DiskFaults
from tests.sweeps.trainers import LabTrainer, ScriptTrainer

STEPS = 100
SCRIPT_STEPS = 200
"""The script is quick: with fewer, a loaded machine has its sweep done before the last strike."""


def attempt_files(out: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (out / ATTEMPTS).glob("*.jsonl")}


@pytest.mark.usefixtures("quick")
def test_killed_at_random_moments(tmp_path: Path) -> None:
    """3 runs, 5 kills, a SIGTERM, a second submitter; then the bits of uninterrupted runs in this process."""
    spec = LabTrainer().write_sweep(tmp_path / "given", steps=STEPS, experts=[4], seeds=[0])
    victim = Victim(spec, tmp_path / "out", tmp_path / "logs")
    adversary = Adversary(victim, total_steps=3 * STEPS, seed=3, say=lambda text: None, patience=300)
    try:
        adversary.strike(5, stops=1, seconds=1)
        before = attempt_files(victim.out)
        victim.run_to_the_end(300)  # a last time, on a sweep that is done
    finally:
        victim.end()
    # Nothing more begins; at most the note of an end is added, where a worker was killed just before it.
    assert {name: text.count('"begin"') for name, text in attempt_files(victim.out).items()} == {
        name: text.count('"begin"') for name, text in before.items()
    }
    attempts = check_attempts(victim.out)
    found = sweep_status(spec, victim.out)
    assert found.counts == {"done": 3}
    assert {run.id for run in found.status.plan.runs} == attempts.keys()
    for run in attempts:
        recipe = json.loads((victim.out / CELLS / f"{run}.json").read_text())["recipe"]
        train(Recipe.from_dict(recipe), tmp_path / "plain" / run, show=False)
        LabTrainer().check_results(victim.out / RUNS / run, tmp_path / "plain" / run, STEPS)


@pytest.mark.skipif(not DiskFaults.can_be_made(), reason="no compiler for the faults")
@pytest.mark.slow
def test_a_disk_that_fails_under_another_trainer(tmp_path: Path) -> None:
    """The script's sweep, which needs no torch: 4 faults of the disk, one that is full, a kill of each kind
    of process and of everything on the full disk."""
    trainer = ScriptTrainer()
    spec = trainer.write_sweep(tmp_path / "given", steps=SCRIPT_STEPS, experts=[4], seeds=[0, 1])
    victim = Victim(spec, tmp_path / "out", tmp_path / "logs", trainer=trainer, faults=True)
    calm = Victim(spec, tmp_path / "calm", tmp_path / "logs-calm", trainer=trainer)
    adversary = Adversary(victim, total_steps=4 * SCRIPT_STEPS, seed=1, say=lambda text: None, patience=120)
    try:
        assert victim.faults is not None
        full = victim.faults.full
        adversary.strike(5, faults=4, at_half=lambda: check_full_disk(victim, full, 120))
        calm.run_to_the_end(120)
    finally:
        victim.end()
        calm.end()
    attempts = check_attempts(victim.out)
    assert attempts.keys() == check_attempts(calm.out).keys()
    for run in attempts:
        trainer.check_results(victim.out / RUNS / run, calm.out / RUNS / run, SCRIPT_STEPS)
