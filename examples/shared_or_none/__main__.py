"""Shared or none, at fixed total and active width and equal topology: the verdict; docs/shared_or_none.md.

    moewright sweep examples/shared_or_none/sweep.yaml --out shared --jobs 1
    moewright runs shared --out examples/shared_or_none/runs.csv
    python -m examples.shared_or_none [--docs docs] [--without-replay]

The first two lines make the run table anew; without them the committed one is read. The last writes the tables between
the markers of the page and the figure beside it, and replays `moewright next` on the finished grid.
"""

import argparse
from math import sqrt
from pathlib import Path

import pandas as pd

from examples.pages import table, write
from examples.shared_or_none.effects import LEVEL, RATIOS, SHARES, Effect, effect, main_runs, read, seeds_for
from examples.shared_or_none.replaying import replays
from moewright import laws
from moewright.runs.contrasts import contrast, matched_differences, repeat_noise

FINE = 0.01
"""Nats that a difference of papers is about."""
EXPECTED = {
    "slicing2026": {16: (0.040, 0.017, 0.073), 4: (-0.014, -0.035, 0.006)},
    "zhao2025": {16: (-0.026, -0.039, -0.013), 4: (-0.040, -0.060, -0.020)},
}
"""Of preregistered.md: the loss with a shared expert less without, nats, and its interval."""


def verdict() -> str:
    """The primary one, in a line."""
    found = effect(main_runs(read()), RATIOS[0])
    return f"64 experts, {len(found.differences)} seeds: {found.verdict}, {found} nats"


def main() -> None:
    """Judge, replay, and write the page's tables and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--without-replay", action="store_true", help="all but the replays of next")
    arguments = parser.parse_args()
    found = read()
    chosen = main_runs(found)
    effects = {ratio: effect(chosen, ratio) for ratio in RATIOS}
    tables = {"verdicts": verdicts(chosen, effects), "cells": cells(found), "sources": sources(effects)}
    if not arguments.without_replay:
        tables["replay"] = replays(chosen, effects[RATIOS[0]])
    write(arguments.docs / "shared_or_none.md", tables)
    draw(chosen, effects, arguments.docs / "figures" / "shared_or_none.png")


def verdicts(chosen: pd.DataFrame, effects: dict[int, Effect]) -> str:
    """One row for each total, and what the two differ by."""
    rows = []
    for ratio, found in effects.items():
        matches = matched_differences(chosen[chosen["ratio"] == ratio], "share", *SHARES, same=["seed"])
        resampled = contrast(matches, level=LEVEL)
        noise, _ = repeat_noise(chosen[chosen["ratio"] == ratio])
        rows.append(
            (
                f"{4 * ratio}",
                len(found.differences),
                found,
                f"[{resampled.low:+.4f}, {resampled.high:+.4f}]",
                f"{found.deviation:.4f}",
                f"{sqrt(2) * noise:.4f}",
                f"{seeds_for(FINE, found.deviation)}",
                found.verdict,
            )
        )
    head = ("experts", "seeds", "shared less none, 90 %", "by bootstrap", "sd of a difference", "sd if not paired",
            "seeds for +-.01", "verdict")  # fmt: skip
    first, second = (effects[ratio].differences for ratio in RATIOS)
    both = {f"{4 * RATIOS[0]} less {4 * RATIOS[1]}": first - second, "mean of both, not planned": (first + second) / 2}
    for name, differences in both.items():
        each = Effect(differences)
        seeds = f"{seeds_for(FINE, each.deviation)}"
        rows.append((name, len(differences), each, "", f"{each.deviation:.4f}", "", seeds, ""))
    return table(head, rows)


def cells(found: pd.DataFrame) -> str:
    """What each cell is, its rate, and its losses."""
    rows = []
    for ratio in RATIOS:
        for share in SHARES:
            some = found[(found["ratio"] == ratio) & (found["share"] == share)]
            tried, made = some[some["stage"].isin(["tune", "tune+main"])], main_runs(some)
            best = laws.best_rate(tried["learning_rate"].to_numpy(), tried["loss"].to_numpy(), repeat_noise(made)[0])
            first = made.iloc[0]
            shared = " + 1 shared" if share else ""
            rows.append(
                (
                    f"{first['num_experts']:.0f}{shared}",
                    f"{first['top_k']:.0f}{shared}",
                    f"{first['total_params_non_embedding']:,.0f}",
                    f"{first['active_params_non_embedding']:,.0f}",
                    ", ".join(f"{rate:g}: {loss:.3f}" for rate, loss in tried_rates(tried)),
                    f"{first['learning_rate']:.4g}",
                    best.status,
                    f"{made['loss'].mean():.4f}",
                    f"{made['loss'].std(ddof=1):.4f}",
                    f"{1 + made['max_violation'].mean():.1f}",
                )
            )
    head = ("experts", "for a token", "parameters", "active", "tuning: rate: loss", "rate", "best lies",
            "loss, mean", "sd of seeds", "busiest expert over its even share")  # fmt: skip
    return table(head, rows)


def tried_rates(tried: pd.DataFrame) -> list[tuple[float, float]]:
    """Rates and losses of a tuning stage, the lowest rate first."""
    ordered = tried.sort_values("learning_rate")
    return list(zip(ordered["learning_rate"], ordered["loss"], strict=True))


def sources(effects: dict[int, Effect]) -> str:
    """What was expected beside what was found; refuted where the intervals do not meet."""
    rows = []
    for name, expected in EXPECTED.items():
        for ratio, (mean, low, high) in expected.items():
            found_low, found_high = effects[ratio].interval
            meets = found_low <= high and low <= found_high
            rows.append((name, f"{4 * ratio}", f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]", effects[ratio],
                         "not refuted" if meets else "refuted"))  # fmt: skip
    return table(("source", "experts", "expected", "found", ""), rows)


def draw(chosen: pd.DataFrame, effects: dict[int, Effect], file: Path) -> None:
    """Pairs of one seed, and the differences beside what was expected."""
    import matplotlib.pyplot as plt

    figure, (pairs, means) = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
    for place, ratio in enumerate(reversed(RATIOS)):
        for _, some in chosen[chosen["ratio"] == ratio].groupby("seed"):
            ordered = some.sort_values("share")
            x = 2 * place + ordered["share"] / SHARES[1]
            pairs.plot(x, ordered["loss"], marker="o", markersize=3, color="#888888", linewidth=0.8)
        found, y = effects[ratio], -float(place)
        means.errorbar(found.mean, y, xerr=found.half_width, fmt="o", color="#1f6feb", capsize=3,
                       label=None if place else "these runs")  # fmt: skip
        for (name, expected), colour, below in zip(EXPECTED.items(), ("#d29922", "#888888"), (0.2, 0.4), strict=True):
            mean, low, high = expected[ratio]
            means.errorbar(mean, y - below, xerr=[[mean - low], [high - mean]], fmt="s", markersize=4, color=colour,
                           capsize=2, label=None if place else name)  # fmt: skip
    pairs.set(ylabel="validation loss, nats", xticks=range(4), xticklabels=["16", "15 + 1", "64", "63 + 1"])
    pairs.set_xlabel("experts (+ shared); lines join a seed")
    means.axvline(0, color="black", linewidth=0.8)
    means.set(
        xlabel="shared less none, nats",
        xticks=[-0.05, 0, 0.05],
        yticks=[0, -1],
        yticklabels=["16 experts", "64 experts"],
    )
    means.legend(fontsize=8)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
