"""moewright: from budgets to a Mixture-of-Experts language model that you can build.

Every command of the command line is a function of the same name here, but for `runs`: `laws` and `runs` are the modules
of scaling laws and of run tables, and `collect_runs` makes a run table from run folders. Importing this package loads
neither torch nor transformers, and numpy and pandas only with the first use of what needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from moewright.architecture import Architecture
from moewright.commands.design import design
from moewright.commands.export import export
from moewright.commands.inspect import Inspection, inspect
from moewright.errors import UserError
from moewright.exporters.exported import Export

if TYPE_CHECKING:
    from moewright import laws, runs
    from moewright.commands.fit import Fit, fit
    from moewright.commands.predict import Prediction, predict
    from moewright.commands.sweep import sweep
    from moewright.experiment.collecting.collection import RunTable
    from moewright.experiment.collecting.collection import collect as collect_runs
    from moewright.lab.training import train

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
    "Fit": ("moewright.commands.fit", "Fit"),
    "Prediction": ("moewright.commands.predict", "Prediction"),
    "RunTable": ("moewright.experiment.collecting.collection", "RunTable"),
    "collect_runs": ("moewright.experiment.collecting.collection", "collect"),
    "fit": ("moewright.commands.fit", "fit"),
    "laws": ("moewright.laws", None),
    "predict": ("moewright.commands.predict", "predict"),
    "runs": ("moewright.runs", None),
    "sweep": ("moewright.commands.sweep", "sweep"),
    "train": ("moewright.lab.training", "train"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'moewright' has no attribute {name!r}")
    module, attribute = _LATER[name]
    loaded = import_module(module)
    return loaded if attribute is None else getattr(loaded, attribute)
