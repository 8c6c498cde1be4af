"""Plots as values for `assets/plots.js`: axes, series, and where a law is asked beyond its runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from moewright.laws.variable import Array
from moewright.report.page.page_blocks import spoken

PLOT_ASSETS = ("uPlot.min.css", "uPlot.iife.min.js", "plots.js")
"""What a block with plots needs."""
_DIGITS = 6
"""Of a value in the page: more than a screen has pixels."""


@dataclass(frozen=True)
class PlotAxis:
    """An axis: what it shows and in which unit."""

    label: str
    is_log: bool = False


@dataclass(frozen=True)
class PlotSeries:
    """One value for each x of the plot, NaN where there is none; low and high make a band around it."""

    name: str
    y: Array
    low: Array | None = None
    high: Array | None = None
    points: bool = False
    """Points alone instead of a line."""
    group: int = 0
    """Which colour; series of one group share theirs."""


@dataclass(frozen=True)
class PagePlot:
    """One plot. `x` is shared by its series and rises."""

    x_axis: PlotAxis
    y_axis: PlotAxis
    x: Array
    series: Sequence[PlotSeries]
    inside: tuple[float, float] | None = None
    """The range of x behind a law; beyond it the plot has another shade."""
    labels: Sequence[str] = field(default=())
    """Of single x, for plots of points: what is said when one is pointed at."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "x": _numbers(self.x),
            "xLabel": self.x_axis.label,
            "xLog": self.x_axis.is_log,
            "yLabel": self.y_axis.label,
            "yLog": self.y_axis.is_log,
            "inside": self.inside,
            "labels": list(self.labels),
            "series": [
                {
                    "name": one.name,
                    "y": _numbers(one.y),
                    **({"low": _numbers(one.low)} if one.low is not None else {}),
                    **({"high": _numbers(one.high)} if one.high is not None else {}),
                    "points": one.points,
                    "group": one.group,
                }
                for one in self.series
            ],
        }


def axis_label(name: str, unit: str) -> str:
    """What an axis shows, in words; with its unit where the words do not say it.

    >>> axis_label("train_flops", "FLOPs"), axis_label("hidden_size", "channels")
    ('train flops', 'hidden size, channels')
    """
    words = spoken(name)
    return words if not unit or unit.lower()[:5] in words else f"{words}, {unit}"


def _numbers(values: Array) -> list[float | None]:
    return [float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None for value in values.tolist()]
