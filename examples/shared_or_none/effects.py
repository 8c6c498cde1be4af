"""The run table of the study, and what a shared expert changes in it, by the rule of preregistered.md."""

from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import pandas as pd

from moewright import runs
from moewright.laws.rate_optimum import student_quantile
from moewright.laws.variable import Array
from moewright.runs.contrasts import matched_differences

HERE = Path(__file__).parent
LEVEL, NO_DIFFERENCE = 0.9, 0.02
RATIOS, SHARES = (16, 4), (0.0, 0.25)
"""Total over active width, and the shared share of the active width; 16 times is the primary question."""


@dataclass(frozen=True)
class Effect:
    """Loss with a shared expert less without, over seeds, in nats."""

    differences: Array
    """One for each seed (S,): both runs see the same data in the same order."""

    @property
    def mean(self) -> float:
        """Of the seeds."""
        return float(self.differences.mean())

    @property
    def deviation(self) -> float:
        """Of one difference between seeds."""
        return float(self.differences.std(ddof=1))

    @property
    def half_width(self) -> float:
        """Of the t-interval of the mean."""
        return half_width(self.deviation, len(self.differences))

    @property
    def interval(self) -> tuple[float, float]:
        """The t-interval of the mean."""
        return self.mean - self.half_width, self.mean + self.half_width

    @property
    def verdict(self) -> str:
        """By the rule that was written down before."""
        low, high = self.interval
        if low > 0:
            return "a shared expert costs"
        if high < 0:
            return "a shared expert gains"
        if low >= -NO_DIFFERENCE and high <= NO_DIFFERENCE:
            return f"no difference of {NO_DIFFERENCE:g} nats"
        return "cannot be told"

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.mean:+.4f} [{low:+.4f}, {high:+.4f}]"


def half_width(deviation: float, seeds: int) -> float:
    """Of the t-interval of a mean over seeds."""
    return student_quantile((1 + LEVEL) / 2, seeds - 1) * deviation / sqrt(seeds)


def seeds_for(nats: float, deviation: float) -> int:
    """The fewest seeds whose mean difference has an interval of at most +- so many nats."""
    seeds = 2
    while half_width(deviation, seeds) > nats:
        seeds += 1
    return seeds


def read(file: Path = HERE / "runs.csv") -> pd.DataFrame:
    """Every run of the sweep, the factors of its design as numbers."""
    found = runs.load(file)
    share = found["axis_shared_share"].astype(str).map({"0": SHARES[0], "1/4": SHARES[1]})
    return found.assign(share=share, ratio=found["axis_total_ratio"].astype(int), seed=found["seed"].astype(int))


def main_runs(found: pd.DataFrame) -> pd.DataFrame:
    """Those at the tuned rates; the others looked for these."""
    return found[found["stage"].isin(["main", "tune+main"])]


def effect(found: pd.DataFrame, ratio: int) -> Effect:
    """Of the shared expert at a total so many times the active width."""
    chosen = found[found["ratio"] == ratio]
    matches = matched_differences(chosen, "share", *SHARES, same=["seed"]).sort_values("seed")
    return Effect(matches["difference"].to_numpy(dtype=float))
