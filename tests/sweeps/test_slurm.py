"""What squeue says and how it fails, with a squeue of our own on PATH. tests/slurm runs the real one."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from moewright.errors import UserError
from moewright.sweeps.running import slurm_queue as slurm
from moewright.sweeps.running.slurm_queue import ClusterSilent, live_jobs

# What Slurm 22.05 does: arrays are folded without --array, --jobs refuses a single forgotten id, the user's SQUEUE_*
# variables stand in for options that are not given.
SQUEUE = """#!/bin/sh
[ -n "$SQUEUE_STATES$SQUEUE_PARTITION$SQUEUE_FORMAT2" ] && exit 0
arrays=no
for option; do case $option in
    --array) arrays=yes ;;
    --jobs*) echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1 ;;
esac; done
echo "101 RUNNING"
if [ $arrays = yes ]; then echo "102_0 RUNNING"; echo "102_1 PENDING"; else echo "102_[0-1] PENDING"; fi
echo "103 COMPLETING"
"""

Install = Callable[[str], None]
"""Writes the script that is squeue."""


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def install(script: str) -> None:
        (tmp_path / "squeue").write_text(script)
        (tmp_path / "squeue").chmod(0o755)

    return install


def test_jobs_that_are_not_over(squeue: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SQUEUE_STATES", "SQUEUE_PARTITION", "SQUEUE_FORMAT2"):
        monkeypatch.setenv(name, "PENDING")
    squeue(SQUEUE)
    asked = iter(["101", "102_1", "103", "99", "10"])  # 99 is forgotten; 10 is no job, though the start of several
    assert live_jobs(asked) == {"101": "RUNNING", "102_1": "PENDING", "103": "COMPLETING"}
    assert live_jobs(["99"]) == {}


def test_nothing_is_asked_for_no_jobs(squeue: Install) -> None:
    squeue("#!/bin/sh\nexit 1\n")
    assert live_jobs([]) == {}


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1",
            "squeue: failed with exit code 1: slurm_load_jobs error: Unable to contact slurm controller",
        ),
        ("echo '101 RUNNING'; exit 1", "it said nothing"),  # half an answer is none
        ("kill -KILL $$", "exit code -9"),
        ("echo '101 RUNNING'; echo 'warning: the cluster will be down on Monday'", "not a job and its state: 'warning"),
    ],
)
def test_a_failure_is_never_an_empty_queue(squeue: Install, script: str, message: str) -> None:
    squeue(f"#!/bin/sh\n{script}\n")
    with pytest.raises(ClusterSilent) as caught:
        live_jobs(["101"])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_controller_that_does_not_answer(squeue: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "TIMEOUT_SECONDS", 0.2)
    squeue("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(ClusterSilent, match="no answer"):
        live_jobs(["101"])


def test_no_slurm_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"not found.*--executor local"):
        live_jobs(["101"])
