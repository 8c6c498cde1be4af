"""The page's figures."""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from examples.small_mixtures import effects
from examples.small_mixtures.fits import rows_for
from moewright.laws import Fit
from moewright.quantities import format_count

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = ("#b5541c", "#1c5fb5", "#2a8f4f")
MARKERS = {0.5: "s", 0.25: "o", 0.125: "^"}
NAMES = {0.5: "1/2", 0.25: "1/4", 0.125: "1/8"}


def draw(runs: pd.DataFrame, curves: pd.DataFrame, fitted: dict[str, Fit], folder: Path) -> None:
    """Write every figure as a small PNG."""
    plt.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 110})
    main = effects.main_runs(runs)
    for name, figure in (
        ("totals", _totals(main)),
        ("sizes", _sizes(main)),
        ("rates", _rates(runs)),
        ("held_out", _held_out(main, fitted)),
        ("curves", _curves(main, curves)),
    ):
        figure.savefig(folder / f"small_mixtures_{name}.png", bbox_inches="tight")
        plt.close(figure)


def _label(main: pd.DataFrame, layers: float) -> str:
    some = main[main["num_layers"] == layers]
    active = format_count(float(some["active_params_non_embedding"].min()), 3)
    return f"{layers:.0f} layers, {active} active"


def _totals(main: pd.DataFrame) -> plt.Figure:
    """Loss over the total at each active size; bars: 90 % intervals of the means."""
    lengths = effects.lengths(main)
    figure, axes = plt.subplots(1, len(lengths), figsize=(8.2, 3.3), sharey=True)
    for panel, tokens in zip(np.atleast_1d(axes), lengths, strict=True):
        noise = effects.seed_noise(main, tokens)
        here = main[(main["train_tokens"] == tokens) & (main["expert_share"] == effects.TUNED_SHARE)]
        for colour, layers in zip(COLOURS, sorted(here["num_layers"].unique()), strict=False):
            some = here[here["num_layers"] == layers].groupby("total_ratio")
            x = some["total_params_non_embedding"].mean()
            half = [noise.half_width(int(count)) for count in some["loss"].count()]
            panel.errorbar(x, some["loss"].mean(), half, color=colour, marker="o", ms=4, capsize=2, lw=1,
                           label=_label(main, layers))  # fmt: skip
        panel.set(
            xscale="log", xlabel="total parameters, no embeddings", title=f"{format_count(float(tokens), 3)} tokens"
        )
    np.atleast_1d(axes)[0].set_ylabel("validation loss, nats per token")
    np.atleast_1d(axes)[0].legend(frameon=False)
    return figure


def _sizes(main: pd.DataFrame) -> plt.Figure:
    """Loss over the expert size at each total, a panel for each active size."""
    here = effects.long_runs(main)
    noise = effects.seed_noise(here, effects.lengths(here)[0])
    sizes = sorted(here["num_layers"].unique())
    figure, axes = plt.subplots(1, len(sizes), figsize=(8.2, 3.2), sharey=True, layout="constrained")
    for panel, layers in zip(np.atleast_1d(axes), sizes, strict=True):
        for colour, ratio in zip(COLOURS, sorted(here["total_ratio"].unique()), strict=False):
            some = here[(here["num_layers"] == layers) & (here["total_ratio"] == ratio)].groupby("expert_share")["loss"]
            half = [noise.half_width(int(count)) for count in some.count()]
            panel.errorbar(some.mean().index, some.mean(), half, color=colour, marker="o", ms=4, capsize=2, lw=1,
                           label=f"total/active {ratio:g}")  # fmt: skip
        panel.set(xscale="log", xlabel="expert size / active width", title=_label(main, layers))
        panel.set_xticks(list(NAMES), list(NAMES.values()))
        panel.minorticks_off()
    np.atleast_1d(axes)[0].set_ylabel("validation loss, nats per token")
    np.atleast_1d(axes)[0].legend(frameon=False)
    return figure


def _rates(runs: pd.DataFrame) -> plt.Figure:
    """The tuning runs: loss over learning rate; crosses: the parabola's vertex with its interval."""
    found = effects.rates(runs)
    trials = effects.long_runs(runs)
    trials = trials[(trials["expert_share"] == effects.TUNED_SHARE) & trials["stage"].isin(["tune", "tune+main"])]
    sizes = sorted(trials["num_layers"].unique())
    figure, axes = plt.subplots(1, len(sizes), figsize=(8.2, 3.2), sharey=True, layout="constrained")
    for panel, layers in zip(np.atleast_1d(axes), sizes, strict=True):
        for colour, ratio in zip(COLOURS, sorted(trials["total_ratio"].unique()), strict=False):
            some = trials[(trials["num_layers"] == layers) & (trials["total_ratio"] == ratio)]
            some = some.sort_values("learning_rate")
            panel.plot(some["learning_rate"], some["loss"], "-", color=colour, marker="o", ms=3, lw=0.8,
                       label=f"total/active {ratio:g}")  # fmt: skip
            row = found[
                (found["num_layers"] == layers)
                & (found["total_ratio"] == ratio)
                & (found["train_tokens"] == trials["train_tokens"].max())
            ].iloc[0]
            height = some["loss"].min() - 0.02
            panel.plot(row["rate"], height, "x", color=colour, ms=6)
            panel.plot([row["low"], row["high"]], [height, height], "-", color=colour, lw=2, alpha=0.5)
        tested = sorted(trials["learning_rate"].unique())
        panel.set(xscale="log", xlabel="peak learning rate", title=_label(runs, layers))
        panel.set_xlim(tested[0] / 1.3, tested[-1] * 1.3)  # an interval may reach far beyond
        panel.set_xticks(tested, [f"{rate:.2g}" for rate in tested])
        panel.minorticks_off()
    np.atleast_1d(axes)[0].set_ylabel("validation loss, nats per token")
    np.atleast_1d(axes)[0].legend(frameon=False)
    return figure


def _held_out(main: pd.DataFrame, fitted: dict[str, Fit]) -> plt.Figure:
    """Predicted against observed: fitted sizes hollow, the held-out largest size filled with 90 % intervals."""
    chosen = {name: found for name, found in fitted.items() if found.law.record.holdout is not None}
    figure, axes = plt.subplots(1, len(chosen), figsize=(2.75 * len(chosen), 2.9))
    largest = main["num_layers"].max()
    for panel, (name, found) in zip(np.atleast_1d(axes), chosen.items(), strict=True):
        rows = rows_for(name, main)
        seen = rows[rows["num_layers"] < largest]
        unseen = rows[rows["num_layers"] == largest]
        panel.plot(seen["loss"], found.law.predict(seen), "o", ms=3, mfc="none", color="0.5", label="fitted")
        interval = found.law.interval(unseen, effects.LEVEL)
        middle = found.law.predict(unseen)
        reach = np.abs(np.array([middle - interval.low, interval.high - middle]))
        panel.errorbar(unseen["loss"], middle, reach, fmt="o", ms=3, lw=0.6, color=COLOURS[1], label="held out")
        ends = [rows["loss"].min(), rows["loss"].max()]
        panel.plot(ends, ends, "-", color="0.7", lw=0.8)
        panel.set(xlabel="observed, nats", title=name)
    np.atleast_1d(axes)[0].set_ylabel("predicted, nats")
    np.atleast_1d(axes)[0].legend(frameon=False)
    return figure


def _curves(main: pd.DataFrame, curves: pd.DataFrame) -> plt.Figure:
    """Training losses of the long runs of the tuned expert size, each smoothed over five logged steps."""
    here = effects.long_runs(main)
    here = here[here["expert_share"] == effects.TUNED_SHARE]
    figure, panel = plt.subplots(figsize=(6.0, 3.2))
    styles = dict(zip(sorted(here["total_ratio"].unique()), (":", "--", "-"), strict=False))
    for colour, layers in zip(COLOURS, sorted(here["num_layers"].unique()), strict=False):
        for row in here[here["num_layers"] == layers].itertuples():
            steps = curves[(curves["run_id"] == row.run_id) & (curves["kind"] == "train")]
            smooth = steps["loss"].rolling(5, min_periods=1).mean()
            label = _label(main, layers) if row.total_ratio == max(styles) and row.seed == 0 else None
            panel.plot(steps["tokens"] / 1e3, smooth, styles[row.total_ratio], color=colour, lw=0.8, label=label)
    panel.set(xlabel="thousand tokens", ylabel="training loss, nats per token")
    panel.set_ylim(top=6.6)
    panel.legend(frameon=False, title="total/active 2 dotted, 8 dashed, 32 whole")
    return figure
