"""What a fit looks like: predicted against observed, residuals by variable, the law along each variable."""

from pathlib import Path

import numpy as np

from moewright.fitting import LEVEL, Fit
from moewright.laws.fitting.rows import read_columns, read_loss
from moewright.laws.variable import Array
from moewright.report.panels import Panel, write_html, write_png

_CURVE_POINTS = 80
_LOG_RATIO = 8.0  # variables that span more than this are drawn on a logarithmic axis


def fit_panels(fit: Fit) -> dict[str, list[Panel]]:
    """The panels by figure title; rows kept from the fit are among the points."""
    law = fit.law
    inputs = [variable for variable in law.inputs if variable.is_input]
    columns = read_columns(fit.table, inputs, {})
    loss = read_loss(fit.table, law.record.settings["loss"])
    predicted = law.predict(fit.table)
    ends = np.array([min(loss.min(), predicted.min()), max(loss.max(), predicted.max())])
    residuals = 100 * (np.log(predicted) - np.log(loss))
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
            _marginal(fit, columns, name) for name in varying
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


def _marginal(fit: Fit, columns: dict[str, Array], name: str) -> Panel:
    values = columns[name]
    space = np.geomspace if _is_wide(values) else np.linspace
    along = space(values.min(), values.max(), _CURVE_POINTS)
    point = {other: float(np.median(others)) for other, others in columns.items()}
    curve = np.asarray(fit.law.loss(**{**point, name: along}))
    band = None
    if len(fit.law.record.draws):
        low, high = fit.law.loss_interval(LEVEL, **{**point, name: along})
        band = (along, low, high)
    return Panel(name, name, "loss, nats", log_x=_is_wide(values), line=(along, curve), band=band)


def _is_wide(values: Array) -> bool:
    return bool(values.min() > 0 and values.max() / values.min() > _LOG_RATIO)
