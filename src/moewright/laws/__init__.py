"""Scaling laws of Mixture-of-Experts and dense language models: published ones by name, and fits to your own runs.

laws.get("zhao2025").loss(...)      a published law
laws.fit_law("zhao2025", table)     its form, fitted to a table of runs
laws.judge(a, b, train_tokens=2e12)   which of two models is better, where the laws agree
laws.forecast("zhao2025", plan, noise=0.003)   what planned runs would tell about it
"""

from moewright.laws.catalogue import get, judges, names
from moewright.laws.description import describe, describe_all
from moewright.laws.fitting.comparison import ComparedLaws, compare
from moewright.laws.fitting.estimator import LawFitter, fit_law
from moewright.laws.fitting.fit_result import Fit
from moewright.laws.fitting.fit_settings import FitSettings
from moewright.laws.fitting.fitted_law import FittedLaw, Interval, load, resolve_law
from moewright.laws.forecasting.forecast import Forecast, forecast
from moewright.laws.judging.compared_designs import ComparedDesigns
from moewright.laws.judging.evidence import Evidence, evidence
from moewright.laws.judging.judged_models import JudgedModels
from moewright.laws.judging.judgement import JudgedPair, judge
from moewright.laws.judging.verdicts import Verdicts, judge_columns
from moewright.laws.law import Allocation, Finding, InapplicableLaw, Law, LossForm, LossLaw, Rule
from moewright.laws.marginals import marginal_curves
from moewright.laws.prediction import Prediction
from moewright.laws.published.ling2025 import loss_through
from moewright.laws.rate_optimum import RateOptimum, best_rate

__all__ = [
    "Allocation",
    "ComparedDesigns",
    "ComparedLaws",
    "Evidence",
    "Finding",
    "Fit",
    "FitSettings",
    "FittedLaw",
    "Forecast",
    "InapplicableLaw",
    "Interval",
    "JudgedModels",
    "JudgedPair",
    "Law",
    "LawFitter",
    "LossForm",
    "LossLaw",
    "Prediction",
    "RateOptimum",
    "Rule",
    "Verdicts",
    "best_rate",
    "compare",
    "describe",
    "describe_all",
    "evidence",
    "fit_law",
    "forecast",
    "get",
    "judge",
    "judge_columns",
    "judges",
    "load",
    "loss_through",
    "marginal_curves",
    "names",
    "resolve_law",
]


def __dir__() -> list[str]:
    return __all__
