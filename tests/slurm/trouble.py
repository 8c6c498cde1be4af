"""What the sweep's test does to jobs and daemons of its cluster, and what it sees of them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from moewright.experiment.attempts import Attempt, AttemptBegin, AttemptEnd, begins, last_end, read_attempts
from moewright.experiment.collecting.learning_curves import read_tail
from moewright.experiment.run_folder import newest_step
from moewright.experiment.sweep_folder import ATTEMPTS, JOBS, attempts_file, run_path

ROOT = Path(__file__).parents[2]
START = time.monotonic()
Found = TypeVar("Found")


class StuckError(RuntimeError):
    """Something did not happen in time, or went wrong."""


def say(text: str) -> None:
    """A line with the seconds since the beginning."""
    print(f"{time.monotonic() - START:6.1f} s  {text}", flush=True)


def wait_for(what: str, look: Callable[[], Found | None], seconds: float = 1800) -> Found:
    """The first result that is true; on a busy machine a worker needs minutes to begin. Raises StuckError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    raise StuckError(f"not within {seconds:.0f} s: {what}")


def slurm(*command: str) -> str:
    """What a command of Slurm prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


class Cluster:
    """`tests/slurm/cluster`, in a folder of its own."""

    def __init__(self, folder: Path):
        self.folder = folder

    def start(self) -> None:
        """Until its node is idle; the commands of Slurm then reach it."""
        script = [str(ROOT / "tests/slurm/cluster"), "start", str(self.folder)]
        subprocess.run(script, check=True, stdout=subprocess.DEVNULL)
        os.environ["SLURM_CONF"] = str(self.folder / "slurm.conf")

    def stop(self) -> None:
        """Jobs included."""
        subprocess.run([str(ROOT / "tests/slurm/cluster"), "stop", str(self.folder)], check=True)

    def stop_controller(self) -> None:
        """End slurmctld alone; jobs go on."""
        pid = int((self.folder / "slurmctld.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        wait_for("slurmctld ends", lambda: not Path(f"/proc/{pid}").exists())

    def start_controller(self) -> None:
        """Start slurmctld again, with the jobs it had."""
        subprocess.run(["slurmctld", "-f", os.environ["SLURM_CONF"]], check=True, timeout=20, stdin=subprocess.DEVNULL)


class Queue:
    """The jobs of this user, looked at all the time."""

    def __init__(self) -> None:
        self.doubles: set[Path] = set()
        """Runs that had two jobs at once, by the folder of their jobs' files."""
        self.seen: dict[Path, set[str]] = {}
        """All jobs that were seen, by the same folder."""
        self.answers = 0
        threading.Thread(target=self._look_on, daemon=True).start()

    @staticmethod
    def now() -> list[tuple[str, str, Path]]:
        """Id, state and the folder OUT/jobs/RUN of each job."""
        lines = slurm("squeue", "--me", "--noheader", "--format=%i %T %o").splitlines()
        return [(job, state, Path(script).parents[1]) for job, state, script in map(str.split, lines)]

    def of(self, out: Path, run: str) -> str:
        """The job of a run."""
        (job,) = (job for job, _, folder in self.now() if folder == out / JOBS / run)
        return job

    def _look_on(self) -> None:
        while True:
            try:
                jobs = self.now()
            except subprocess.SubprocessError:  # the controller is away
                jobs = []
            counts = Counter(folder for *_, folder in jobs)
            self.doubles |= {folder for folder, count in counts.items() if count > 1}
            for job, _, folder in jobs:
                self.seen.setdefault(folder, set()).add(job)
            self.answers += bool(jobs)
            time.sleep(0.3)


class Submitter:
    """`moewright sweep` in a process of its own."""

    def __init__(self, spec: Path, out: Path, *options: str):
        self.spec, self.out, self.log = spec, out, out.with_suffix(".log")
        self._options = options
        self.start()

    def start(self) -> None:
        """Also again, after `kill`."""
        command = [sys.executable, "-m", "moewright", "sweep", str(self.spec), "--out", str(self.out), *self._options]
        with self.log.open("a") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()

    def end(self, seconds: float) -> int:
        """Its exit code."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise StuckError(f"{self.out.name}: no end after {seconds:.0f} s; it said: {self.said()[-500:]}") from None

    def said(self) -> str:
        """Everything so far."""
        return self.log.read_text()

    def said_about(self, what: str) -> str | None:
        """The first line with that in it, without its time."""
        return next((line.partition(" ")[2] for line in self.said().splitlines() if what in line), None)

    # Its runs

    def attempts(self, run: str) -> list[Attempt]:
        """The notes of a run's workers."""
        return read_attempts(attempts_file(self.out, run))

    def ends(self, run: str) -> list[str | None]:
        """How its attempts ended, in their order; None for one that is under way."""
        ends = {note.attempt: note.end for note in self.attempts(run) if isinstance(note, AttemptEnd)}
        return [ends.get(note.attempt) for note in begins(self.attempts(run))]

    def begun(self, run: str, attempt: int = 0) -> AttemptBegin:
        """The beginning of an attempt; of the last one if none is named."""
        return begins(self.attempts(run))[attempt - 1]

    def hold_one(self, step: int, untouched: bool = True) -> str:
        """Halt the worker of a run that wrote a checkpoint at or after a step, so that it does not end too soon."""

        def look() -> str | None:
            if self._process.poll() is not None:
                raise StuckError(
                    f"{self.out.name}: the submitter ended with {self._process.poll()}: {self.said()[-500:]}"
                )
            for notes in sorted((self.out / ATTEMPTS).glob("*.jsonl")):
                run = notes.stem
                attempts = self.attempts(run)
                if not attempts or last_end(attempts) is not None or (untouched and len(attempts) > 1):
                    continue
                folder = run_path(self.out, run)
                if folder.is_dir() and (read_tail(folder).step or 0) >= step and newest_step(folder) > 0:
                    self.signal(run, signal.SIGSTOP)
                    if last_end(self.attempts(run)) is None:
                        return run
            return None

        return wait_for("a run that has a checkpoint", look)

    def signal(self, run: str, number: int) -> None:
        """To the worker of a run."""
        pid = self.begun(run).pid
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return
        if pid is not None and str(self.out).encode() in command:
            os.kill(pid, number)

    def waits_for_signal(self, run: str, number: int) -> bool:
        """Whether a halted worker has got a signal that it will find when it goes on."""
        try:
            status = Path(f"/proc/{self.begun(run).pid}/status").read_text().split()
        except OSError:
            return False
        return bool(int(status[status.index("ShdPnd:") + 1], 16) >> (number - 1) & 1)

    def stop(self) -> None:
        """With its workers of this machine, whether or not it has ended; jobs are the cluster's."""
        for notes in (self.out / ATTEMPTS).glob("*.jsonl"):
            if self.attempts(notes.stem):
                self.signal(notes.stem, signal.SIGCONT)
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(60)
        self.kill()
