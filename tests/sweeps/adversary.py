"""A sweep of tiny runs, somebody who kills its processes and breaks their disk at random moments, and what must hold
of it afterwards. Any trainer can be attacked: see `trainers.py`."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from moewright.experiment.attempts import begins, read_attempts
from moewright.experiment.states import read_checked_status
from moewright.experiment.sweep_folder import ATTEMPTS, CELLS, RUNS
from moewright.experiment.trainer_folder import is_of_another_trainer
from tests.sweeps.disk_faults import FAULTS, DiskFault, DiskFaults
from tests.sweeps.trainers import LabTrainer, TorturedTrainer

KILLS = ("worker", "controller", "submitter", "everything")
"""What gets SIGKILL: a process that trains, submitit's process above one, `moewright sweep`, or all of these."""
STOPS = ("SIGTERM", "SIGINT", "SIGINT twice")
"""What `moewright sweep` is told, which it must obey: checkpoints are written, exit 128 and the signal's number."""
WORKER, CONTROLLER, SERVER = "submitit.core._submit", "submitit.local._local", "sweeps.running.warm_start"
"""What stands in their command lines."""
ORDER_SECONDS = 8.0
"""How long a fault waits for the call that it is for."""
BREAKING_SECONDS = 10.0
"""A submitter that a fault of the disk ends is gone by then."""


@dataclass
class Tally:
    """What was done to a sweep."""

    struck: Counter[str] = field(default_factory=Counter)
    starts: int = 0

    @property
    def disk_faults(self) -> int:
        """That were injected."""
        return sum(self.struck[name] for name in {str(fault) for fault in FAULTS})


class Victim:
    """A sweep under way in processes of its own, found by its folder's path in their command lines."""

    def __init__(
        self,
        spec: Path,
        out: Path,
        logs: Path,
        *,
        jobs: int = 2,
        trainer: TorturedTrainer | None = None,
        faults: bool = False,
    ):
        """`faults`: its disk can be made to fail, which needs a compiler."""
        self.spec, self.out, self.logs, self.jobs = spec, out, logs, jobs
        self.trainer: TorturedTrainer = trainer or LabTrainer()
        self.tally = Tally()
        self.faults = DiskFaults(logs / "faults", out) if faults else None
        self._submitter: subprocess.Popen[bytes] | None = None
        logs.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """`moewright sweep`, in a session of its own."""
        assert self.exit_code is not None, "a submitter is there"
        self._submitter = self._launch(self.logs / f"{self.tally.starts}.log")
        self.tally.starts += 1

    def start_another(self) -> tuple[int, str]:
        """A second submitter beside the first: its exit code and what it said."""
        log = self.logs / "another.log"
        process = self._launch(log)
        try:
            process.wait(300)
        finally:
            process.kill()
            process.wait()
        return process.returncode, log.read_text()

    def _launch(self, log: Path) -> subprocess.Popen[bytes]:
        root = Path(__file__).parents[2]
        command = [sys.executable, "-m", *self.trainer.command, str(self.spec), "--out", str(self.out)]
        environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}
        environment |= self.faults.environment if self.faults is not None else {}
        with open(log, "wb") as file:
            return subprocess.Popen(
                [*command, "--jobs", str(self.jobs)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=root,
                env={**os.environ, **environment},
                start_new_session=True,
                # A shell starts background commands deaf to Ctrl-C, and so would this one be.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    @property
    def submitter(self) -> int:
        """Its process id."""
        assert self._submitter is not None
        return self._submitter.pid

    @property
    def kinds(self) -> tuple[str, ...]:
        """What may get SIGKILL: of another trainer its own process too, of the lab the one that jobs come from."""
        return (*KILLS, *(self.trainer.processes or ("server",)))

    @property
    def exit_code(self) -> int | None:
        """Of the submitter; None while it lives."""
        return 0 if self._submitter is None else self._submitter.poll()

    @property
    def log(self) -> str:
        """Of the last start."""
        return (self.logs / f"{self.tally.starts - 1}.log").read_text(errors="replace")

    def processes(self) -> dict[str, list[int]]:
        """Those that live, by kind; also those that a submitter left behind when it was killed."""
        found: dict[str, list[int]] = {kind: [] for kind in self.kinds}
        texts = {"worker": WORKER, "controller": CONTROLLER, **self.trainer.processes}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    command = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
                    if SERVER in command and self._submitter is not None and _parent(entry) == self.submitter:
                        found.setdefault("server", []).append(int(entry.name))
                    if f" {self.out}/" not in command:
                        continue
                    for kind, text in texts.items():
                        if text in command:
                            found[kind].append(int(entry.name))
        if self._submitter is not None and self.exit_code is None:
            found["submitter"].append(self.submitter)
        found["everything"] = [process for processes in found.values() for process in processes]
        return found

    def own_children(self) -> list[int]:
        """Controllers and workers that the present submitter started."""
        found = self.processes()
        mine = []
        for process in found["worker"] + found["controller"]:
            with suppress(ProcessLookupError):
                if os.getpgid(process) == self.submitter:
                    mine.append(process)
        return mine

    def workers(self, open_only: bool = False) -> set[int]:
        """Process ids, as the attempts have them: of all workers that began, or of those that noted no end yet."""
        found = set()
        for path in (self.out / ATTEMPTS).glob("*.jsonl"):
            records = read_attempts(path)
            ended = {record.attempt for record in records if record.event == "end" and open_only}
            found |= {it.pid for it in begins(records) if it.pid is not None and it.attempt not in ended}
        return found

    def kill(self, kind: str, draw: random.Random) -> bool:
        """SIGKILL to one process of a kind, or to everything; False if there is none."""
        found = self.processes()[kind]
        if not found:
            return False
        for process in found if kind == "everything" else [draw.choice(found)]:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if kind in ("submitter", "everything") and self._submitter is not None:
            self._submitter.wait(30)
        self.tally.struck[kind] += 1
        return True

    def end(self) -> None:
        """Nothing of it lives on."""
        for process in self.processes()["everything"]:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if self._submitter is not None:
            self._submitter.wait(30)
        self.wait("the end of what was killed", lambda: not self.processes()["everything"], 30)

    def steps(self) -> int:
        """Of all runs, as their last checkpoints have it."""
        return sum(map(self.trainer.steps_done, (self.out / RUNS).glob("[!.]*")))

    def wait(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """Until a condition holds; an error with the log if it does not in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                errors = sorted((self.out / "jobs").glob("*/*/*.err"), key=lambda path: path.stat().st_mtime)
                last = f"\n--- {errors[-1]}\n{errors[-1].read_text()[-2000:]}" if errors else ""
                raise AssertionError(f"waited {seconds:.0f} s for {what}\n--- the submitter's log\n{self.log}{last}")
            time.sleep(0.05)

    def run_to_the_end(self, seconds: float) -> None:
        """Undisturbed; exit 0."""
        self.start()
        self.wait("the end of the sweep", lambda: self.exit_code is not None, seconds)
        assert self.exit_code == 0, self.log


def _parent(process: Path) -> int:
    """By the folder in /proc."""
    return int((process / "stat").read_text().rpartition(")")[2].split()[1])


class Adversary:
    """Strikes a sweep until it has struck often enough and the sweep is done."""

    def __init__(self, victim: Victim, *, total_steps: int, seed: int, say: Callable[[str], None], patience: float):
        self.victim, self.total_steps, self.say, self.patience = victim, total_steps, say, patience
        self._draw = random.Random(seed)
        self._may_break = False
        """The submitter got a fault since it was started, or is about to: it may end with exit 1."""

    def strike(
        self, kills: int, stops: int = 0, seconds: int = 0, faults: int = 0, at_half: Callable[[], None] | None = None
    ) -> None:
        """So many kills in equal parts of each kind, stops, second submitters, faults of the disk; then the sweep runs
        to its end.

        Some come at once after another, when processes load and wait for locks; the others are spread over the steps
        of the sweep. `at_half`: something else that happens in the middle.
        """
        kinds = self.victim.kinds
        strikes: list[str | DiskFault] = [kinds[i % len(kinds)] for i in range(kills)]
        strikes += [STOPS[i % len(STOPS)] for i in range(stops)]
        strikes += [FAULTS[i % len(FAULTS)] for i in range(faults)]
        self._draw.shuffle(strikes)
        for _ in range(seconds):  # in the first half: meanwhile the sweep goes on, and it must not be done too soon
            strikes.insert(self._draw.randrange(len(strikes) // 2), "second submitter")
        for number, kind in enumerate(strikes):
            self._revive()
            if at_half is not None and number == len(strikes) // 2:
                at_half()
            self._wait_for_moment((number + 1) / len(strikes))
            self._check_not_done(f"strike {number + 1} of {len(strikes)}")
            if isinstance(kind, DiskFault):
                kind = self._fault(kind)
            elif kind in kinds:
                self._kill(kind)
            elif kind in STOPS:
                self.stop(kind)
            else:
                self.try_second()
            steps = f"{self.victim.steps():,} of {self.total_steps:,} steps"
            self.say(f"strike {number + 1} of {len(strikes)}: {kind}; {steps}")
        self._revive()
        while self._ends_with() != 0:  # of the last strike
            self._revive()
        assert sum(self.victim.tally.struck[kind] for kind in kinds) >= kills
        assert self.victim.tally.disk_faults == faults

    def _ends_with(self) -> int | None:
        self._wait("the end of the sweep", lambda: self.victim.exit_code is not None, 10 * self.patience)
        return self.victim.exit_code

    def _check_not_done(self, what: str) -> None:
        assert self.victim.exit_code != 0, f"the sweep was done before {what}; give its runs more steps"

    def _revive(self) -> None:
        code = self.victim.exit_code
        if code is not None:
            if code == 1 and self._may_break:
                self._check_one_line()
            else:
                assert code in (0, -signal.SIGKILL, 130, 143, -signal.SIGINT), f"exit {code}\n{self.victim.log}"
            self._may_break = False
            time.sleep(self._draw.choice((0.0, self._draw.uniform(0, 2))))
            self.victim.start()

    def _wait_for_moment(self, share: float) -> None:
        """Until that share of the sweep's steps, less a reserve, is done; or, now and then, no longer than seconds."""
        victim, goal = self.victim, 0.7 * share * self.total_steps
        soon = time.monotonic() + (self._draw.uniform(0, 4) if self._draw.random() < 0.4 else float("inf"))

        def is_now() -> bool:
            return victim.steps() >= goal or victim.exit_code is not None or time.monotonic() > soon

        self._wait("progress", is_now, self.patience)
        time.sleep(self._draw.uniform(0, 0.5))

    def _kill(self, kind: str) -> None:
        """One of that kind, as soon as it comes to life. In the place of a server that does not come the submitter: a
        sweep whose server was killed while it loaded does without, until its next start."""
        begun = time.monotonic()
        end = begun + self.patience
        while not self.victim.kill(kind, self._draw):
            if kind == "server" and time.monotonic() > begun + ORDER_SECONDS:
                kind = "submitter"
            assert time.monotonic() < end, f"no {kind} to kill\n{self.victim.log}"
            self._revive()
            time.sleep(0.1)

    def _fault(self, fault: DiskFault) -> str:
        """The disk fails once; the process, the call and the file, in words.

        Where no process makes that call in time, a write in a worker fails instead: those are never far away.
        """
        trainer = self.victim.trainer
        workers = [WORKER, *trainer.processes.values()]
        self._draw.shuffle(workers)
        texts = workers if fault.process == "worker" else [f" {trainer.command[-1]} "]
        for text in texts:
            happened = self._order(fault, text, ORDER_SECONDS)
            if happened is not None:
                break
        else:
            fault = DiskFault("write", fault.error, "worker")
            happened = self._order(fault, WORKER, self.patience)
            assert happened is not None, f"no {fault}\n{self.victim.log}"
        process, path = happened
        self.victim.tally.struck[str(fault)] += 1
        return f"{fault}, {fault.how}: process {process}, {path}"

    def _order(self, fault: DiskFault, text: str, seconds: float) -> tuple[int, str] | None:
        """The process and the file that it hit; None if it found none."""
        faults = self.victim.faults
        assert faults is not None
        end = time.monotonic() + seconds
        faults.order(fault, text)
        while faults.happened() is None and time.monotonic() < end:
            self._may_break |= fault.process == "submitter"
            self._revive()
            time.sleep(0.05)
        if faults.happened() is None and faults.withdraw():
            return None
        self._may_break |= fault.process == "submitter"
        return faults.happened()

    def _check_one_line(self) -> None:
        """The submitter said in one line what it could not write."""
        log = self.victim.log
        assert "Traceback" not in log, log
        assert sum(line.startswith("moewright: ") for line in log.splitlines()) == 1, log

    def stop(self, kind: str) -> None:
        """Ctrl-C or SIGTERM to the submitter: it waits for its workers' checkpoints, and leaves none behind."""
        victim = self.victim
        self._let_break()
        self._wait("a job", lambda: bool(victim.own_children()) or victim.exit_code is not None, self.patience)
        self._check_not_done(kind)
        name, _, twice = kind.partition(" ")
        os.kill(victim.submitter, signal.Signals[name])
        if twice:
            time.sleep(0.3)
            with suppress(ProcessLookupError):
                os.kill(victim.submitter, signal.Signals[name])
        self._wait(f"the end after {kind}", lambda: victim.exit_code is not None, self.patience)
        # A second Ctrl-C may find Python at its very end, where it dies of it.
        number = signal.Signals[name]
        assert victim.exit_code in ((128 + number, -number) if twice else (128 + number,)), (
            f"{victim.exit_code}\n{victim.log}"
        )
        assert "Traceback" not in victim.log, victim.log
        # Left are workers on their way out, and such as lost their controllers while they loaded and do not begin.
        left, began = set(victim.own_children()), victim.workers()
        assert twice or not victim.workers(open_only=True) & left, victim.log
        self._wait("the workers' ends", lambda: not victim.own_children(), self.patience)
        assert not (victim.workers() - began) & left, victim.log
        victim.tally.struck[kind] += 1

    def _let_break(self) -> None:
        """Start anew a submitter that a fault of the disk is ending: it can neither obey nor hold its folder."""
        end = time.monotonic() + BREAKING_SECONDS
        while self._may_break and self.victim.exit_code is None and time.monotonic() < end:
            time.sleep(0.05)
        self._revive()

    def try_second(self) -> None:
        """Another submitter in the same folder is refused with one line."""
        victim = self.victim
        self._let_break()
        holder = victim.out / ".submitter.json"

        def is_held() -> bool:
            return f'"pid": {victim.submitter},' in (holder.read_text() if holder.exists() else "")

        self._wait("the submitter's lock", is_held, self.patience)
        code, said = victim.start_another()
        if victim.exit_code is None:  # it may have come to its end meanwhile
            assert code == 2, said
            assert said.startswith("moewright: out: another `moewright sweep` is at work"), said
            assert said.count("\n") == 1, said
            victim.tally.struck["second submitter"] += 1

    def _wait(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        self.victim.wait(what, condition, seconds)


def check_full_disk(victim: Victim, full: Callable[[], AbstractContextManager[None]], patience: float) -> None:
    """The sweep stops with exit 1 and one line: under way, at its start, and after everything was killed in it.

    `full`: within such a block the disk is.
    """
    for is_killed in (False, True):
        victim.wait("a job", lambda: bool(victim.own_children()) or victim.exit_code is not None, patience)
        with full():
            if is_killed:
                victim.kill("everything", random.Random(0))
            else:
                _check_exit(victim, "under way", patience)
            victim.start()
            _check_exit(victim, "at its start", patience)
        victim.start()


def _check_exit(victim: Victim, when: str, patience: float) -> None:
    victim.wait(f"the end on a full disk, {when}", lambda: victim.exit_code is not None, patience)
    errors = [line for line in victim.log.splitlines() if line.startswith("moewright: ")]
    assert victim.exit_code == 1, victim.log
    assert len(errors) == 1, victim.log
    assert "No space left on device" in errors[0], victim.log
    assert "Traceback" not in victim.log, victim.log
    victim.tally.struck["full disk"] += 1


def check_attempts(out: Path) -> dict[str, int]:
    """Every run of a sweep was done once: the attempts at each, by id. AssertionError says where not."""
    runs = {path.stem for path in (out / CELLS).glob("*.json")}
    assert runs
    assert {path.name for path in (out / RUNS).iterdir()} == runs
    assert {path.stem for path in (out / ATTEMPTS).glob("*.jsonl")} == runs
    counts = {}
    for run in runs:
        records = read_attempts(out / ATTEMPTS / f"{run}.jsonl")
        begun = [record.attempt for record in records if record.event == "begin"]
        assert begun == list(range(1, len(begun) + 1)), (run, records)
        # One after another: an end is noted, if at all, before the next one begins.
        order = [(record.attempt, record.event == "end") for record in records]
        assert order == sorted(set(order)), (run, records)
        ends = [record.attempt for record in records if getattr(record, "end", None) == "finished"]
        # A trainer of its own goes on without its worker when that is killed, and may end well with nobody to note it.
        assert ends == [len(begun)] or (is_of_another_trainer(out / RUNS / run) and not ends), (run, records)
        assert read_checked_status(out / RUNS / run).state == "finished"  # type: ignore[union-attr]
        counts[run] = len(begun)
    return counts
