"""`moewright runs` on many run folders, as a whole process, against a plain read of all their files.

    python -m tests.benchmarks.bench_runs RUN [--runs 1000] [--curves]
    python -m tests.benchmarks.bench_runs --json-lines 20000 [--runs 20] [--curves]

RUN is a folder of a real run with some 60 lines of metrics. It is copied into a sweep with other names, seeds, learning
rates and, in steps of ten runs, other architectures; checkpoints are not copied, since neither side looks at them. The
plain read opens the same files in the same order and adds up their bytes, in a process of its own too.

With `--json-lines` it is runs of another trainer, with so many lines each, and the plain read parses every line by
Python's json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from moewright.experiment.run_folder import RunRecord
from tests.sealing import sealed

PLAIN = """
import os, sys
total = 0
for place, folders, files in os.walk(sys.argv[1]):
    for name in files:
        with open(os.path.join(place, name), "rb") as file:
            total += len(file.read())
print(total)
"""
PLAIN_JSON = """
import json, os, sys
total = 0
for name in sorted(os.listdir(sys.argv[1])):
    with open(os.path.join(sys.argv[1], name), encoding="utf-8") as lines:
        total += sum(len(json.loads(line)) for line in lines)
print(total)
"""


def write_json_lines(out: Path, count: int, lines: int) -> None:
    """Logs of so many runs: every 50th line is an evaluation."""
    out.mkdir()
    for number in range(count):
        with open(out / f"run{number:04d}.jsonl", "w", encoding="utf-8") as file:
            for step in range(1, lines + 1):
                loss = 2 + (5 + number / 10) / step**0.3
                record: dict[str, Any] = {"step": step, "tokens": step * 65536, "train/loss": loss, "lr": 3e-4 / step}
                record |= {"grad_norm": 1 / loss, "tokens_per_second": 1e5 / loss, "train/aux_loss": loss / 100}
                if step % 50 == 0:
                    record = {"step": step, "tokens": step * 65536, "eval/loss": loss + 0.01}
                file.write(json.dumps(record) + "\n")


def copy_runs(run: Path, out: Path, count: int) -> None:
    """A sweep folder with so many copies."""
    record: dict[str, Any] = json.loads((run / "run.json").read_text())
    texts = {name: (run / name).read_text() for name in ("metrics.jsonl", "status.json", "architecture.yaml")}
    for folder in ("cells", "attempts"):
        (out / folder).mkdir(parents=True)
    (out / "sweep.json").write_text("{}")
    begun = {"event": "begin", "attempt": 1, "time": 1.0, "host": "node", "pid": 1, "slot": 0, "threads": 1}
    ended = {"event": "end", "attempt": 1, "time": 2.0, "end": "finished"}
    group = record["recipe"]["architecture"]["layers"][0]["layers"][0]["feed_forward"]["groups"][0]
    experts = group["count"]
    for number in range(count):
        name = f"{number:012x}"
        group["count"] = experts + number // 10
        record["recipe"]["seed"] = number % 10
        record["facts"]["peak_learning_rate"] = 1e-3 * (1 + number % 7)
        copy = out / "runs" / name
        copy.mkdir(parents=True)
        (copy / "run.json").write_text(json.dumps(sealed(RunRecord, record), indent=2))
        for file, text in texts.items():
            (copy / file).write_text(text)
        cell = {
            "id": name,
            "settings": {"num_experts": group["count"]},
            "stage": "main",
            "group": str(number // 10),
            "recipe": record["recipe"],
            "data_fingerprint": record["data"]["fingerprint"],
            "code": "c0de",
            "warnings": [],
        }
        (out / "cells" / f"{name}.json").write_text(json.dumps(cell, indent=2))
        (out / "attempts" / f"{name}.jsonl").write_text(f"{json.dumps(begun)}\n{json.dumps(ended)}\n")
        (out / "attempts" / f"{name}.lock").touch()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--json-lines", type=int, help="so many lines a run, instead of a run of moewright's own")
    parser.add_argument("--curves", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if (given.run is None) == (given.json_lines is None):
        parser.error("a RUN or --json-lines")
    count = given.runs or (20 if given.json_lines else 1000)
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "sweep"
        if given.json_lines:
            write_json_lines(out, count, given.json_lines)
        else:
            copy_runs(given.run, out, count)
        command = [sys.executable, "-m", "moewright", "runs", str(out), "--out", f"{place}/runs.parquet"]
        command += ["--curves", f"{place}/curves.parquet"] if given.curves else []
        plain = PLAIN_JSON if given.json_lines else PLAIN
        sides = {"plain read": [sys.executable, "-c", plain, str(out)], "moewright runs": command}
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(given.rounds):  # in turn, so that a busy machine slows both
            for name, side in sides.items():
                began = time.perf_counter()
                subprocess.run(side, check=True, stdout=subprocess.DEVNULL)
                seconds[name].append(time.perf_counter() - began)
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{count} runs, {size / 1e6:.0f} MB; median and range of {given.rounds}")
    for name, values in seconds.items():
        ratio = medians[name] / medians["plain read"]
        print(f"{name:16s} {medians[name]:6.2f} s ({min(values):.2f} to {max(values):.2f})  {ratio:5.1f} x")


if __name__ == "__main__":
    main()
