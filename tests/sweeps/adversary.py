"""A sweep of tiny runs, somebody who kills its processes at random moments, and what must hold of it afterwards."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moewright.experiment import run_folder
from moewright.experiment.attempts import begins, read_attempts
from moewright.experiment.sweep_folder import ATTEMPTS, CELLS, RUNS
from tests.lab.tiny import BATCH, LENGTH, metrics, recipe, write_tokens

KILLS = ("worker", "controller", "submitter", "everything")
"""What gets SIGKILL: a process that trains, submitit's process above one, `moewright sweep`, or all of these."""
STOPS = ("SIGTERM", "SIGINT", "SIGINT twice")
"""What `moewright sweep` is told, which it must obey: checkpoints are written, exit 130."""
CHECKPOINT_EVERY = 5
"""Steps."""


def write_sweep(folder: Path, *, steps: int, experts: list[int], seeds: list[int]) -> Path:
    """The specification of a sweep. For each number of experts 3 runs tune the learning rate, with the first seed; the
    best of them counts for that seed, and one more run is made for each other seed."""
    folder.mkdir(parents=True)
    step = BATCH * LENGTH
    base = recipe(
        write_tokens(folder, 40_000),
        steps=steps,
        checkpoints={"every_tokens": CHECKPOINT_EVERY * step, "keep": 2},
        evaluation={"every_tokens": 20 * step},
    )
    sweep = {
        "format": "moewright-sweep/1",
        "recipe": base,
        "axes": [{"grid": {"num_experts": experts}}],
        "seeds": seeds,
        "tuning": {"multipliers": [0.3, 0.6, 1.2], "per": ["num_experts"], "extend": 0, "promote": "best"},
        # A run that was killed in the same five steps more often than that is left alone, as it should be.
        "execution": {"cores_per_run": 1, "retries": 50},
    }
    path = folder / "sweep.json"
    path.write_text(json.dumps(sweep))
    return path


@dataclass
class Tally:
    """What was done to a sweep."""

    struck: Counter[str] = field(default_factory=Counter)
    starts: int = 0


class Victim:
    """A sweep under way in processes of its own, found by its folder's path in their command lines."""

    def __init__(self, spec: Path, out: Path, logs: Path, jobs: int = 2):
        self.spec, self.out, self.logs, self.jobs = spec, out, logs, jobs
        self.tally = Tally()
        self._submitter: subprocess.Popen[bytes] | None = None
        logs.mkdir(parents=True)

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
        command = [sys.executable, "-m", "moewright", "sweep", str(self.spec), "--out", str(self.out)]
        with open(log, "wb") as file:
            return subprocess.Popen(
                [*command, "--jobs", str(self.jobs)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=root,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root / "src")},
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
    def exit_code(self) -> int | None:
        """Of the submitter; None while it lives."""
        return 0 if self._submitter is None else self._submitter.poll()

    @property
    def log(self) -> str:
        """Of the last start."""
        return (self.logs / f"{self.tally.starts - 1}.log").read_text(errors="replace")

    def processes(self) -> dict[str, list[int]]:
        """Those that live, by kind; also those that a submitter left behind when it was killed."""
        found: dict[str, list[int]] = {kind: [] for kind in KILLS}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    if not any(part.startswith(f"{self.out}/") for part in command):
                        continue
                    if "submitit.core._submit" in command:
                        found["worker"].append(int(entry.name))
                    elif "submitit.local._local" in command:
                        found["controller"].append(int(entry.name))
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
        total = 0
        for status in (self.out / RUNS).glob("*/status.json"):
            with suppress(OSError, ValueError):
                total += json.loads(status.read_text()).get("step") or 0
        return total

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


class Adversary:
    """Strikes a sweep until it has struck often enough and the sweep is done."""

    def __init__(self, victim: Victim, *, total_steps: int, seed: int, say: Callable[[str], None], patience: float):
        self.victim, self.total_steps, self.say, self.patience = victim, total_steps, say, patience
        self._draw = random.Random(seed)

    def strike(self, kills: int, stops: int = 0, seconds: int = 0, at_half: Callable[[], None] | None = None) -> None:
        """So many kills in equal parts of each kind, stops, second submitters; then the sweep runs to its end.

        Some come at once after another, when processes load and wait for locks; the others are spread over the steps
        of the sweep. `at_half`: something else that happens in the middle.
        """
        strikes = [KILLS[i % len(KILLS)] for i in range(kills)] + [STOPS[i % len(STOPS)] for i in range(stops)]
        self._draw.shuffle(strikes)
        for _ in range(seconds):  # in the first half: meanwhile the sweep goes on, and it must not be done too soon
            strikes.insert(self._draw.randrange(len(strikes) // 2), "second submitter")
        for number, kind in enumerate(strikes):
            self._revive()
            if at_half is not None and number == len(strikes) // 2:
                at_half()
            self._wait_for_moment((number + 1) / len(strikes))
            self._check_not_done(f"strike {number + 1} of {len(strikes)}")
            if kind in KILLS:
                kind = self._kill(kind)
            elif kind in STOPS:
                self.stop(kind)
            else:
                self.try_second()
            steps = f"{self.victim.steps():,} of {self.total_steps:,} steps"
            self.say(f"strike {number + 1} of {len(strikes)}: {kind}; {steps}")
        self._revive()
        self._wait("the end of the sweep", lambda: self.victim.exit_code is not None, 10 * self.patience)
        assert self.victim.exit_code == 0, self.victim.log

    def _check_not_done(self, what: str) -> None:
        assert self.victim.exit_code != 0, f"the sweep was done before {what}; give its runs more steps"

    def _revive(self) -> None:
        code = self.victim.exit_code
        if code is not None:
            assert code in (0, -signal.SIGKILL, 130, -signal.SIGINT), f"exit {code}\n{self.victim.log}"
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

    def _kill(self, kind: str) -> str:
        """Of that kind, or of another if none of that kind comes to life."""
        end = time.monotonic() + self.patience
        while not self.victim.kill(kind, self._draw):
            assert time.monotonic() < end, f"no {kind} to kill\n{self.victim.log}"
            self._revive()
            time.sleep(0.1)
        return kind

    def stop(self, kind: str) -> None:
        """Ctrl-C or SIGTERM to the submitter: it waits for its workers' checkpoints, and leaves none behind."""
        victim = self.victim
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
        assert victim.exit_code in ((130, -signal.SIGINT) if twice else (130,)), f"{victim.exit_code}\n{victim.log}"
        assert "Traceback" not in victim.log, victim.log
        # Left are workers on their way out, and such as lost their controllers while they loaded and do not begin.
        left, began = set(victim.own_children()), victim.workers()
        assert twice or not victim.workers(open_only=True) & left, victim.log
        self._wait("the workers' ends", lambda: not victim.own_children(), self.patience)
        assert not (victim.workers() - began) & left, victim.log
        victim.tally.struck[kind] += 1

    def try_second(self) -> None:
        """Another submitter in the same folder is refused with one line."""
        victim = self.victim
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
        assert ends == [len(begun)], (run, records)
        assert run_folder.read_status(out / RUNS / run).state == "finished"  # type: ignore[union-attr]
        counts[run] = len(begun)
    return counts


def check_results(folder: Path, expected: Path, steps: int) -> None:
    """A run's folder against that of the same run undisturbed: the same lines, the same loss, the same weights."""
    (checkpoint,) = (folder / run_folder.CHECKPOINTS).iterdir()
    assert checkpoint.name == f"step-{steps:08d}"
    assert {path.name for path in checkpoint.iterdir()} == {run_folder.MODEL, run_folder.STATE}
    wanted = expected / run_folder.CHECKPOINTS / checkpoint.name
    assert (checkpoint / run_folder.MODEL).read_bytes() == (wanted / run_folder.MODEL).read_bytes()
    assert run_folder.read_status(folder).loss == run_folder.read_status(expected).loss  # type: ignore[union-attr]
    lines = effective_lines(folder)
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, steps + 1))
    assert [line["step"] for line in lines if line["kind"] == "evaluation"][-1] == steps
    assert lines == effective_lines(expected)


def effective_lines(folder: Path) -> list[dict[str, Any]]:
    """Training and evaluation lines of a run's metrics; of those that occur again after an interruption, the last."""
    lines = {(line["step"], line["kind"]): line for line in metrics(folder, "train", "evaluation")}
    return [lines[key] for key in sorted(lines)]
