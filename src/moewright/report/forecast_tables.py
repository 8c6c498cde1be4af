"""The tables of an identifiability forecast, made to read well at 80 columns."""

from collections.abc import Mapping

from rich.table import Table

from moewright.laws.forecasting.expectation import LOOSE, NOT_IDENTIFIED, PINNED, RULE, QuantityForecast, RunGroup
from moewright.laws.forecasting.forecast import Forecast
from moewright.quantities import counted, format_count
from moewright.report.plain_tables import bare_table
from moewright.screen import Screen, styled

_COLOURS = {PINNED: "green", LOOSE: "yellow", NOT_IDENTIFIED: "red"}
_MOST_GROUPS = 10
# Beyond this factor a prediction has lost its footing, and the factor itself means nothing.
_LARGEST_WIDENING = 100.0
_WIDEST = 10.0


def print_forecast(console: Screen, forecast: Forecast) -> None:
    """What the planned runs would pin, leave loose and not tell at all, and which runs a prediction hangs on."""
    console.print(
        styled(
            "[bold]What {} would tell about {}[/bold] ({}, {})",
            counted(forecast.runs, "planned run"),
            forecast.law,
            counted(forecast.configurations, "configuration"),
            counted(forecast.coefficients, "free coefficient"),
        )
    )
    if forecast.truth is not None:
        console.print(f"assumed true: {forecast.truth}")
        statuses = ", ".join(f"{share:.0%} {status}" for status, share in forecast.statuses.items())
        console.print(
            f"{forecast.replicates} simulated tables, losses with {forecast.noise:.2%} noise between seeds, each "
            f"fitted: {statuses}",
        )
    for message in forecast.messages:
        console.print(f"- {message}")
    if forecast.truth is None:
        console.print("Nothing of this law would be identified.")
        return
    for title, kind in (("Coefficients", "coefficient"), ("Optima", "optimum"), ("Losses", "prediction")):
        rows = [row for row in forecast.expected if row.kind == kind]
        if rows:
            _print_expected(console, title, rows)
    if forecast.leverage:
        console.print()
        console.print(_leverage(forecast.leverage))
    console.print()
    console.print(styled("[dim]{}. Fits differ by noise only, as if the form were right.[/dim]", RULE))


def _print_expected(console: Screen, title: str, rows: list[QuantityForecast]) -> None:
    """One table per place (target or arguments), its place above it."""
    places: list[Mapping[str, float]] = []
    for row in rows:
        if row.at not in places:
            places.append(row.at)
    for place in places:
        console.print()
        where = ", ".join(f"{name} {_amount(name, value)}" for name, value in place.items())
        console.print(styled("[bold]{}[/bold]{}", title, f" at {where}" if where else ""))
        chosen = [row for row in rows if row.at == place]
        table = Table(box=None, pad_edge=False)
        table.add_column("")
        for header in ("truth", "90 % interval", "width"):
            table.add_column(header, justify="right")
        table.add_column("verdict")
        for row in chosen:
            interval = "none" if row.low is None else f"{_amount(row.name, row.low)} to {_amount(row.name, row.high)}"
            verdict = styled(f"[{_COLOURS[row.verdict]}]{{}}[/]{{}}", row.verdict, _why(row))
            table.add_row(row.name, _amount(row.name, row.truth), interval, _width(row.relative_width), verdict)
        console.print(table)
        for row in chosen:
            if row.new_run is not None:
                console.print(f"One new run there, as a fit prints it with the form's own error: ±{row.new_run:.1%}.")
            if row.withheld is not None:
                console.print(f"A fit to these runs would print no interval there: {row.withheld}.")


def _why(row: QuantityForecast) -> str:
    """The share of the fits behind a verdict that the width alone does not explain."""
    shares = ((row.undetermined, "undetermined"), (row.on_bound, "on a bound"), (row.missing, "no value"))
    share, what = max(shares)
    return f", {share:.0%} {what}" if share else ""


def _leverage(groups: tuple[RunGroup, ...]) -> Table:
    title = "The first target's loss if runs are left out, those missed most first"
    table = bare_table(title)
    table.add_column("leave out")
    for header in ("runs", "interval wider by", "for each run"):
        table.add_column(header, justify="right")
    shown = groups if len(groups) <= _MOST_GROUPS else (*groups[: _MOST_GROUPS // 2], *groups[-_MOST_GROUPS // 2 :])
    for i, group in enumerate(shown):
        if len(shown) < len(groups) and i == _MOST_GROUPS // 2:
            table.add_row("...", "", "", "")
        value = _amount(group.axis, group.value) if isinstance(group.value, int | float) else str(group.value)
        table.add_row(f"{group.axis} {value}", str(group.runs), *_widening(group))
    return table


def _widening(group: RunGroup) -> tuple[str, str]:
    if group.widening is None or group.widening > _LARGEST_WIDENING:
        return "open", ""
    return f"{group.widening - 1:.0%}", f"{group.widening_per_run:.1%}"


def _width(width: float | None) -> str:
    if width is None:
        return ""
    return f"> {_WIDEST:.0%}" if width > _WIDEST else f"{width:.1%}" if width < 0.1 else f"{width:.0%}"


def _amount(name: str, value: float | None) -> str:
    if value is None:
        return "none"
    if name.endswith(("_params", "_tokens")):
        return format_count(value)
    return f"{value:.4g}"
