"""How long `moewright inspect` takes, against the bare import of three libraries that it stands on.

    python tests/benchmarks/startup.py

Both are whole processes, run in turn; the ratio of medians is printed.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

CONFIG = Path(__file__).parents[2] / "examples" / "configs" / "deepseek-v3.json"
COMMANDS = {
    "import numpy, pydantic, typer": [sys.executable, "-c", "import numpy, pydantic, typer"],
    "inspect, tables": [sys.executable, "-m", "moewright", "inspect", str(CONFIG)],
    "inspect --json": [sys.executable, "-m", "moewright", "inspect", str(CONFIG), "--json"],
}


def main(rounds: int = 21) -> None:
    """Time the commands in turn, so that a busy machine slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    bare = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"{name:32s} {median * 1e3:7.0f} ms   {median / bare:5.2f} x")


if __name__ == "__main__":
    main()
