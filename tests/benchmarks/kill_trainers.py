"""kill -9 of another trainer's job at random moments: is each run done once, with the loss of the undisturbed run?

python -m tests.benchmarks.kill_trainers SPEC [--moments 20] [--seed 0]

The first run of a sweep's specification is made undisturbed, then again for each moment: a worker in a process of its
own is started, and after a random time, up to as long as the undisturbed run took, SIGKILL goes to the worker, to its
trainer (the script and all below it), or to both. Workers follow until the run is over. What had ended by then does not
count.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from moewright.experiment.attempts import begins, read_attempts
from moewright.experiment.collecting.collection import collect
from moewright.experiment.sweep_folder import attempts_file
from moewright.experiment.trainer_folder import LAUNCH
from moewright.experiment.trainer_outcome import read_outcome
from moewright.sweeps.running.sweeping import sweep

WHAT = ("worker", "trainer", "both")
_CODE = """
import sys
from moewright.sweeps.running.worker import work
print(work(*sys.argv[1:3], {}, threads=1, cores=[], keep="model", job="killed", job_folder=sys.argv[1]))
"""
_PATIENCE = 300.0


def first_run(spec: Path, out: Path) -> str:
    """A sweep's folder with its first run alone. Returns the run."""
    run = Path(sweep(spec, out, write_only=True).written[0]).parent.name
    for path in (*(out / "cells").glob("*.json"), *(out / "runs").iterdir()):
        if path.stem != run:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return run


def start_worker(out: Path, run: str) -> subprocess.Popen[str]:
    """A worker at a run, in a session of its own."""
    command = [sys.executable, "-c", _CODE, str(out), run]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def finish(out: Path, run: str) -> int:
    """Workers, one after the other, until the run is over. Returns how many it took."""
    deadline, count = time.monotonic() + _PATIENCE, 0
    while time.monotonic() < deadline:
        count += 1
        said = start_worker(out, run).communicate()[0].strip()
        if said in ("finished", "over"):
            return count
    raise AssertionError(f"{run} is not over")


def kill(out: Path, run: str, what: str, moment: float) -> str:
    """Start a worker and kill what of it is there after `moment` seconds. Returns what was killed."""
    worker = start_worker(out, run)
    deadline = time.monotonic() + _PATIENCE
    while not begins(read_attempts(attempts_file(out, run))) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(moment)
    trainers = trainers_below(worker.pid)
    if what in ("worker", "both"):
        worker.kill()
    if what in ("trainer", "both"):
        for group in trainers:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
    worker.wait()
    return what if trainers else f"{what}, which had ended"


def trainers_below(process: int) -> list[int]:
    """Process groups of the launch scripts that a worker started."""
    found = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            for child in path.read_text().split():
                if LAUNCH.encode() in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found


def check(out: Path, run: str, steps: int, loss: float) -> None:
    """One run, done, at its last step, with the loss of the undisturbed one."""
    table = collect(out).table
    assert list(table["run_id"]) == [run]
    (row,) = table.to_dict("records")
    outcome = read_outcome(out / "runs" / run)
    assert outcome.status is not None
    assert (row["state"], outcome.status.step) == ("done", steps), row
    assert abs(row["loss"] - loss) < 1e-6, (row["loss"], loss)


def main() -> None:
    """Print a line for each moment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", type=Path)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as room:
        out = Path(room) / "undisturbed"
        run = first_run(asked.spec, out)
        began = time.monotonic()
        finish(out, run)
        took = time.monotonic() - began
        status = read_outcome(out / "runs" / run).status
        assert status is not None
        assert status.loss is not None
        print(f"undisturbed: {took:.1f} s, step {status.step}, loss {status.loss:.9f}", flush=True)
        hits = number = 0
        while hits < asked.moments:
            number += 1
            again = Path(room) / f"moment-{number}"
            first_run(asked.spec, again)
            what, moment = draw.choice(WHAT), draw.uniform(0, took)
            killed = kill(again, run, what, moment)
            hits += "ended" not in killed
            workers = finish(again, run)
            check(again, run, status.step, status.loss)
            attempts = len(begins(read_attempts(attempts_file(again, run))))
            print(json.dumps({"killed": killed, "after": round(moment, 2), "workers": workers, "attempts": attempts}))
            sys.stdout.flush()
        print(f"{asked.moments} moments, each run done once with the same loss")


if __name__ == "__main__":
    main()
