"""What a fit looks like: predicted against observed, residuals by variable, the law along each variable."""

from pathlib import Path

import numpy as np

from moewright.laws.fitting.fit_result import LEVEL, Fit
from moewright.laws.fitting.observations import read_columns, read_loss
from moewright.laws.marginals import MarginalCurve, marginal_curves, spans_widely
from moewright.laws.variable import Array
from moewright.report.panels import Panel, write_html, write_png


def fit_panels(fit: Fit) -> dict[str, list[Panel]]:
    """The panels by figure title; rows kept from the fit are among the points."""
    law = fit.law
    columns = read_columns(fit.table, law.inputs, {})
    loss = read_loss(fit.table, law.record.settings.loss)
    predicted = law.predict(fit.table)
    ends = np.array([min(loss.min(), predicted.min()), max(loss.max(), predicted.max())])
    residuals = 100 * (np.log(predicted) - np.log(loss))
    median = {name: float(np.median(values)) for name, values in columns.items()}
    varying = {name: values for name, values in columns.items() if np.ptp(values) > 0}
    return {
        f"{law.name}: predicted against observed": [
            Panel("", "observed loss, nats", "predicted loss, nats", points=(loss, predicted), line=(ends, ends))
        ],
        f"{law.name}: residuals by variable": [
            Panel(
                name,
                name,
                "predicted - observed, %",
                log_x=_is_wide(values),
                points=(values, residuals),
                line=(np.array([values.min(), values.max()]), np.zeros(2)),
            )
            for name, values in varying.items()
        ],
        f"{law.name}: along each variable, the others at their medians": [
            _marginal(fit, curve, median) for curve in marginal_curves(law, median).values()
        ],
    }


def write_figures(fit: Fit, folder: Path) -> list[Path]:
    """Three PNG files and one HTML page in a folder; returns their paths."""
    figures = fit_panels(fit)
    names = ("predicted", "residuals", "marginal")
    pictures = [
        write_png(folder / f"{name}.png", title, panels)
        for name, (title, panels) in zip(names, figures.items(), strict=True)
    ]
    return [*pictures, write_html(folder / "fit.html", figures)]


def _marginal(fit: Fit, curve: MarginalCurve, median: dict[str, float]) -> Panel:
    band = None
    if len(fit.law.record.draws):
        low, high = fit.law.loss_interval(LEVEL, **{**median, curve.variable: curve.values})
        band = (curve.values, low, high)
    line = (curve.values, curve.loss)
    return Panel(curve.variable, curve.variable, "loss, nats", log_x=curve.log_steps, line=line, band=band)


def _is_wide(values: Array) -> bool:
    return spans_widely(float(values.min()), float(values.max()))
