"""The page's figures."""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from examples.public_tables import effects, slicing
from moewright import laws

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"10M": "#b5541c", "20M": "#1c5fb5"}
WIDTHS = {0.5: "s", 0.25: "o", 0.125: "^", 0.0625: "v", 0.015625: "x", 1.0: "*"}


def draw(table: pd.DataFrame, law: laws.FittedLaw, folder: Path) -> None:
    """Write every figure as a small PNG."""
    plt.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 110})
    for name, figure in (
        ("experts", _experts(table, law)),
        ("settings", _settings(table)),
        ("rates", _rates(table, law)),
        ("unseen", _unseen(table)),
    ):
        figure.savefig(folder / f"slicing_{name}.png", bbox_inches="tight")
        plt.close(figure)


def _experts(table: pd.DataFrame, law: laws.FittedLaw) -> plt.Figure:
    """Loss over total width at the usual rate: points by expert size, curves of the law."""
    chosen = table[(table["learning_rate"] == 4e-4) & (table["drops_tokens"] == 0) & (table["num_experts"] > 1)]
    figure, axes = plt.subplots(1, 2, figsize=(8.2, 3.4))
    for panel, size in zip(axes, ("10M", "20M"), strict=True):
        here = chosen[chosen["model_size"] == size]
        for shared, face in ((False, COLOURS[size]), (True, "white")):
            for multiplier, marker in WIDTHS.items():
                some = here[
                    (here["shared_multiplier"] > 0).eq(shared)
                    & (here["num_groups"] == 1)
                    & (here["expert_multiplier"] == multiplier)
                ]
                panel.scatter(
                    some["total_width"] - some["shared_multiplier"],
                    some["loss"],
                    marker=marker,
                    s=22,
                    c=COLOURS[size] if marker == "x" else face,
                    edgecolors=None if marker == "x" else COLOURS[size],
                    linewidths=0.8,
                    label=f"multiplier {multiplier:g}" if not shared and len(some) else None,
                )
        some = here[(here["num_groups"] > 1) & (here["shared_multiplier"] == 0)]
        panel.scatter(some["total_width"], some["loss"], marker="D", s=16, c="0.55", label="unlike experts")
        for shared, style in ((0.0, "-"), (0.5, "--")):
            pattern = here[
                (here["expert_multiplier"] == 0.25) & here["shared_multiplier"].eq(shared) & (here["num_groups"] == 1)
            ].iloc[[0]]
            curve = pd.concat([pattern] * 40, ignore_index=True)
            width = np.geomspace(2, 64, 40)
            curve["total_width"] = width + shared
            panel.plot(width, law.predict(curve), style, c="0.2", lw=1, label="law, shared 1/2" if shared else "law")
        panel.set(
            xscale="log",
            xlabel="routed width / dense width, T",
            title=f"{size}: d = {here['hidden_size'].iloc[0]:.0f}",
            xticks=[2, 4, 8, 16, 32, 64],
            xticklabels=[2, 4, 8, 16, 32, 64],
        )
        panel.minorticks_off()
    axes[0].set_ylabel("training loss, nats")
    axes[1].legend(
        *axes[0].get_legend_handles_labels(),
        fontsize=6.5,
        frameon=False,
        title="filled: no shared expert; open: shared",
        title_fontsize=6.5,
        loc="upper left",
        bbox_to_anchor=(1, 1),
    )
    return figure


def _settings(table: pd.DataFrame) -> plt.Figure:
    """Effects of the settings with intervals, in training and in validation loss."""
    found = list(effects.setting_contrasts(table, 4e-4))
    figure, axes = plt.subplots(1, 2, figsize=(8.2, 3.0), sharey=True)
    for panel, outcome, title in zip(axes, (0, 1), ("training loss", "c4 validation loss"), strict=True):
        for offset, size in ((0.15, 0), (-0.15, 2)):
            for place, (_, cells) in enumerate(reversed(found)):
                cell = cells[size + outcome]
                if cell.matches:
                    colour = COLOURS["10M" if size == 0 else "20M"]
                    panel.plot([cell.low, cell.high], [place + offset] * 2, c=colour, lw=1.4)
                    panel.plot(cell.mean, place + offset, "o", c=colour, ms=4)
        panel.axvline(0, c="0.6", lw=0.8)
        panel.set(
            title=title,
            xlabel="change of loss, nats",
            yticks=range(len(found)),
            yticklabels=[label for label, _ in reversed(found)],
        )
    for size, colour in COLOURS.items():
        axes[1].plot([], [], "o-", c=colour, ms=4, label=size)
    axes[1].legend(frameon=False)
    return figure


def _rates(table: pd.DataFrame, law: laws.FittedLaw) -> plt.Figure:
    """Loss over the mean rate for one model seen at every rate."""
    figure, panel = plt.subplots(figsize=(4.2, 3.2))
    for size, colour in COLOURS.items():
        some = table[
            (table["model_size"] == size)
            & (table["top_k"] > 1)
            & table["expert_ratio"].between(3.9, 8.1)
            & (table["shared_multiplier"] == 0)
        ]
        for schedule, marker in (("CosWithWarmup", "o"), ("WSD", "x")):
            here = some[some["schedule"] == schedule]
            panel.scatter(
                here["learning_rate_mean"],
                here["loss"],
                marker=marker,
                c=colour,
                s=14,
                lw=0.9,
                label=f"{size} {'cosine' if marker == 'o' else 'WSD'}",
            )
        pattern = some[(some["expert_multiplier"] == 0.25) & (some["num_groups"] == 1)].iloc[[0]]
        curve = pd.concat([pattern] * 60, ignore_index=True)
        curve["learning_rate_mean"] = np.geomspace(8e-5, 1.2e-2, 60)
        panel.plot(curve["learning_rate_mean"], law.predict(curve), c=colour, lw=1)
    panel.set(
        xscale="log",
        xlabel="mean learning rate over the run",
        ylabel="training loss, nats",
        title="T 4 to 8, no shared expert",
    )
    panel.legend(frameon=False, fontsize=6.5)
    return figure


def _unseen(table: pd.DataFrame) -> plt.Figure:
    """Runs predicted by laws that have not seen their model, or their size."""
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.5))
    for panel, predicted, title in zip(
        axes,
        (slicing.without_each_model(table), slicing.without_each_size(table)),
        ("model unseen", "size unseen"),
        strict=True,
    ):
        for size, colour in COLOURS.items():
            here = (table["model_size"] == size).to_numpy()
            panel.scatter(predicted[here], table["loss"][here], s=7, c=colour, alpha=0.6, lw=0, label=size)
        ends = [table["loss"].min() - 0.05, table["loss"].max() + 0.05]
        panel.plot(ends, ends, c="0.4", lw=0.8)
        error = np.sqrt(np.mean((predicted - table["loss"]) ** 2))
        panel.set(title=f"{title}: RMSE {error:.3f}", xlabel="predicted, nats", ylabel="observed, nats")
    axes[0].legend(frameon=False)
    return figure
