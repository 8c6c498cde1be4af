"""How fast a whole design run is. Run from the project's root: python -m tests.benchmarks.bench_design

Prints, on this machine: seconds (wall and processor) and peak memory of a default-space run with every law and
everything that it prints; designs considered per second and law; and beside it the rate at which numpy evaluates the
same laws' formulas on plain arrays of a chunk's size, which is what trying every design would be limited by.
"""

import resource
import time
from typing import Any

import numpy as np

import moewright
from moewright import laws
from moewright.designs.budgets import make_budgets
from moewright.designs.groups import CHUNK_ROWS
from moewright.designs.judges import choose_judges
from moewright.designs.space import Space

BUDGETS: dict[str, dict[str, Any]] = {
    "three budgets": {"memory": "80GB", "active_params": "3B", "train_tokens": "2T"},
    "fixed FLOPs": {"memory": "80GB", "active_params": "3B", "train_flops": "1e23"},
    "two H100s": {
        "hardware": "H100",
        "devices": 2,
        "decode_tokens_per_second": 40,
        "batch": 16,
        "train_flops": "1e22",
    },
    "active left open": {"memory": "80GB", "train_tokens": "2T"},
    "ten thousand million designs": {
        "memory": "80GB",
        "active_params": "3B",
        "train_tokens": "2T",
        "space": Space.wide().model_copy(update={"expert_size_step": 1}),
    },
}


def main() -> None:
    """Print every figure."""
    rate = plain_rate()
    print(f"numpy alone, all laws on arrays of {CHUNK_ROWS:,}: {rate:.3g} designs a second")
    for name, budgets in BUDGETS.items():
        start, processor = time.perf_counter(), time.process_time()
        answer = moewright.design(**budgets)
        seconds, busy = time.perf_counter() - start, time.process_time() - processor
        considered = answer.considered / seconds
        print(
            f"{name}: {seconds:.2f} s ({busy:.2f} s of processor), {answer.considered:,} designs, {answer.feasible:,} "
            f"within the budgets, {considered:.3g} designs a second by all laws, {considered / rate:.0f} x numpy's rate"
        )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def plain_rate() -> float:
    """Designs per second at which numpy evaluates all default laws on ready-made columns."""
    r = np.random.default_rng(0)
    values = {
        "total_params": r.uniform(1e10, 4e10, CHUNK_ROWS),
        "active_params": r.uniform(1e9, 3e9, CHUNK_ROWS),
        "train_tokens": np.full(CHUNK_ROWS, 2e12),
        "active_experts": r.integers(1, 20, CHUNK_ROWS).astype(np.float64),
        "shared_ratio": r.uniform(0, 0.5, CHUNK_ROWS),
        "num_experts": r.uniform(2, 512, CHUNK_ROWS),
        "granularity": r.uniform(1, 16, CHUNK_ROWS),
        "sparsity": r.uniform(0.5, 0.99, CHUNK_ROWS),
        "activation_ratio": r.uniform(0.01, 0.5, CHUNK_ROWS),
        "train_flops": r.uniform(1e21, 1e23, CHUNK_ROWS),
    }
    judges = choose_judges(None, make_budgets({"total_params": "1B", "train_tokens": "1B"}))
    inputs = {w.name: {v.name: values[v.name] for v in w.inputs} for w in judges}
    assert set(inputs) <= set(laws.names())
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        for judge in judges:
            judge.evaluate(inputs[judge.name])
        best = min(best, time.perf_counter() - start)
    return CHUNK_ROWS / best


if __name__ == "__main__":
    main()
