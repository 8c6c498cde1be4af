"""moewright: from budgets to a Mixture-of-Experts language model that you can build.

Every command of the command line is a function of the same name here, but for `runs`: `laws` and `runs` are the modules
of scaling laws and of run tables, and `collect_runs` makes a run table from run folders. Importing this package loads
neither torch nor transformers, and numpy and pandas only with the first use of what needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from moewright.architecture import Architecture
from moewright.design import design
from moewright.errors import UserError
from moewright.export import Export, export
from moewright.inspection import Inspection, inspect

if TYPE_CHECKING:
    from moewright import laws, runs
    from moewright.fitting import Fit, fit
    from moewright.lab.run_table import RunTable
    from moewright.lab.run_table import collect as collect_runs
    from moewright.lab.sweep.command import sweep
    from moewright.lab.training import train
    from moewright.prediction import Prediction, predict

__all__ = [
    "Architecture",
    "Export",
    "Fit",
    "Inspection",
    "Prediction",
    "RunTable",
    "UserError",
    "collect_runs",
    "design",
    "export",
    "fit",
    "inspect",
    "laws",
    "predict",
    "runs",
    "sweep",
    "train",
]
__version__ = "0.1.0"

# What is loaded when it is first asked for: the module, and the name in it (None: the module itself).
_LATER: dict[str, tuple[str, str | None]] = {
    "Fit": ("moewright.fitting", "Fit"),
    "Prediction": ("moewright.prediction", "Prediction"),
    "RunTable": ("moewright.lab.run_table", "RunTable"),
    "collect_runs": ("moewright.lab.run_table", "collect"),
    "fit": ("moewright.fitting", "fit"),
    "laws": ("moewright.laws", None),
    "predict": ("moewright.prediction", "predict"),
    "runs": ("moewright.runs", None),
    "sweep": ("moewright.lab.sweep.command", "sweep"),
    "train": ("moewright.lab.training", "train"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'moewright' has no attribute {name!r}")
    module, attribute = _LATER[name]
    loaded = import_module(module)
    return loaded if attribute is None else getattr(loaded, attribute)
