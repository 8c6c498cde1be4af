"""Does a mixture beat the dense model of equal active parameters, data and steps, by more than the seeds' noise?

    python examples/mixture_against_dense DATA OUT [--jobs 2]

DATA is the English pool at a vocabulary of 4,096 (docs/data.md). Each model gets the step law's learning rate for its
own size times 0.5, 1 and 2 with seed 0; the best of the three by validation loss is then run with seeds 1 and 2. Every
run is a `moewright train` of its own, several at a time, so the script can be stopped and started again. It prints a
table and writes it to OUT/losses.csv, and the curves to OUT/curves.png.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml
from matplotlib.figure import Figure

from moewright.experiment.run_folder import read_metrics

HERE = Path(__file__).parent
MODELS = ("moe", "dense")
MULTIPLIERS = (1.0, 0.5, 2.0)
SEEDS = (0, 1, 2)
TOKENS = 4_000_000
BATCH = 8192


class Run(NamedTuple):
    """One cell of the comparison."""

    model: str
    multiplier: float
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.model}-x{self.multiplier:g}-seed{self.seed}"


def recipe(run: Run, data: Path) -> dict[str, Any]:
    """All settings that both models share, and the few that they do not."""
    values: dict[str, Any] = {
        "format": "moewright-recipe/1",
        "architecture": str((HERE / f"{run.model}.yaml").resolve()),
        "data": str(data.resolve()),
        "train_tokens": TOKENS,
        "sequence_length": 512,
        "batch_tokens": BATCH,
        "micro_batch_sequences": 16,
        "precision": "bf16",
        "learning_rate": {"law": "steplaw", "multiplier": run.multiplier},
        "schedule": {"kind": "cosine", "warmup_tokens": 400_000},
        "evaluation": {"every_tokens": 1_000_000},
        "seed": run.seed,
    }
    if run.model == "moe":
        values["balancing"] = {"losses": [{"weight": 0.01}], "z_loss": 0.001}
    return values


def train(runs: Iterable[Run], data: Path, out: Path, jobs: int) -> dict[Run, dict[str, Any]]:
    """Train what is not finished yet; the summaries of all."""
    threads = str(max(1, (os.cpu_count() or 1) // jobs))

    def one(run: Run) -> dict[str, Any]:
        folder, spec = out / run.name, out / f"{run.name}.yaml"
        spec.write_text(yaml.safe_dump(recipe(run, data), sort_keys=False))
        command = [sys.executable, "-m", "moewright", "train", str(spec), "--out", str(folder), "--json"]
        environment = {**os.environ, "OMP_NUM_THREADS": threads}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        summary: dict[str, Any] = json.loads(done.stdout)
        print(f"{run.name}: {summary['loss']:.4f}", file=sys.stderr, flush=True)
        return summary

    runs = list(runs)
    with ThreadPoolExecutor(jobs) as pool:
        return dict(zip(runs, pool.map(one, runs), strict=True))


def draw(runs: Iterable[Run], out: Path) -> None:
    """Training loss over tokens, averaged over half a million, and validation loss."""
    figure = Figure(figsize=(7.6, 4.2), layout="constrained")
    axes = figure.add_subplot(xlabel="million tokens", ylabel="nats per token", ylim=(4.4, 7.0))
    for run in runs:
        records = list(read_metrics(out / run.name))
        color = "tab:blue" if run.model == "moe" else "tab:orange"
        steps = [(row["step"] * BATCH / 1e6, row["loss"]) for row in records if row["kind"] == "train"]
        tokens, losses = zip(*steps, strict=True)
        smooth = pd.Series(losses).rolling(6, min_periods=1).mean()
        axes.plot(tokens, smooth, color=color, linewidth=0.8, alpha=0.7)
        points = [(row["step"] * BATCH / 1e6, row["loss"]) for row in records if row["kind"] == "evaluation"]
        label = f"{run.model}, validation" if run.seed == SEEDS[0] else None
        axes.plot(*zip(*points, strict=True), "o", color=color, markersize=4, label=label)
    axes.legend(title="lines: training, three seeds each")
    figure.savefig(out / "curves.png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    grid = [Run(model, multiplier, 0) for multiplier in MULTIPLIERS for model in MODELS]
    results = train(grid, options.data, options.out, options.jobs)
    best = {
        model: min((run for run in grid if run.model == model), key=lambda run: results[run]["loss"]).multiplier
        for model in MODELS
    }
    repeats = [Run(model, best[model], seed) for seed in SEEDS[1:] for model in MODELS]
    results |= train(repeats, options.data, options.out, options.jobs)
    rows = [
        {**run._asdict(), "loss": f"{found['loss']:.5f}", "tokens_per_second": f"{found['tokens_per_second']:.0f}"}
        for run, found in results.items()
    ]
    with open(options.out / "losses.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(*row.values(), sep="\t")
    draw([Run(model, best[model], seed) for model in MODELS for seed in SEEDS], options.out)
    losses = {model: [results[Run(model, best[model], seed)]["loss"] for seed in SEEDS] for model in MODELS}
    for model, values in losses.items():
        print(f"{model}: {statistics.mean(values):.4f} nats, standard deviation {statistics.stdev(values):.4f}")
    gain = statistics.mean(losses["dense"]) - statistics.mean(losses["moe"])
    noise = statistics.mean([statistics.variance(values) for values in losses.values()]) ** 0.5
    print(f"the mixture is {gain:.4f} nats better, {gain / noise:.1f} times one run's standard deviation")


if __name__ == "__main__":
    main()
