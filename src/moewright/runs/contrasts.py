"""Effects without a law: the difference between runs that agree in everything but one setting.

Runs are matched exactly on the given columns; inside a match the runs at the low and at the high setting are averaged
and subtracted. Intervals come from resampling whole clusters of matches, so that matches which share runs or models
count once.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from moewright.errors import UserError
from moewright.runs.validation import require


@dataclass(frozen=True)
class Contrast:
    """The mean over matches of outcome(high) - outcome(low), in the outcome's unit, with its interval."""

    mean: float
    low: float
    high: float
    matches: int
    clusters: int
    spread: float
    """Standard deviation over the matches; NaN for fewer than two."""

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}] ({self.matches} pairs)"


NONE = Contrast(float("nan"), float("nan"), float("nan"), 0, 0, float("nan"))


def matched_differences(
    table: pd.DataFrame, factor: str, low: Hashable, high: Hashable, *, same: Sequence[str], outcome: str = "loss"
) -> pd.DataFrame:
    """One row per match: the `same` columns, and `difference` = mean outcome at `high` less that at `low`.

    Raises UserError for a column that the table lacks. A missing value in a `same` column matches another missing one.
    """
    require(table, [factor, outcome, *same])
    if factor in same:
        raise UserError(f"contrast: {factor} cannot both differ and be the same")
    usable = table[table[outcome].notna() & table[factor].isin([low, high])]
    means = usable.groupby([*same, factor], dropna=False, sort=False)[outcome].mean().reset_index()
    sides = [means[means[factor] == value].drop(columns=factor) for value in (low, high)]
    # Merging treats missing keys as equal, as the grouping does.
    matches = sides[0].merge(sides[1], on=list(same), suffixes=("_low", "_high"))
    matches["difference"] = matches[f"{outcome}_high"] - matches[f"{outcome}_low"]
    return matches


def contrast(
    matches: pd.DataFrame, *, cluster: Sequence[str] = (), level: float = 0.9, draws: int = 2000, seed: int = 0
) -> Contrast:
    """Summarise `matched_differences`, possibly several of them concatenated.

    `cluster` names columns whose equal values are resampled together; without it every match is a cluster of its own.
    The interval holds `level` of the bootstrap means, and is NaN for fewer than two clusters.
    """
    if matches.empty:
        return NONE
    differences = matches["difference"].to_numpy(dtype=float)
    if cluster:
        require(matches, cluster)
        numbers = matches.groupby(list(cluster), dropna=False).ngroup().to_numpy()
    else:
        numbers = np.arange(len(differences))
    count = int(numbers.max()) + 1
    low = high = float("nan")
    if count > 1:
        sums, sizes = np.bincount(numbers, differences), np.bincount(numbers)
        picked = np.random.default_rng(seed).integers(count, size=(draws, count))
        means = sums[picked].sum(axis=1) / sizes[picked].sum(axis=1)
        low, high = (float(value) for value in np.quantile(means, [(1 - level) / 2, (1 + level) / 2]))
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else float("nan")
    return Contrast(float(differences.mean()), low, high, len(differences), count, spread)


def repeat_noise(table: pd.DataFrame, outcome: str = "loss") -> tuple[float, int]:
    """Standard deviation of one run around its configuration's mean, and how many configurations repeat.

    Pooled over configurations with two or more runs, each run but the first of one adding a degree of freedom.
    """
    require(table, ["config_id", outcome])
    grouped = table[table[outcome].notna()].groupby("config_id")[outcome]
    counts, variances = grouped.count(), grouped.var(ddof=1)
    repeated = counts > 1
    if not repeated.any():
        return float("nan"), 0
    freedom = counts[repeated] - 1
    pooled = float(np.sqrt((variances[repeated] * freedom).sum() / freedom.sum()))
    return pooled, int(repeated.sum())
