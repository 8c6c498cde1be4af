"""Fitted laws: how well each fits, what its coefficients are, and the loss along each variable with its interval."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from moewright.foreign_text import to_html
from moewright.laws.fitting.fitted_law import FittedLaw
from moewright.laws.fitting.uncertainty import LEVEL
from moewright.laws.marginals import MarginalCurve, marginal_curves, spans_widely
from moewright.quantities import counted
from moewright.report.page.page_blocks import (
    Origin,
    PageBlock,
    PageColumn,
    PageGrid,
    PageNumber,
    facts_html,
    facts_markdown,
    grid_html,
    grid_markdown,
    list_html,
    list_markdown,
    number_text,
    paragraphs_html,
    paragraphs_markdown,
    plot_html,
    spoken,
)
from moewright.report.page.page_plots import PLOT_ASSETS, PagePlot, PlotAxis, PlotSeries, axis_label
from moewright.report.page.page_sources import PageSource

BEYOND = 10.0
"""How far beyond its runs a law is drawn, as a factor, along what people scale."""
SCALED = ("total_params", "active_params", "train_tokens", "train_flops")
UNIT_OF_LOSS = "nats per token"


def law_blocks(sources: Sequence[PageSource]) -> Iterator[PageBlock]:
    """A block for each law."""
    for source in sources:
        yield _block(source.value, f"law-{source.number}")


def _block(law: FittedLaw, name: str) -> PageBlock:
    record = law.record
    fitted = Origin("measured", f"the fit of {counted(record.num_rows, 'run')}", "", "fitting.md")
    facts = [
        ("runs", PageNumber(f"{record.num_rows:,}", record.num_rows, fitted)),
        ("configurations", PageNumber(f"{record.num_clusters:,}", record.num_clusters, fitted)),
        ("error of the fit", PageNumber(f"{record.rmse:.4f} nats", record.rmse, fitted)),
        ("status", PageNumber(record.status.replace("_", " "), origin=fitted)),
    ]
    if record.holdout is not None:
        kept = Origin("measured", f"{counted(round(record.holdout.rows), 'run')} kept from the fit", "", "fitting.md")
        facts.append(("error on runs kept from it", PageNumber(f"{record.holdout.rmse:.4f} nats", origin=kept)))
    plots = _plots(law)
    drawn = Origin(
        "modelled", f"{law.name}, fitted to {counted(record.num_rows, 'run')}", law.form.formula, "fitting.md"
    )
    pictures = "".join(
        plot_html(f"{name}-{variable}", _caption(law, variable), _description(law, plot), drawn)
        for variable, plot in plots.items()
    )
    coefficients, ranges = _coefficients(law, name), _ranges(law, name)
    formula = law.form.formula
    said = f"{law.title}; {law.source}"
    return PageBlock(
        chapter="certainty",
        name=name,
        title=f"The law {law.name}",
        html=f'{facts_html(facts)}<p class="formula">{to_html(formula)}</p>{paragraphs_html(said)}'
        f'<div class="plots">{pictures}</div>{grid_html(coefficients)}{grid_html(ranges)}{list_html(record.messages)}',
        markdown=f"{paragraphs_markdown(said, formula)}\n{facts_markdown(facts)}\n{grid_markdown(coefficients)}\n"
        f"{grid_markdown(ranges)}\n{list_markdown(record.messages)}",
        data={f"{name}-{variable}": plot.to_dict() for variable, plot in plots.items()},
        assets=PLOT_ASSETS,
    )


def _middle(low: float, high: float) -> float:
    """The middle of a range: geometric where it spans widely."""
    return float(np.sqrt(low * high)) if spans_widely(low, high) else (low + high) / 2


def _plots(law: FittedLaw) -> dict[str, PagePlot]:
    """The loss along each variable, the others in the middle of their ranges."""
    ranges = law.record.ranges
    at = {name: _middle(*ends) for name, ends in ranges.items()}
    wide = {
        name: (low, high * BEYOND if name in SCALED and spans_widely(low, high) else high)
        for name, (low, high) in ranges.items()
    }
    return {name: _plot(law, curve, at) for name, curve in marginal_curves(law, at, wide).items()}


def _plot(law: FittedLaw, curve: MarginalCurve, at: dict[str, float]) -> PagePlot:
    low: Any = None
    high: Any = None
    if len(law.record.draws):
        values = {**at, curve.variable: curve.values}
        low, high = law.loss_interval(LEVEL, **values)
        supported = np.isfinite(law.prediction_interval(LEVEL, **values).low)
        low, high = np.where(supported, low, np.nan), np.where(supported, high, np.nan)
    return PagePlot(
        PlotAxis(axis_label(curve.variable, _unit(law, curve.variable)), curve.log_steps),
        PlotAxis(f"loss, {UNIT_OF_LOSS}"),
        curve.values,
        [PlotSeries(law.name, curve.loss, low, high)],
        inside=law.record.ranges[curve.variable],
    )


def _unit(law: FittedLaw, variable: str) -> str:
    return next(item.unit for item in law.inputs if item.name == variable)


def _caption(law: FittedLaw, variable: str) -> str:
    band = ""
    if len(law.record.draws):
        band = f" Band: {LEVEL:.0%} of the bootstrap's draws, as far as the runs support an interval."
    return f"Loss along {spoken(variable)}, the others in the middle of their runs.{band} Grey: beyond the runs."


def _description(law: FittedLaw, plot: PagePlot) -> str:
    losses, x = plot.series[0].y, plot.x
    return (
        f"{plot.x_axis.label} against loss by {law.name}: from {losses[0]:.4g} nats at {x[0]:.3g} to {losses[-1]:.4g} "
        f"nats at {x[-1]:.3g}"
    )


def _coefficients(law: FittedLaw, name: str) -> PageGrid:
    fitted = Origin(
        "measured", f"the fit of {counted(law.record.num_rows, 'run')}", f"{law.params_convention}", "fitting.md"
    )
    spread = Origin(
        "measured", f"{len(law.record.draws):,} draws of the bootstrap", f"{LEVEL:.0%} interval", "fitting.md"
    )
    columns = [PageColumn("coefficient", is_text=True), PageColumn("value", origin=fitted)]
    intervals = law.coefficient_intervals() if len(law.record.draws) else None
    if intervals is not None:
        columns += [PageColumn("low", origin=spread), PageColumn("high", origin=spread)]
    unknown = {item.name: item.unknown or "" for item in law.record.identified}
    rows = [
        [
            PageNumber(coefficient, mark=unknown.get(coefficient, "")),
            *(
                PageNumber(number_text(end), float(end) if np.isfinite(end) else None)
                for end in (value, *(intervals[coefficient] if intervals is not None else ()))
            ),
        ]
        for coefficient, value in law.coefficients.items()
    ]
    return PageGrid(f"{name}-coefficients", "Coefficients", columns, rows)


def _ranges(law: FittedLaw, name: str) -> PageGrid:
    fitted = Origin("measured", f"the {law.record.num_rows:,} fitted runs", "", "fitting.md")
    columns = [
        PageColumn("variable", is_text=True),
        PageColumn("meaning", is_text=True),
        PageColumn("from", origin=fitted),
        PageColumn("to", origin=fitted),
    ]
    rows = [
        [
            PageNumber(spoken(item.name)),
            PageNumber(item.meaning),
            *(PageNumber(number_text(end), end) for end in law.record.ranges[item.name]),
        ]
        for item in law.inputs
    ]
    return PageGrid(f"{name}-ranges", "The runs behind it", columns, rows)
