"""A preregistered forecast against what was measured."""

from moewright.laws.fitting.preregistration import ForecastScore
from moewright.report.law_tables import format_value
from moewright.screen import Screen, styled


def print_forecast_score(console: Screen, score: ForecastScore) -> None:
    """The verdict first."""
    low, high = score.interval
    word, colour = ("inside", "green") if score.inside else ("outside", "yellow")
    console.print(
        styled(
            f"measured {{}}: [{colour}]{word}[/{colour}] the {{}} interval {{}} to {{}}",
            f"{score.measured:.4f}",
            f"{score.level:.0%}",
            f"{low:.4f}",
            f"{high:.4f}",
        )
    )
    side = "above" if score.missed < 0 else "below"
    console.print(f"expected {score.expected:.4f}: the run is {abs(score.missed):.4f} nats {side} that,")
    if score.half_widths is not None:
        console.print(f"{score.half_widths:.2f} of the way to the end of the interval")
    where = ", ".join(f"{name} {format_value(value)}" for name, value in score.at.items())
    console.print(styled("forecast by {} on {} for {}", score.law, score.created, where))
