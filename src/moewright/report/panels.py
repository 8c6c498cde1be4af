"""Small plots as data, drawn as PNG by matplotlib and as a page by plotly, both offline."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moewright.files import write_text
from moewright.laws.variable import Array

_COLUMNS = 3
# Okabe and Ito's blue and vermillion, apart for colour-blind readers too.
_POINTS, _LINE, _BAND = "#0072B2", "#D55E00", "rgba(213,94,0,0.2)"


@dataclass(frozen=True)
class Panel:
    """One plot: points, a line and a band around it, each optional; arrays of one length each."""

    title: str
    x_label: str
    y_label: str
    log_x: bool = False
    points: tuple[Array, Array] | None = None
    line: tuple[Array, Array] | None = None
    band: tuple[Array, Array, Array] | None = None
    """x, low, high."""


def write_png(path: Path, title: str, panels: Sequence[Panel]) -> Path:
    """Draw panels side by side, three in a row; the file appears complete or not at all."""
    from matplotlib.figure import Figure  # no pyplot: it keeps global state and may look for a screen

    rows, columns = _grid(panels)
    width = max(4.2 * columns, 0.1 * len(title))  # inches; a title's letter takes less than a tenth
    figure = Figure(figsize=(width, 3.4 * rows + 0.4), layout="constrained")
    figure.suptitle(title)
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, number + 1)
        if panel.points is not None:
            axes.scatter(*panel.points, s=10, color=_POINTS, alpha=0.6, linewidths=0)
        if panel.band is not None:
            axes.fill_between(*panel.band, color=_LINE, alpha=0.2, linewidth=0)
        if panel.line is not None:
            axes.plot(*panel.line, color=_LINE, linewidth=1.5)
        if panel.log_x:
            axes.set_xscale("log")
        axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    figure.savefig(temporary, dpi=120, format="png")
    temporary.replace(path)
    return path


def write_html(path: Path, figures: Mapping[str, Sequence[Panel]]) -> Path:
    """One self-contained page with a figure per title, plotly's script inside it."""
    parts = []
    for number, (title, panels) in enumerate(figures.items()):
        figure = _plotly(title, panels)
        parts.append(figure.to_html(full_html=False, include_plotlyjs=number == 0, div_id=f"figure-{number}"))
    body = "\n".join(parts)
    write_text(path, f'<!doctype html>\n<html><head><meta charset="utf-8"></head><body>\n{body}\n</body></html>\n')
    return path


def _plotly(title: str, panels: Sequence[Panel]):  # type: ignore[no-untyped-def]  # plotly's figure, imported late
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    rows, columns = _grid(panels)
    figure = make_subplots(rows=rows, cols=columns, subplot_titles=[panel.title for panel in panels])
    for number, panel in enumerate(panels):
        place = {"row": number // columns + 1, "col": number % columns + 1}
        if panel.points is not None:
            x, y = panel.points
            figure.add_trace(Scatter(x=x, y=y, mode="markers", marker={"color": _POINTS, "size": 5}), **place)
        if panel.band is not None:
            x, low, high = panel.band
            outline = {"x": np.concatenate([x, x[::-1]]), "y": np.concatenate([high, low[::-1]])}
            figure.add_trace(
                Scatter(**outline, fill="toself", fillcolor=_BAND, line={"width": 0}, mode="lines"), **place
            )
        if panel.line is not None:
            x, y = panel.line
            figure.add_trace(Scatter(x=x, y=y, mode="lines", line={"color": _LINE}), **place)
        figure.update_xaxes(title=panel.x_label, type="log" if panel.log_x else "linear", **place)
        figure.update_yaxes(title=panel.y_label, **place)
    return figure.update_layout(title=title, showlegend=False, height=380 * rows + 80, template="plotly_white")


def _grid(panels: Sequence[Panel]) -> tuple[int, int]:
    columns = min(_COLUMNS, len(panels))
    return math.ceil(len(panels) / columns), columns
