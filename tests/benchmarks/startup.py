"""How long everyday commands take to start, against the bare import of three libraries that they stand on.

    python tests/benchmarks/startup.py

All are whole processes, run in turn. Printed are medians of wall time and of processor time, which a busy machine
disturbs less, each with its ratio to the bare import; and for `inspect` the modules that take longest to import.
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
"""`inspect` within this many times the bare import."""


def main(rounds: int = 21) -> int:
    """Time the commands in turn, so that a busy machine slows all of them; 1 if `inspect` starts too slowly."""
    wall: dict[str, list[float]] = {name: [] for name in COMMANDS}
    processor: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            start, before = time.perf_counter(), os.times()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            wall[name].append(time.perf_counter() - start)
            after = os.times()
            spent = after.children_user + after.children_system - before.children_user - before.children_system
            processor[name].append(spent)
    print(f"{'':32s}{'wall':>8s}{'ratio':>8s}{'processor':>12s}{'ratio':>8s}")
    for name in COMMANDS:
        seconds, busy = statistics.median(wall[name]), statistics.median(processor[name])
        ratios = [value / statistics.median(times[BARE]) for value, times in ((seconds, wall), (busy, processor))]
        print(f"{name:32s}{seconds * 1e3:5.0f} ms{ratios[0]:6.2f} x{busy * 1e3:9.0f} ms{ratios[1]:6.2f} x")
    slow = statistics.median(processor["inspect CONFIG"]) > ALLOWED * statistics.median(processor[BARE])
    print(
        f"\ninspect within {ALLOWED} x: {'no' if slow else 'yes'}\n\nslowest imports of inspect, with what they bring:"
    )
    for microseconds, module in slowest_imports(8):
        print(f"{microseconds / 1e3:8.1f} ms  {module}")
    return int(slow)


def slowest_imports(most: int) -> list[tuple[int, str]]:
    """(microseconds, module) of the imports that take longest, their own imports included."""
    told = subprocess.run(
        [sys.executable, "-X", "importtime", *COMMANDS["inspect CONFIG"][1:]],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    lines = re.findall(r"^import time:\s+\d+ \|\s+(\d+) \|\s+([\w.]+)$", told, re.MULTILINE)
    return sorted(((int(time), module) for time, module in lines), reverse=True)[:most]


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 21))
