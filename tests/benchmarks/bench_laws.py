"""How fast, and how honest, fits are. Run from the project's root: python -m tests.benchmarks.bench_laws

Prints, on this machine:
- the 12-coefficient joint law on 446 rows from 64 starts, and its 1,000 bootstrap replicates;
- coverage of 90 % intervals over 100 seeded tables: G*, S* of the joint law, exponents of a dense law;
- errors on the public tables where these are at hand.
"""

import time

import numpy as np

from moewright import laws
from tests.laws.tables import clark_s_base, joint_moe, synthetic_dense, synthetic_zhao

REPEATS = 100


def main() -> None:
    """Print every figure."""
    table = synthetic_zhao(0)
    laws.fit_law("zhao2025", table, starts=64, bootstrap=0)  # imports
    start = time.perf_counter()
    fitted = laws.fit_law("zhao2025", table, starts=64, bootstrap=0)
    alone = time.perf_counter() - start
    print(f"zhao2025, {len(table['loss'])} rows, 64 starts: {alone:.2f} s, {fitted.status}")
    start = time.perf_counter()
    fitted = laws.fit_law("zhao2025", table, starts=64, bootstrap=1000)
    seconds = time.perf_counter() - start - alone
    print(f"its 1,000 bootstrap replicates: {seconds:.1f} s, {fitted.record.failed} failed")

    covered = np.zeros(4)
    for seed in range(REPEATS):
        best = laws.fit_law("zhao2025", synthetic_zhao(seed), bootstrap=400, seed=seed).optimum_interval(0.9)
        dense = laws.fit_law("hoffmann2022", synthetic_dense(seed), bootstrap=400, seed=seed)
        exponents = dense.coefficient_intervals(0.9)
        pairs = (
            (best["active_experts"], np.sqrt(7.2446 / 0.1577)),
            (best["shared_ratio"], 3.2363 / (2 * 5.1395)),
            (exponents["alpha"], 0.3478),
            (exponents["beta"], 0.3658),
        )
        covered += [interval.low <= truth <= interval.high for interval, truth in pairs]
    for name, share in zip(("G*", "S*", "alpha", "beta"), covered / REPEATS, strict=True):
        print(f"90 % interval of {name} covers the truth in {share:.0%} of {REPEATS} tables")

    train, test = joint_moe("train"), joint_moe("test")
    start = time.perf_counter()
    fitted = laws.fit_law("ludziejewski2025", train)
    low, high = fitted.interval(test, 0.9)
    inside = int(((low <= test["loss"]) & (test["loss"] <= high)).sum())
    rmse = float(np.sqrt(np.mean((fitted.predict(test) - test["loss"]) ** 2)))
    seconds = time.perf_counter() - start
    print(
        f"joint_moe: test RMSE {rmse:.4f}, {inside} of {len(test)} inside 90 %, {seconds:.1f} s, {fitted.record.tuned}"
    )
    fitted = laws.fit_law("clark2022", clark_s_base())
    print(f"clark_routing, 61 rows: RMSE of log10 {fitted.record.rmse_log / np.log(10):.5f}")


if __name__ == "__main__":
    main()
