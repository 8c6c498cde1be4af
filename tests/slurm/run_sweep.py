"""A sweep on a real Slurm cluster, with everything that goes wrong there, against the same sweep on this machine.

    python -m tests.slurm.run_sweep [--keep]

takes about six minutes on two free cores, and root where Slurm has yet to be installed. Exits with 1 if anything is
not as it should be. --keep: the folder stays.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moewright.experiment.run_folder import newest_step, read_status
from moewright.experiment.sweep_folder import JOBS, RUNS, run_path
from tests.lab import tiny
from tests.slurm.checks import Checks
from tests.slurm.trouble import ROOT, Cluster, Queue, StuckError, Submitter, say, slurm, wait_for

STEPS = 120
CHECKPOINT_STEPS = 20
HOLD_AT = 40
"""Workers are halted once they are at this step, so that they do not end while something is done to them."""


Later = Callable[[], None]
"""What can be seen only when the sweep is done."""


def write_specs(folder: Path) -> tuple[Path, Path, Path]:
    """Three runs that tune the learning rate and six more; one that takes longer than its time limit; one that hangs
    for longer than its stall limit."""
    data = tiny.write_tokens(folder, tokens=60_000)
    tokens = CHECKPOINT_STEPS * tiny.BATCH * tiny.LENGTH
    recipe = tiny.recipe(data, steps=STEPS, checkpoints={"every_tokens": tokens})
    execution: dict[str, Any] = {"cores_per_run": 1, "keep": "all", "slurm": {"partition": "test", "mem_gb": 1}}
    many = {
        "recipe": recipe,
        "axes": [{"grid": {"num_experts": [4, 8]}}],
        "seeds": [0, 1, 2],
        "tuning": {"multipliers": [0.5, 1, 2], "per": ["hidden_size"], "extend": 0},
        "execution": execution,
    }
    # The recipe itself: the run that tunes with multiplier 1, so the same run under the same id.
    limited = {"recipe": recipe, "execution": {**execution, "time_limit": "4m", "after_time_limit": "continue"}}
    hanging = {"recipe": recipe, "execution": {**execution, "stall_limit": "30s"}}
    many_file, limited_file, hanging_file = (folder / f"{name}.yaml" for name in ("many", "limited", "hanging"))
    for path, spec in ((many_file, many), (limited_file, limited), (hanging_file, hanging)):
        path.write_text(json.dumps(spec))
    return many_file, limited_file, hanging_file


def reach_limit(sweep: Submitter, run: str, checks: Checks) -> None:
    """Let a halted worker go on when Slurm has told it of its time limit: as one whose steps are long."""

    def look() -> str | None:
        if sweep.waits_for_signal(run, signal.SIGUSR2):
            sweep.signal(run, signal.SIGCONT)
        return sweep.ends(run)[0]

    wait_for("the end of an attempt at its time limit", look)
    notes = sweep.attempts(run)
    say(f"limited: {sweep.ends(run)[0]}, {(notes[1].time or 0) - (notes[0].time or 0):.0f} s after the worker began")
    step = newest_step(run_path(sweep.out, run))
    checks.add("time limit of 4 min: noted, with a checkpoint", f"{sweep.ends(run)[0]}, step {step}",
               sweep.ends(run)[0] == "timed-out" and step >= HOLD_AT)  # fmt: skip


def loss_of(out: Path, run: str) -> float | None:
    """The loss of a run of a sweep."""
    status = read_status(run_path(out, run))
    return None if status is None else status.loss


def cancel(sweep: Submitter, queue: Queue, checks: Checks) -> Later:
    """Scancel a job that runs."""
    run = sweep.hold_one(HOLD_AT)
    job = queue.of(sweep.out, run)
    say(f"{run}: scancel {job}")
    slurm("scancel", job)
    wait_for("a run that was interrupted", lambda: sweep.ends(run)[0])
    step = newest_step(run_path(sweep.out, run))

    def later() -> None:
        seen, others = sweep.ends(run), queue.seen[sweep.out / JOBS / run] - {job}
        checks.add("scancel: a checkpoint; a new job goes on from it",
                   f"{', '.join(map(str, seen))}; from step {sweep.begun(run).step}, {len(others)} new job",
                   seen[0] == "interrupted" and seen[-1] == "finished" and len(others) == len(seen) - 1
                   and sweep.begun(run, 2).step == step >= HOLD_AT)  # fmt: skip

    return later


def kill_worker(sweep: Submitter, checks: Checks) -> Later:
    """kill -9 one worker."""
    run = sweep.hold_one(HOLD_AT)
    step = newest_step(run_path(sweep.out, run))
    say(f"{run}: kill -9 of its worker")
    sweep.signal(run, signal.SIGKILL)
    wait_for("the submitter's note of it", lambda: sweep.ends(run)[0])

    def later() -> None:
        seen = sweep.ends(run)
        checks.add("kill -9 of a worker: a new job goes on",
                   f"{', '.join(map(str, seen))}; from step {sweep.begun(run, 2).step}",
                   seen[0] == "failed" and seen[-1] == "finished"
                   and sweep.begun(run, 2).step == step >= CHECKPOINT_STEPS)  # fmt: skip

    return later


def hang(sweep: Submitter, checks: Checks) -> None:
    """A worker that is halted and that nobody lets go on but Slurm, which wakes what it cancels."""
    run = sweep.hold_one(HOLD_AT)
    say(f"{sweep.out.name}: its worker is halted for good")
    line = wait_for("the submitter notices", lambda: sweep.said_about("stalled"))
    say(f"{sweep.out.name}: the submitter said: {line}")
    code = sweep.end(1800)
    seen = ", ".join(map(str, sweep.ends(run)))
    checks.add("a worker that hangs: scancel after the stall limit; a new job goes on", seen,
               code == 0 and len(sweep.ends(run)) > 1 and sweep.ends(run)[-1] == "finished"
               and (sweep.begun(run, 2).step or 0) >= CHECKPOINT_STEPS)  # fmt: skip


def requeue(sweep: Submitter, queue: Queue, checks: Checks) -> Later:
    """What a preempting cluster does to a job."""
    run = sweep.hold_one(HOLD_AT)
    job = queue.of(sweep.out, run)
    say(f"{run}: scontrol requeue {job}")
    slurm("scontrol", "requeue", job)
    wait_for("a run that was interrupted", lambda: sweep.ends(run)[0])
    step = newest_step(run_path(sweep.out, run))

    def later() -> None:
        seen, jobs = sweep.ends(run), queue.seen[sweep.out / JOBS / run]
        checks.add("scontrol requeue: a checkpoint; the same job goes on",
                   f"{', '.join(map(str, seen))}; from step {sweep.begun(run).step}, {len(jobs)} job",
                   seen == ["interrupted", "finished"] and jobs == {job}
                   and sweep.begun(run).step == step >= HOLD_AT)  # fmt: skip

    return later


def kill_submitter(sweep: Submitter, queue: Queue, checks: Checks) -> None:
    """kill -9 the submitter while jobs wait and run, one of them as if sbatch had been at work; start it again."""

    def jobs() -> list[tuple[str, str, Path]]:
        return [job for job in queue.now() if job[2].is_relative_to(sweep.out)]

    def both() -> bool:
        return {state for _, state, _ in jobs()} == {"RUNNING", "PENDING"}

    wait_for("jobs that run and jobs that wait", both)
    run = sweep.hold_one(HOLD_AT, untouched=False)
    sweep.kill()
    before = jobs()
    say(f"kill -9 of the submitter; jobs: {', '.join(f'{job} {state}' for job, state, _ in before)}")
    job, folder = next((job, folder) for job, state, folder in before if state == "PENDING")
    (submitted,) = folder.glob(f"*/{job}_submitted.pkl")
    submitted.rename(submitted.with_name("0123456789abcdef.pkl"))
    sweep.start()
    line = wait_for("the next submitter", lambda: sweep.said_about("submitted before"))
    say(f"the next submitter: {line}")
    alive = {job for job, *_ in jobs()} & {job for job, *_ in before}
    sweep.signal(run, signal.SIGCONT)
    time.sleep(5)
    folders = {folder for *_, folder in before}
    fresh = {job for job, _, folder in jobs() if folder in folders} - {job for job, *_ in before}
    checks.add("kill -9 of the submitter: its jobs are followed", f"{line}; new: {len(fresh)}",
               not fresh and 2 <= len(alive) <= int(line.split()[-1]) <= len(before)
               and submitted.exists())  # fmt: skip


def stop_controller(sweep: Submitter, cluster: Cluster, checks: Checks) -> None:
    """Slurm's controller is away for some seconds."""
    cluster.stop_controller()
    say("slurmctld is stopped")
    line = wait_for("the submitter notices", lambda: sweep.said_about("; waiting"))
    time.sleep(5)
    cluster.start_controller()
    say(f"slurmctld is started again; the submitter said: {line}")
    checks.add("without slurmctld the submitter says so and waits", "it did", True)


def compare(sweep: Submitter, local: Path, checks: Checks) -> None:
    """Every run against the one of the same id on this machine: losses, weights and optimizer, bit by bit."""
    runs = sorted(path.name for path in (sweep.out / RUNS).iterdir())
    expected = sorted(path.name for path in (local / RUNS).iterdir())
    same = 0
    for run in runs:
        tiny.assert_same_end(run_path(sweep.out, run), run_path(local, run))
        same += loss_of(sweep.out, run) == loss_of(local, run)
    is_right = same == len(runs) and (runs == expected or len(runs) == 1)
    checks.add(f"{sweep.out.name}: the bits of the local sweep's runs",
               f"{same} of {len(runs)} runs", is_right)  # fmt: skip
    table = subprocess.run(
        [sys.executable, "-m", "moewright", "runs", str(sweep.out), "--json"], capture_output=True, text=True
    )
    done = sum(row["state"] == "done" for row in json.loads(table.stdout)["runs"]) if table.returncode == 0 else 0
    checks.add(f"{sweep.out.name}: moewright runs reads it", f"{done} runs done", done == len(runs))


def carry_out(folder: Path, cluster: Cluster, submitters: list[Submitter], checks: Checks) -> None:
    """Everything, in its order."""
    many, limited, hanging = write_specs(folder)
    cluster.start()
    say("the cluster is up")
    queue = Queue()

    slow = Submitter(limited, folder / "limited", "--executor", "slurm")
    submitters.append(slow)
    halted = slow.hold_one(HOLD_AT)
    say(f"limited: one run with a time limit of 4 min; its worker is halted at step {HOLD_AT} or later")
    limit = threading.Thread(target=reach_limit, args=(slow, halted, checks))
    limit.start()

    here = Submitter(many, folder / "local", "--jobs", "2")
    submitters.append(here)
    checks.add("on this machine: exit code 0", code := here.end(5400), code == 0)
    say("local: the sweep is done")

    sweep = Submitter(many, folder / "slurm", "--executor", "slurm")
    submitters.append(sweep)
    say("slurm: the same sweep on the cluster")
    later = [cancel(sweep, queue, checks), kill_worker(sweep, checks)]
    kill_submitter(sweep, queue, checks)
    later.append(requeue(sweep, queue, checks))
    stop_controller(sweep, cluster, checks)
    checks.add("on Slurm: exit code 0", code := sweep.end(5400), code == 0)
    say("slurm: the sweep is done")
    for look in later:
        look()
    limit.join()
    checks.add("with the time limit: exit code 0", code := slow.end(1800), code == 0)
    checks.add("after the time limit: a new job finishes the run", ", ".join(map(str, slow.ends(halted))),
               slow.ends(halted) == ["timed-out", "finished"])  # fmt: skip
    checks.add("a run never has two jobs at once", f"{len(queue.doubles)} had, in {queue.answers} looks at the queue",
               not queue.doubles and queue.answers > 100)  # fmt: skip
    hung = Submitter(hanging, folder / "hanging", "--executor", "slurm")
    submitters.append(hung)
    hang(hung, checks)
    for one in (sweep, slow, hung):
        compare(one, here.out, checks)


def main() -> int:
    """0 if all is as it should be."""
    folder = Path(tempfile.mkdtemp(prefix="moewright-slurm-sweep-"))
    folder.chmod(0o755)  # munged insists that every user could reach its socket
    os.environ |= {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    cluster, checks = Cluster(folder / "cluster"), Checks()
    submitters: list[Submitter] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through what follows "finally"
    try:
        carry_out(folder, cluster, submitters, checks)
    except (StuckError, subprocess.SubprocessError) as failure:
        checks.add("every step in its time", failure, False)
    finally:
        for submitter in submitters:
            submitter.stop()
        cluster.stop()
    is_right = checks.show()
    if is_right and "--keep" not in sys.argv:
        shutil.rmtree(folder)
    else:
        print(f"\nThe sweeps, their logs and the cluster's are in {folder}")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
