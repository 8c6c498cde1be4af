"""A sweep under an adversary who kills its processes and breaks their disk, against the same sweep undisturbed.

    python -m tests.benchmarks.torture_sweep [--kills 200] [--faults 50] [--seed 0] [--steps 1000] [--trainer lab]
                                             [--folder DIR]

14 tiny runs, 6 of which tune learning rates, with a checkpoint every 5 steps: once undisturbed, once with SIGKILL to
workers, to submitit's controllers, to what these were forked from, to `moewright sweep`, and to all of these together,
in equal parts; with writes, fsyncs, renames and creations of files that fail with ENOSPC or EIO in workers and in
`moewright sweep`, at random moments; with SIGTERM and Ctrl-C to `moewright sweep`; with second submitters in the same
folder; and with a full disk in the middle, in which everything is killed as well. Then every run must have been done
once, with the same bits.

The faults need a C compiler (see tests/sweeps/disk_faults.py). The full disk is a small file system in memory, which
takes root; without it (or `unshare --map-root-user --mount` before the command) it is one of the faults. What cannot be
done is left out, and the table says so. `--trainer`: a name of tests/sweeps/trainers.py.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moewright.experiment.attempts import read_attempts
from moewright.experiment.sweep_folder import RUNS
from moewright.sweeps.running.sweeping import sweep_status
from tests.sweeps.adversary import STOPS, Adversary, Victim, check_attempts, check_full_disk
from tests.sweeps.disk_faults import FAULTS, DiskFaults
from tests.sweeps.trainers import TRAINERS

DISK_BYTES = 256 * 2**20
"""Enough for the sweep and the 64 MB that it wants to be free."""
RUNS_IN_ALL = 14


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of its own at a folder, where the system allows it; yields whether it does."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Within the block nothing more fits on a disk."""
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        size = 2**20
        while size:
            try:
                file.write(b"\0" * size)
            except OSError:
                size //= 2
    try:
        yield
    finally:
        ballast.unlink()


def main() -> None:
    """Run both, and print what was done and what held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--faults", type=int, default=50, help="of the disk")
    parser.add_argument("--trainer", choices=TRAINERS, default="lab")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1000, help="of each run")
    parser.add_argument("--patience", type=float, default=900, help="longest wait for anything, in seconds")
    parser.add_argument("--folder", type=Path, help="a new folder for everything; one that is removed without it")
    given = parser.parse_args()
    if given.folder is None:
        with tempfile.TemporaryDirectory() as folder:
            torture(Path(folder) / "torture", given)
    else:
        torture(given.folder, given)


def torture(folder: Path, given: argparse.Namespace) -> None:
    """The whole of it in a new folder."""
    trainer = TRAINERS[given.trainer]()
    faults = given.faults if DiskFaults.can_be_made() else 0
    spec = trainer.write_sweep(folder / "given", steps=given.steps, experts=[4, 8], seeds=[0, 1, 2, 3, 4])
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.0f} s  {text}", file=sys.stderr, flush=True)

    calm = Victim(spec, folder / "undisturbed", folder / "logs-undisturbed", trainer=trainer)
    say("undisturbed")
    with ending(calm):
        calm.run_to_the_end(10 * given.patience)
    calm_seconds = time.monotonic() - began
    say("under attack")
    with small_disk(folder / "disk") as mounted:
        victim = Victim(spec, folder / "disk" / "out", folder / "logs", trainer=trainer, faults=faults > 0)
        adversary = Adversary(
            victim, total_steps=RUNS_IN_ALL * given.steps, seed=given.seed, say=say, patience=given.patience
        )

        def fill_disk() -> None:
            if mounted:
                say("full disk")
                check_full_disk(victim, lambda: filled(folder / "disk"), given.patience)
            elif victim.faults is not None:
                say("full disk, as the faults have it")
                check_full_disk(victim, victim.faults.full, given.patience)

        with ending(victim):
            adversary.strike(given.kills, stops=6, seconds=3, faults=faults, at_half=fill_disk)
            seconds = time.monotonic() - began - calm_seconds
            begun = begins(victim.out)
            victim.run_to_the_end(given.patience)  # a last time, on a sweep that is done
        assert begins(victim.out) == begun, "a sweep that was done began runs"
        attempts = check_attempts(victim.out)
        assert attempts.keys() == check_attempts(calm.out).keys()
        assert len(attempts) == RUNS_IN_ALL
        counts = sweep_status(spec, victim.out).counts
        assert counts == {"done": RUNS_IN_ALL}, counts
        for run in attempts:
            trainer.check_results(victim.out / RUNS / run, calm.out / RUNS / run, given.steps)
    print_table(victim, calm_seconds, seconds, attempts)


@contextmanager
def ending(victim: Victim) -> Iterator[None]:
    """Whatever happens, no process of it lives on."""
    try:
        yield
    finally:
        victim.end()


def begins(out: Path) -> dict[str, int]:
    """How many attempts began, by the name of the file that says so."""
    files = (out / "attempts").glob("*.jsonl")
    return {path.name: sum(record.event == "begin" for record in read_attempts(path)) for path in files}


def print_table(victim: Victim, calm_seconds: float, seconds: float, attempts: dict[str, int]) -> None:
    """As a table of Markdown."""
    struck = victim.tally.struck
    rows = [
        *((f"SIGKILL to {NAMES.get(kind, kind)}", struck[kind]) for kind in victim.kinds),
        ("SIGKILL in all", sum(struck[kind] for kind in victim.kinds)),
        *((name, struck[name]) for name in dict.fromkeys(map(str, FAULTS)) if struck[name]),
        ("disk faults in all", victim.tally.disk_faults if victim.faults is not None else "left out: no compiler here"),
        *(
            (f"{stop} to the submitter: checkpoints, exit {128 + signal.Signals[stop.split()[0]]}", struck[stop])
            for stop in STOPS
        ),
        ("second submitter: refused with exit 2 and one line", struck["second submitter"]),
        (
            "full disk, once with kill -9 in it: exit 1 and one line",
            struck["full disk"] or "left out: no mount here",
        ),
        ("starts of `moewright sweep`", victim.tally.starts),
        ("runs, attempts at them", f"{len(attempts)}, {sum(attempts.values())}"),
        ("seconds undisturbed, under attack", f"{calm_seconds:.0f}, {seconds:.0f}"),
        ("runs done exactly once; none begun again", len(attempts)),
        ("results with the bits of the undisturbed run", len(attempts)),
    ]
    print(f"{os.cpu_count()} processors, {processor()}; trainer {victim.trainer.name}\n")
    print("| what | count |\n| --- | --- |")
    for what, count in rows:
        print(f"| {what} | {count} |")


def processor() -> str:
    """As /proc/cpuinfo names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "of an unknown kind")


NAMES = {
    "worker": "a worker",
    "controller": "a controller",
    "server": "the process with torch",
    "submitter": "the submitter",
    "everything": "everything",
}


if __name__ == "__main__":
    main()
