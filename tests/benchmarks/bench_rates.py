"""Which tested rates a parabola should be fitted to: loss given away at the answer, and how often intervals hold it.

    python -m tests.benchmarks.bench_rates [TRIALS]

Curves c (exp(k x) - k x - 1) / k^2 in x = ln(rate / best): curvature c at the best, e^k times that at x = 1.
"""

import itertools
import sys
from collections import defaultdict

import numpy as np

from moewright.laws import best_rate

CURVATURES, LOPSIDED, NOISES = (0.02, 0.05, 0.1), (0.0, 0.5, 1.0, 2.0), (0.005, 0.01, 0.02)
GRIDS = ((2.0, 5), (2.0, 7), (4.0, 5))  # factor between rates, rates


def curve(x: np.ndarray, curvature: float, lopsided: float) -> np.ndarray:
    """Nats above the best loss."""
    if not lopsided:
        return curvature * x**2 / 2
    return curvature * (np.exp(lopsided * x) - lopsided * x - 1) / lopsided**2


def vertex(x: np.ndarray, y: np.ndarray, reach: int) -> float:
    """Of the parabola through the best and `reach` rates on each side; the best rate where that is no answer."""
    best = int(np.argmin(y))
    near = slice(max(best - reach, 0), best + reach + 1)
    square, slope, _ = np.polyfit(x[near], y[near], 2)
    answer = -slope / (2 * square) if square > 0 else x[best]
    return float(answer if x[0] <= answer <= x[-1] else x[best])


def main() -> None:
    """Print one line per lopsidedness and method."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    random = np.random.default_rng(0)
    for lopsided in LOPSIDED:
        shares: dict[str, list[float]] = defaultdict(list)
        inside = held = 0
        for curvature, (factor, count), noise in itertools.product(CURVATURES, GRIDS, NOISES):
            lost: dict[str, list[float]] = defaultdict(list)
            step = np.log(factor)
            for _ in range(trials):
                x = (np.arange(count) - (count - 1) / 2) * step + random.uniform(-1, 1) * step * (count - 1) / 4
                y = 3 + np.minimum(curve(x, curvature, lopsided), 3) + noise * random.standard_normal(count)
                best = int(np.argmin(y))
                if best in (0, count - 1):
                    continue
                found = best_rate(np.exp(x), y, noise)
                answers = {
                    "best tested": x[best],
                    "best_rate": float("nan") if found.rate is None else np.log(found.rate),
                    "three rates": vertex(x, y, 1),
                    "five rates": vertex(x, y, 2),
                    "all rates": vertex(x, y, count),
                }
                for name, answer in answers.items():
                    lost[name].append(float(curve(answer, curvature, lopsided)))
                if found.interval is not None:
                    inside += 1
                    held += found.interval[0] <= 1 <= found.interval[1]
            for name, values in lost.items():
                shares[name].append(float(np.mean(values) / np.mean(lost["best tested"])))
        print(
            f"curvature times {np.exp(lopsided):.1f} at x = 1: intervals of best_rate hold the best {held / inside:.2f}"
        )
        for name, values in shares.items():
            print(f"    {name:12} {np.mean(values):.2f} of what the best tested gives away, at worst {max(values):.2f}")


if __name__ == "__main__":
    main()
