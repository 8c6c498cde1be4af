"""Tokens per second of the whole machine: a sweep of tiny runs side by side, and the same runs one at a time.

    python -m tests.benchmarks.bench_sweep DATA [--rounds 3]
    python -m tests.benchmarks.bench_sweep --start [--rounds 3]

DATA is a folder of `moewright data prepare`. The runs are models of examples/small_mixtures with other seeds. Three
rates, each over rounds that take turns:

- side by side: runs on one core each, as many as there are cores; their tokens over the time of the sweep, starts,
  evaluations and checkpoints included;
- one at a time: the same runs, each with all cores;
- the best single run: the highest training rate that any of those with all cores reached, starts left out.

With `--start`: processor seconds of the process of a job that trains the tests' tiny model for 20 steps, in turns as a
fork of a process that has loaded torch, and as a process that begins by itself.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from moewright.experiment.collecting.collection import collect
from moewright.sweeps.running.local_executor import LocalExecutor
from moewright.sweeps.running.sweeping import sweep
from moewright.sweeps.sweep_spec import Execution
from tests.lab import tiny
from tests.sweeps.test_warm_start import train

BASE = Path(__file__).parents[2] / "examples" / "small_mixtures" / "base.yaml"


def specification(data: Path, tokens: int, runs: int, cores: int) -> dict[str, Any]:
    """So many runs of one model, with so many cores each."""
    axes = [
        {"ladder": {"num_layers": [3], "width_per_layer": 16, "head_dim": 16}},
        {"grid": {"total_ratio": [8], "expert_share": [0.25]}, "hold": ["active"]},
        {"grid": {"data": [str(data.resolve())], "train_tokens": [tokens]}},
    ]
    execution = {"cores_per_run": cores, "keep": "none"}
    return {"recipe": str(BASE), "axes": axes, "seeds": list(range(runs)), "execution": execution}


def measure(data: Path, tokens: int, runs: int, cores: int, jobs: int) -> tuple[float, float]:
    """Tokens per second of the whole sweep, and of its fastest run while it trained."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        begun = time.perf_counter()
        result = sweep(specification(data, tokens, runs, cores), out, jobs=jobs)
        seconds = time.perf_counter() - begun
        assert result.is_complete, result.counts
        table = collect(out).table
    return runs * tokens / seconds, float(table["tokens_per_second"].max())


def processor_seconds(recipe: dict[str, Any], out: str, **told: Any) -> float:
    """What a job's process has taken once it has trained."""
    train(recipe, out, **told)
    return time.process_time()


def measure_starts(rounds: int) -> None:
    """Print the processor seconds of a tiny job with torch loaded before it and without, in turns."""
    from tests.benchmarks.bench_sweep import processor_seconds  # by its name, which a job can import

    forked, alone = (LocalExecutor(Execution(cores_per_run=1), 1) for _ in range(2))
    alone._server._failed = True
    forked.prepare()
    print("processor seconds of a job of 20 steps\nforked   by itself", flush=True)
    for _ in range(rounds):
        taken = []
        for executor in (forked, alone):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                recipe = tiny.recipe(tiny.write_tokens(folder), 20)
                taken.append(executor.start(folder / "job", 0, processor_seconds, recipe, str(folder / "run")).result())
        print(f"{taken[0]:6.2f}   {taken[1]:9.2f}", flush=True)


def main() -> None:
    """Print the rates of every round and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--start", action="store_true", help="what the start of a job takes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=512_000, help="of each run")
    options = parser.parse_args()
    if options.start:
        measure_starts(options.rounds)
        return
    if options.data is None:
        parser.error("DATA is missing: a folder of `moewright data prepare`")
    cores = len(os.sched_getaffinity(0))
    runs = 2 * cores
    print(f"{cores} cores, {runs} runs of {options.tokens:,} tokens; tokens per second")
    print("side by side   one at a time   best single run   ratio to it   ratio of the sweeps", flush=True)
    for _ in range(options.rounds):
        together, _ = measure(options.data, options.tokens, runs, 1, cores)
        apart, single = measure(options.data, options.tokens, runs, cores, 1)
        rates = f"{together:12,.0f}   {apart:13,.0f}   {single:15,.0f}"
        print(f"{rates}   {together / single:11.2f}   {together / apart:19.2f}", flush=True)


if __name__ == "__main__":
    main()
