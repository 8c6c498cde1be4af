"""Scaling laws of Mixture-of-Experts and dense language models: published ones by name, and fits to your own runs."""

from typing import TYPE_CHECKING, Any

from moewright.laws.catalogue import get, judges, names
from moewright.laws.curves import marginal_curves
from moewright.laws.describe import describe, describe_all
from moewright.laws.law import InapplicableLaw, Law
from moewright.laws.published.ling2025 import loss_through

if TYPE_CHECKING:
    from moewright.laws.fitting.compare import compare
    from moewright.laws.fitting.estimator import LawFitter
    from moewright.laws.fitting.fitted import FittedLaw, Interval
    from moewright.laws.fitting.forecast import Forecast, forecast
    from moewright.laws.fitting.rate_optimum import RateOptimum, best_rate
    from moewright.laws.fitting.storage import load

__all__ = [
    "FittedLaw",
    "Forecast",
    "InapplicableLaw",
    "Interval",
    "Law",
    "LawFitter",
    "RateOptimum",
    "best_rate",
    "compare",
    "describe",
    "describe_all",
    "forecast",
    "get",
    "judges",
    "load",
    "loss_through",
    "marginal_curves",
    "names",
]

# Fitting is imported when first asked for: published laws alone must start fast.
_FITTING = {
    "FittedLaw": "fitted",
    "Interval": "fitted",
    "Forecast": "forecast",
    "LawFitter": "estimator",
    "RateOptimum": "rate_optimum",
    "best_rate": "rate_optimum",
    "compare": "compare",
    "forecast": "forecast",
    "load": "storage",
}


def __getattr__(name: str) -> Any:
    if name in _FITTING:
        from importlib import import_module

        return getattr(import_module(f"moewright.laws.fitting.{_FITTING[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
