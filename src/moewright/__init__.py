"""moewright: from budgets to a Mixture-of-Experts language model that you can build.

Every command of the command line is a function of the same name here; `laws` and `runs` are the modules of scaling laws
and of run tables. Importing this package loads neither torch nor transformers, and pandas only with the first use of
`runs`.
"""

import importlib
from types import ModuleType

from moewright import laws
from moewright.architecture import Architecture
from moewright.design import design
from moewright.errors import UserError
from moewright.fitting import Fit, fit
from moewright.inspection import Inspection, inspect
from moewright.prediction import Prediction, predict

__all__ = [
    "Architecture",
    "Fit",
    "Inspection",
    "Prediction",
    "UserError",
    "design",
    "fit",
    "inspect",
    "laws",
    "predict",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    if name == "runs":
        return importlib.import_module("moewright.runs")
    raise AttributeError(f"module 'moewright' has no attribute {name!r}")
