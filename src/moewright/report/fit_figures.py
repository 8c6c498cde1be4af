"""What a fit looks like: predicted against observed, residuals by variable, the law along each variable."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moewright.foreign_text import LONGEST_LABEL, to_figure
from moewright.laws.fitting.fit_result import Fit
from moewright.laws.fitting.observations import read_columns, read_loss
from moewright.laws.fitting.uncertainty import LEVEL
from moewright.laws.marginals import MarginalCurve, marginal_curves, spans_widely
from moewright.laws.variable import Array
from moewright.report.figure_page import COLOURS, Drawing, drawing_style, write_page, write_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS_IN_A_ROW = 3
_LETTERS = (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3))
_POINTS, _LINE = COLOURS[0], COLOURS[1]


@dataclass(frozen=True)
class Panel:
    """One plot: points, a line and a band around it, each optional; arrays of one length each."""

    x_label: str
    y_label: str
    log_x: bool = False
    points: tuple[Array, Array] | None = None
    line: tuple[Array, Array] | None = None
    band: tuple[Array, Array, Array] | None = None
    """x, low, high."""


def write_fit_figures(fit: Fit, folder: Path) -> list[Path]:
    """predicted.png, residuals.png, marginal.png and the three as fit.html in a folder; returns their paths."""
    law, record = fit.law, fit.law.record
    facts = [
        f"{record.num_rows:,} rows of {record.num_clusters:,} configurations; RMSE {record.rmse:.4f} nats, "
        f"{record.rmse_log:.2%}; {record.status}",
        *([law.form.formula] if law.form is not None else []),
    ]
    with drawing_style():
        drawings = [
            Drawing(name, title, caption, _draw(title, panels))
            for name, (title, (caption, panels)) in zip(
                ("predicted", "residuals", "marginal"), _panels(fit).items(), strict=True
            )
        ]
        pictures = [write_png(folder, drawing) for drawing in drawings]
        return [*pictures, write_page(folder / "fit.html", law.title, facts, drawings)]


def _panels(fit: Fit) -> dict[str, tuple[str, list[Panel]]]:
    """By title of the figure: its caption and its panels. Rows kept from the fit are among the points."""
    law = fit.law
    columns = read_columns(fit.table, law.inputs, {})
    loss = read_loss(fit.table, law.record.settings.loss)
    predicted = law.predict(fit.table)
    ends = np.array([min(loss.min(), predicted.min()), max(loss.max(), predicted.max())])
    residuals = 100 * (np.log(predicted) - np.log(loss))
    median = {name: float(np.median(values)) for name, values in columns.items()}
    varying = {name: values for name, values in columns.items() if np.ptp(values) > 0}
    bands = f"; bands are {LEVEL:.0%} intervals of the bootstrap" if len(law.record.draws) else ""
    return {
        f"{law.name}: predicted against observed": (
            "Every row, those kept from the fit included. On the line the law is right.",
            [Panel("observed loss, nats", "predicted loss, nats", points=(loss, predicted), line=(ends, ends))],
        ),
        f"{law.name}: residuals by variable": (
            "Above the line the law expects too much. A trend says that the form misses something of that variable.",
            [
                Panel(
                    name,
                    "predicted - observed, %",
                    log_x=_is_wide(values),
                    points=(values, residuals),
                    line=(np.array([values.min(), values.max()]), np.zeros(2)),
                )
                for name, values in varying.items()
            ],
        ),
        f"{law.name}: along each variable, the others at their medians": (
            f"The law alone, without points: rows differ in the other variables too{bands}.",
            [_marginal(fit, curve, median) for curve in marginal_curves(law, median).values()],
        ),
    }


def _marginal(fit: Fit, curve: MarginalCurve, median: dict[str, float]) -> Panel:
    band = None
    if len(fit.law.record.draws):
        low, high = fit.law.loss_interval(LEVEL, **{**median, curve.variable: curve.values})
        band = (curve.values, low, high)
    line = (curve.values, curve.loss)
    return Panel(curve.variable, "loss, nats", log_x=curve.log_steps, line=line, band=band)


def _is_wide(values: Array) -> bool:
    return spans_widely(float(values.min()), float(values.max()))


def _draw(title: str, panels: Sequence[Panel]) -> "Figure":
    """Panels side by side, three in a row."""
    from matplotlib.figure import Figure  # no pyplot: it keeps global state and may look for a screen
    from matplotlib.ticker import LogLocator, NullFormatter

    columns = min(_PANELS_IN_A_ROW, len(panels))
    rows = math.ceil(len(panels) / columns)
    width = max(4.2 * columns, 0.1 * min(len(title), LONGEST_LABEL))  # inches; a title's letter takes less than a tenth
    figure = Figure(figsize=(width, 3.4 * rows + 0.4), layout="constrained")
    figure.suptitle(to_figure(title))
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, number + 1)
        if panel.points is not None:
            axes.scatter(*panel.points, s=10, color=_POINTS, alpha=0.6, linewidths=0)
        if panel.band is not None:
            axes.fill_between(*panel.band, color=_LINE, alpha=0.2, linewidth=0)
        if panel.line is not None:
            axes.plot(*panel.line, color=_LINE, linewidth=1.5)
        axes.set(xlabel=to_figure(panel.x_label), ylabel=to_figure(panel.y_label))
        if panel.log_x:
            axes.set_xscale("log")
            low, high = axes.dataLim.intervalx
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(_tick)
    return figure


def _tick(value: float, _: float) -> str:
    """A number on an axis: 200M, 0.05."""
    letter, size = next(((letter, size) for letter, size in _LETTERS if value >= size), ("", 1.0))
    return f"{value / size:g}{letter}"
