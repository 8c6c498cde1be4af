"""Ctrl-C and SIGTERM at any moment of any command: the exit code, one line, and nothing left beside the output.

    python -m tests.trust.test_interrupts 200

sends as many signals to each command and says what came of them; the suite sends a few.
"""

import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

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
    assert err.splitlines()[-1] == f"moewright: {'interrupted' if number == signal.SIGINT else 'terminated'}"
    folder = out / ("designs" if name == "design" else "new")
    assert not folder.exists() or any(folder.iterdir()), "a folder that is half there"
    return "stopped"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", COMMANDS)
def test_signals_at_random_moments(name: str, number: signal.Signals, way: str, tmp_path: Path) -> None:
    early = way == "script"
    wait = random.Random(f"{name} {number} {way}").uniform(0, 0.3 if early else LONGEST / 2)
    interrupted(name, way, number, wait, tmp_path)


def main(count: int) -> None:
    """That many signals to each command, and a line about them."""
    draw = random.Random(0)
    for name in COMMANDS:
        ends: Counter[str] = Counter()
        for _ in range(count):
            number = draw.choice([signal.SIGINT, signal.SIGTERM])
            with tempfile.TemporaryDirectory() as folder:
                wait = draw.uniform(0, draw.choice([0.3, LONGEST]))
                ends[interrupted(name, draw.choice([*WAYS]), number, wait, Path(folder))] += 1
        print(f"{name}: {dict(ends)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
