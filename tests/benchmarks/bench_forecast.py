"""Seconds of processor time for forecasts of 100 runs by 100 simulated tables, one thread.

OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_forecast
"""

import time

import numpy as np

from moewright import laws
from tests.laws.tables import synthetic_zhao

RUNS = REPLICATES = 100


def main() -> None:
    """Print one line per law."""
    table = synthetic_zhao(0, RUNS)
    del table["loss"]
    random = np.random.default_rng(1)
    table |= {"num_experts": 2.0 ** random.integers(3, 7, RUNS), "sparsity": 2.0 ** random.integers(1, 4, RUNS)}
    table["granularity"] = 2.0 ** random.integers(0, 4, RUNS)
    for name in ("zhao2025", "liew2026", "wang2024", "krajewski2024", "epoch2024", "ludziejewski2025"):
        start = time.process_time()
        laws.forecast(name, table, 0.005, replicates=REPLICATES)
        print(f"{name:20} {time.process_time() - start:5.1f} s")


if __name__ == "__main__":
    main()
