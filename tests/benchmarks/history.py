"""What the everyday commands take, kept as one JSON line a measurement, so that a slow change shows.

    python -m tests.benchmarks.history             # measure, compare with the last line of this processor, print
    python -m tests.benchmarks.history --keep      # ... and append to tests/benchmarks/history.jsonl

Each figure is the best of several whole processes, in seconds of wall time and of the processor, taken in turns with a
small program of the libraries that the commands stand on. A figure belongs to a processor, and is compared with figures
of that processor alone, by processor time, which other work on the machine disturbs less; how much of that there was is
kept as the load.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tests.benchmarks.startup import BASELINE, ENVIRONMENT, PROGRAM

ROOT = Path(__file__).resolve().parents[2]
HISTORY = Path(__file__).with_name("history.jsonl")
VERSIONS = ("numpy", "pydantic", "typer", "pandas", "torch")
CONFIG = "examples/configs/deepseek-v3.json"
RUNS = "examples/small_mixtures/runs.parquet"
MOEWRIGHT = (sys.executable, "-m", "moewright")

COMMANDS: dict[str, tuple[str, ...]] = {
    BASELINE: (sys.executable, "-c", PROGRAM, "64"),
    "import moewright": (sys.executable, "-c", "import moewright; moewright.inspect"),
    "inspect --json": (*MOEWRIGHT, "inspect", CONFIG, "--json"),
    "predict --json": (*MOEWRIGHT, "predict", CONFIG, "--train-tokens", "14.8T", "--json"),
    "design, three budgets": (
        *(*MOEWRIGHT, "design", "--memory", "80GB", "--active-params", "3B", "--train-tokens", "2T", "--json"),
    ),
    "fit, 200 replicates": (*MOEWRIGHT, "fit", RUNS, "--law", "zhao2025", "--bootstrap", "200", "--json"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print beside the last measurement on this processor, and keep if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help=f"append to {HISTORY.relative_to(ROOT)}")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args(arguments)
    record = {**provenance(), **measure(chosen.rounds), "train_tokens_per_second": training_speed()}
    before = last_of(record["processor"])
    for name, seconds in record["processor_seconds"].items():
        compare(name, seconds, None if before is None else before["processor_seconds"].get(name), "s")
    if record["train_tokens_per_second"] is not None:
        speed = None if before is None else before["train_tokens_per_second"]
        compare("train examples/train/tiny.yaml", record["train_tokens_per_second"], speed, "tokens/s")
    if chosen.keep:
        with HISTORY.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """The best wall time and the best processor time of each command, all of them in turns."""
    wall, processor = dict.fromkeys(COMMANDS, float("inf")), dict.fromkeys(COMMANDS, float("inf"))
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            start, before = time.perf_counter(), os.times()
            run(command)
            after = os.times()
            spent = after.children_user + after.children_system - before.children_user - before.children_system
            wall[name] = min(wall[name], round(time.perf_counter() - start, 4))
            processor[name] = min(processor[name], round(spent, 4))
    return {"seconds": wall, "processor_seconds": processor}


def training_speed() -> float | None:
    """Tokens a second of the first recipe, its median over the logged steps; None without torch."""
    try:
        version("torch")
    except PackageNotFoundError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "moby", Path(folder) / "run"
        run((*MOEWRIGHT, "data", "prepare", "examples/data/moby-dick.txt", "--vocab-size", "1024", "--out", str(data)))
        recipe = Path(folder) / "recipe.yaml"
        text = (ROOT / "examples/train/tiny.yaml").read_text(encoding="utf-8")
        recipe.write_text(text.replace("../../moby", str(data)).replace("train_tokens: 1M", "train_tokens: 500K"))
        run((*MOEWRIGHT, "train", str(recipe), "--out", str(out)))
        records = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    speeds = sorted(record["tokens_per_second"] for record in records if "tokens_per_second" in record)
    return round(speeds[len(speeds) // 2], 1)


def provenance() -> dict[str, Any]:
    """Where and of what the measurement is."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return {
        "date": date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "processor": processor(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": {name: found for name in VERSIONS if (found := _version(name)) is not None},
    }


def processor() -> str:
    """The processor's model and widest vectors, as the system tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = facts.get("flags", "").split()
    vectors = next((name for name in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if name in flags), "no avx2")
    where = f"family {facts.get('cpu family')} model {facts.get('model')}"
    return f"{facts.get('model name', platform.machine())}, {where}, {vectors}, {facts.get('cpu cores', '?')} cores"


def last_of(processor_name: str) -> dict[str, Any] | None:
    """The last kept measurement on a processor."""
    if not HISTORY.is_file():
        return None
    records = [json.loads(line) for line in HISTORY.read_text(encoding="utf-8").splitlines()]
    return next((record for record in reversed(records) if record["processor"] == processor_name), None)


def compare(name: str, value: float, before: float | None, unit: str) -> None:
    """One line: the figure, and its ratio to the last one."""
    ratio = "" if before is None else f"   {value / before:5.2f} x the last"
    print(f"{name:40s} {value:10.3f} {unit}{ratio}")


def run(command: Sequence[str]) -> None:
    """A command from the project's root, its output thrown away."""
    subprocess.run(command, cwd=ROOT, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
