"""How far the coefficients would move had other runs been made: a bootstrap over configurations."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from moewright.laws.fitting.problem import Problem
from moewright.laws.fitting.rows import Clusters, Mask
from moewright.laws.fitting.solver import Solution, minimise
from moewright.laws.variable import Array

_ITERATIONS = 80
_TOLERANCE = 1e-6
# Numbers in one Jacobian of a batch: small enough for the second-level cache, large enough that numpy's calls do not
# dominate. Measured on 446 rows and 12 coefficients, see tests/benchmarks/bench_laws.py.
_BATCH = 100_000


def resampled_weights(clusters: Clusters, weights: Array, replicates: int, random: np.random.Generator) -> Array:
    """Row weights (B, R) of B resamples of whole clusters, drawn as often as there are clusters."""
    number = int(clusters.max()) + 1
    counts = random.multinomial(number, np.full(number, 1 / number), size=replicates)
    return np.asarray(counts[:, clusters] * weights, dtype=np.float64)


def refit(problem: Problem, starts: Array, weights: Array, held: Mask | None = None) -> Solution:
    """Replicates (B, P) from `starts` (B, P) with row weights (B, R), in batches over the machine's cores.

    Threads, because nearly all time is spent in numpy, which lets go of the interpreter there.
    """
    size = max(1, _BATCH // (starts.shape[1] * weights.shape[1]))
    parts = [slice(first, first + size) for first in range(0, len(starts), size)]

    def work(part: slice) -> Solution:
        return minimise(
            problem,
            starts[part],
            weights[part],
            iterations=_ITERATIONS,
            tolerance=_TOLERANCE,
            held=None if held is None else held[part],
        )

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        solved = list(pool.map(work, parts))
    return Solution(
        np.concatenate([solution.u for solution in solved]),
        np.concatenate([solution.cost for solution in solved]),
        np.concatenate([solution.converged for solution in solved]),
    )
