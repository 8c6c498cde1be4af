"""Ctrl-C, SIGTERM, a closed terminal, at any moment of a command: exit code, one line, nothing left beside the output.

    python -m tests.trust.test_interrupts 200

sends as many signals to each command and says what came of them; the suite sends a few.
"""

import os
import pty
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from moewright.experiment import run_folder
from moewright.signals import ENDINGS
from tests.lab import tiny

TABLE = "examples/small_mixtures/runs.parquet"
COMMANDS: dict[str, list[str]] = {
    "inspect": ["inspect", "examples/configs/qwen3-30b-a3b.json", "--json"],
    "fit": [
        "fit",
        TABLE,
        "--law",
        "zhao2025",
        "--bootstrap",
        "20",
        "--out",
        "{out}/law.json",
        "--plots",
        "{out}/plots",
    ],
    "design": ["design", "--total-params", "3B", "--train-tokens", "2T", "--out", "{out}/designs"],
    "export": ["export", "examples/configs/qwen3-30b-a3b.json", "--format", "megatron", "--out", "{out}/new"],
    "data prepare": ["data", "prepare", "examples/data/moby-dick.txt", "--vocab-size", "400", "--out", "{out}/new"],
    "next": ["next", TABLE, "--law", "zhao2025", "--spend", "1e20", "--out", "{out}/next.csv"],
    "report": ["report", TABLE, "mixtral-8x7b", "--out", "{out}/report.html"],
    "calibrate": ["calibrate", "examples/measured_steps.csv", "--out", "{out}/mine.yaml"],
    "plan": ["plan", "mixtral-8x7b", "--hardware", "H100", "--devices", "64"],
}
"""A new command is a line here. Training and sweeps have tests of their own: they write a checkpoint first."""
WAYS = {"module": ["-m", "moewright"], "script": ["-c", "from moewright.__main__ import main; main()"]}
LONGEST = 3.0
"""Seconds after which the signal comes at the latest; the commands take 0.5 to 10."""


def hears(process: subprocess.Popen[str]) -> bool:
    """Whether the process has its handler of SIGTERM: before that it is the interpreter that starts."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return False
    caught = next((line.split()[1] for line in lines if line.startswith("SigCgt")), "0")
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def interrupted(name: str, way: str, number: signal.Signals, wait: float, out: Path) -> str:
    """Send a command a signal after so many seconds; what came of it, in a word. Asserts what must hold then."""
    line = [sys.executable, *WAYS[way], *(each.format(out=out) for each in COMMANDS[name])]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True) as process:
        while process.poll() is None and not hears(process):
            time.sleep(0.001)
        time.sleep(wait)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    assert not list(out.rglob(".*")), "left behind"
    if process.returncode == 0:
        return "done before"
    assert process.returncode == 128 + number, err
    assert err.splitlines()[-1] == f"moewright: {ENDINGS[number]}"
    folder = out / ("designs" if name == "design" else "new")
    assert not folder.exists() or any(folder.iterdir()), "a folder that is half there"
    return "stopped"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("name", COMMANDS)
def test_signals_at_random_moments(name: str, number: signal.Signals, tmp_path: Path) -> None:
    draw = random.Random(f"{name} {number}")
    way = draw.choice([*WAYS])
    interrupted(name, way, number, draw.uniform(0, 0.3 if way == "script" else LONGEST / 2), tmp_path)


def test_training_outlives_its_terminal_by_a_checkpoint(tmp_path: Path) -> None:
    """The terminal is closed under it: whatever it prints from then on is an error there."""
    data = tiny.write_tokens(tmp_path)
    file = tiny.save(tiny.recipe(data, 20_000), tmp_path / "recipe.json")
    process, terminal = pty.fork()
    if process == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a suite that nohup started would have it deaf
        os.execv(sys.executable, [sys.executable, "-m", "moewright", "train", file, "--out", str(tmp_path / "run")])
    deadline = time.monotonic() + 60
    while not read_steps(tmp_path / "run") and time.monotonic() < deadline:
        time.sleep(0.02)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 128 + signal.SIGHUP
    status = run_folder.read_status(tmp_path / "run")
    assert status is not None
    assert (status.state, status.step) == ("interrupted", read_steps(tmp_path / "run"))
    assert run_folder.newest_step(tmp_path / "run") == status.step


def read_steps(folder: Path) -> int:
    return len(tiny.metrics(folder, "train")) if (folder / run_folder.METRICS).is_file() else 0


def test_what_is_ignored_stays_so(tmp_path: Path) -> None:
    """As under nohup, and in the background of a script: nobody meant the command by it."""
    script = (
        "import os, signal, sys\n"
        "for number in (signal.SIGHUP, signal.SIGINT): signal.signal(number, signal.SIG_IGN)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'moewright', *sys.argv[1:]])"
    )
    out = tmp_path / "mine.yaml"
    command = [sys.executable, "-c", script, "calibrate", "examples/measured_steps.csv", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(20):
            for number in (signal.SIGHUP, signal.SIGINT):
                process.send_signal(number) if process.poll() is None and hears(process) else None
            time.sleep(0.01)
        process.communicate(timeout=60)
    assert (process.returncode, out.is_file()) == (0, True)


def main(count: int) -> None:
    """That many signals to each command, and a line about them."""
    draw = random.Random(0)
    for name in COMMANDS:
        ends: Counter[str] = Counter()
        for _ in range(count):
            number = draw.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
            with tempfile.TemporaryDirectory() as folder:
                wait = draw.uniform(0, draw.choice([0.3, LONGEST]))
                ends[interrupted(name, draw.choice([*WAYS]), number, wait, Path(folder))] += 1
        print(f"{name}: {dict(ends)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
