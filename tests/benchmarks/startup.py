"""How long everyday commands take to start, against the bare import of three libraries that they stand on.

    python tests/benchmarks/startup.py

All are whole processes, run in turn. Printed are medians of wall time and of processor time, which a busy machine
disturbs less, each with its ratio to the bare import. Beside them the same for imports alone, by `-X importtime`: the
sum over all modules that the process loads, the least of each over the rounds.
"""

import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

CONFIG = str(Path(__file__).parents[2] / "examples" / "configs" / "deepseek-v3.json")
BARE = "import numpy, pydantic, typer"
MOEWRIGHT = [sys.executable, "-m", "moewright"]
COMMANDS = {
    BARE: [sys.executable, "-c", BARE],
    "import moewright; .inspect": [sys.executable, "-c", "import moewright; moewright.inspect"],
    "inspect CONFIG": [*MOEWRIGHT, "inspect", CONFIG],
    "inspect CONFIG --json": [*MOEWRIGHT, "inspect", CONFIG, "--json"],
    "laws": [*MOEWRIGHT, "laws"],
    "predict CONFIG": [*MOEWRIGHT, "predict", CONFIG, "--train-tokens", "2T"],
    "design --help": [*MOEWRIGHT, "design", "--help"],
}
ALLOWED = 1.5
"""The imports of `inspect` within this many times the bare import."""


def main(rounds: int = 11) -> int:
    """Time the commands in turn, so that a busy machine slows all of them; 1 if `inspect` imports for too long."""
    wall: dict[str, list[float]] = {name: [] for name in COMMANDS}
    processor: dict[str, list[float]] = {name: [] for name in COMMANDS}
    imports: dict[str, dict[str, int]] = {name: {} for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            start, before = time.perf_counter(), os.times()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            wall[name].append(time.perf_counter() - start)
            after = os.times()
            spent = after.children_user + after.children_system - before.children_user - before.children_system
            processor[name].append(spent)
            for module, microseconds in import_times(command).items():
                imports[name][module] = min(microseconds, imports[name].get(module, microseconds))
    print("".join(f"{word:>{width}}" for word, width in (("wall", 41), ("processor", 18), ("imports", 18))))
    ratios = {}
    for name in COMMANDS:
        figures = [
            (statistics.median(wall[name]), statistics.median(wall[BARE])),
            (statistics.median(processor[name]), statistics.median(processor[BARE])),
            (sum(imports[name].values()) / 1e6, sum(imports[BARE].values()) / 1e6),
        ]
        print(f"{name:32s}" + "".join(f"{own * 1e3:6.0f} ms{own / bare:6.2f} x " for own, bare in figures))
        ratios[name] = figures[-1][0] / figures[-1][1]
    fits = ratios["inspect CONFIG"] <= ALLOWED
    print(f"\nimports of inspect within {ALLOWED} x: {'yes' if fits else 'no'}\n\nits slowest own modules:")
    own = {module: time for module, time in imports["inspect CONFIG"].items() if module.startswith("moewright")}
    for module in sorted(own, key=lambda module: -own[module])[:8]:
        print(f"{own[module] / 1e3:8.1f} ms  {module}")
    return int(not fits)


def import_times(command: list[str]) -> dict[str, int]:
    """Microseconds that each module of a Python process takes, without those that it imports."""
    traced = [command[0], "-X", "importtime", *command[1:]]
    told = subprocess.run(traced, capture_output=True, text=True, check=True).stderr
    lines = re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)$", told, re.MULTILINE)
    return {module: int(microseconds) for microseconds, module in lines}


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 11))
