"""What the runs show without any law: noise between seeds, learning rates, the total, the size of an expert."""

from itertools import pairwise
from math import sqrt
from typing import NamedTuple

import numpy as np
import pandas as pd

from examples.pages import table
from moewright import laws
from moewright.laws.rate_optimum import student_quantile
from moewright.quantities import format_count
from moewright.runs.contrasts import Contrast, contrast, matched_differences, repeat_noise

LEVEL = 0.9
SHARES = (0.5, 0.25, 0.125)
TUNED_SHARE = 0.25
FACTORS = ["num_layers", "total_ratio", "expert_share", "train_tokens"]


def read(path: str) -> pd.DataFrame:
    """Every run of the sweep, the factors of its design as numbers."""
    from fractions import Fraction

    runs = pd.read_parquet(path)
    runs["expert_share"] = runs["axis_expert_share"].map(lambda text: float(Fraction(str(text))))
    runs["total_ratio"] = runs["axis_total_ratio"].astype(float)
    return runs


def main_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """The finished runs at the tuned rates; the others looked for these rates."""
    return runs[runs["stage"].isin(["main", "tune+main"]) & (runs["state"] == "done")]


def long_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Those of the whole number of tokens."""
    return runs[runs["train_tokens"] == runs["train_tokens"].max()]


class Noise(NamedTuple):
    """What one run's loss varies by between seeds."""

    deviation: float
    """Nats, pooled over all cells with more than one seed."""
    freedom: int

    def half_width(self, runs: int) -> float:
        """Of the 90 % interval of a mean of so many runs, nats."""
        return student_quantile((1 + LEVEL) / 2, self.freedom) * self.deviation / sqrt(runs)


def seed_noise(main: pd.DataFrame, tokens: float) -> Noise:
    """Pooled over the cells of one length of training: short runs vary more."""
    chosen = main[main["train_tokens"] == tokens]
    grouped = chosen.groupby("config_id")["loss"]
    return Noise(repeat_noise(chosen)[0], int((grouped.count() - 1).sum()))


def lengths(runs: pd.DataFrame) -> list[float]:
    """Of training in tokens, the longest first."""
    return sorted(runs["train_tokens"].unique(), reverse=True)


def overview(runs: pd.DataFrame) -> str:
    """What was run."""
    rows = []
    for layers, some in runs.groupby("num_layers"):
        main = main_runs(some)
        deviations = [seed_noise(main, tokens).deviation for tokens in lengths(main)]
        rows.append(
            (
                f"{layers:.0f} x {some['hidden_size'].iloc[0]:.0f}",
                f"{format_count(some['active_params_non_embedding'].min(), 3)}",
                f"{format_count(some['total_params_non_embedding'].min(), 3)} to "
                f"{format_count(some['total_params_non_embedding'].max(), 3)}",
                *_counts(some),
                *(f"{deviation:.3f}" for deviation in deviations),
            )
        )
    pooled = [seed_noise(main_runs(runs), tokens).deviation for tokens in lengths(runs)]
    rows.append(("all", "", "", *_counts(runs), *(f"{deviation:.3f}" for deviation in pooled)))
    seeds = (f"sd of seeds at {format_count(float(tokens), 3)} tokens, nats" for tokens in lengths(runs))
    return table(("layers x width", "active, least", "total", "tuning runs", "main runs", "hours", *seeds), rows)


def _counts(runs: pd.DataFrame) -> tuple[int, int, str]:
    main = main_runs(runs)
    return len(runs) - len(main), len(main), f"{runs['seconds'].sum() / 3600:.1f}"


def rates(runs: pd.DataFrame) -> pd.DataFrame:
    """The best rate of every group, from its tuning runs: rate, low, high, advised (by steplaw), status."""
    trials = runs[(runs["expert_share"] == TUNED_SHARE) & runs["stage"].isin(["tune", "tune+main"])]
    rows = []
    for (layers, ratio, tokens), some in trials.groupby(["num_layers", "total_ratio", "train_tokens"]):
        noise = seed_noise(main_runs(runs), tokens)
        best = laws.best_rate(some["learning_rate"].to_numpy(), some["loss"].to_numpy(), noise.deviation)
        low, high = best.interval or (np.nan, np.nan)
        first = some.iloc[0]
        advised = float(
            laws.get("steplaw").learning_rate(
                total_params=first["total_params_non_embedding"], train_tokens=float(tokens)
            )
        )
        values = (layers, ratio, tokens, first["total_params_non_embedding"], best.rate, low, high, advised)
        rows.append((*values, best.status, len(some)))
    names = ("num_layers", "total_ratio", "train_tokens", "total", "rate", "low", "high", "advised", "status", "tried")
    return pd.DataFrame(rows, columns=pd.Index(names))


def rate_table(runs: pd.DataFrame) -> str:
    """The same for readers."""
    rows = [
        (
            f"{row.num_layers:.0f}",
            f"{row.total_ratio:g}",
            format_count(row.train_tokens, 3),
            f"{row.rate:.2g}",
            "" if np.isnan(row.low) else f"{row.low:.2g} to {row.high:.2g}",
            row.status,
            f"{row.rate / row.advised:.1f}",
        )
        for row in rates(runs).itertuples()
    ]
    return table(("layers", "total/active", "tokens", "best rate", "90 %", "where", "best / steplaw"), rows)


def totals(main: pd.DataFrame) -> str:
    """Mean loss by size and total at the tuned expert size, and what each doubling of the total gives."""
    chosen = main[main["expert_share"] == TUNED_SHARE]
    rows = []
    for (tokens, layers), some in chosen.groupby(["train_tokens", "num_layers"], sort=True):
        noise = seed_noise(main, tokens)
        means = some.groupby("total_ratio")["loss"].agg(["mean", "count"])
        cells = [f"{mean:.3f} ± {noise.half_width(int(count)):.3f}" for mean, count in means.to_numpy()]
        ratios = np.log2(means.index.to_numpy(dtype=float))
        steps = -np.diff(means["mean"].to_numpy()) / np.diff(ratios)
        wide = noise.half_width(int(means["count"].min())) * sqrt(2) / np.diff(ratios)
        gains = [f"{gain:.3f} ± {half:.3f}" for gain, half in zip(steps, wide, strict=True)]
        rows.append((format_count(float(tokens), 3), f"{layers:.0f}", *cells, *gains))
    ratio = sorted(chosen["total_ratio"].unique())
    head = ["tokens", "layers", *(f"total/active {value:g}" for value in ratio)]
    return table([*head, *(f"a doubling, {low:g} to {high:g}" for low, high in pairwise(ratio))], rows)


def sizes(main: pd.DataFrame) -> str:
    """How the loss differs from that of experts of a quarter of the active width, by size and total."""
    chosen = long_runs(main)
    noise = seed_noise(chosen, lengths(chosen)[0])
    means = chosen.groupby(["num_layers", "total_ratio", "expert_share"])["loss"].agg(["mean", "count"])
    rows = []
    for (layers, ratio), some in means.groupby(level=[0, 1]):
        here = some.droplevel([0, 1])
        base = here.loc[TUNED_SHARE]
        cells = []
        for share in SHARES:
            if share == TUNED_SHARE:
                continue
            half = sqrt(
                noise.half_width(int(here.loc[share, "count"])) ** 2 + noise.half_width(int(base["count"])) ** 2
            )
            cells.append(f"{here.loc[share, 'mean'] - base['mean']:+.3f} ± {half:.3f}")
        rows.append((f"{layers:.0f}", f"{ratio:g}", f"{base['mean']:.3f}", *cells))
    pooled = [str(size_contrast(chosen, share)) for share in SHARES if share != TUNED_SHARE]
    rows.append(("all", "all", "", *pooled))
    return table(("layers", "total/active", "loss at 1/4", "1/2 less 1/4", "1/8 less 1/4"), rows)


def size_contrast(main: pd.DataFrame, share: float) -> Contrast:
    """Loss at an expert share less that at the tuned one, matched in all else; cells are resampled together."""
    matches = matched_differences(
        main, "expert_share", TUNED_SHARE, share, same=["num_layers", "total_ratio", "train_tokens", "seed"]
    )
    return contrast(matches, cluster=["num_layers", "total_ratio"])
