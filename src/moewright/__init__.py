"""moewright: from budgets to a Mixture-of-Experts language model that you can build.

Every command of the command line is a function here, with the command's own arguments and defaults:

    moewright inspect, models, predict, fit, design, plan, train, sweep, export    the functions of these names
    moewright next            next_runs: `next` is a word of Python
    moewright laws            describe_laws: `laws` is the package of scaling laws
    moewright runs            collect_runs: `runs` is the package of run tables
    moewright report          make_report: `report` is the package that shows results
    moewright data prepare    prepare_data: `data` is the package of token shards

Results have a short repr, a table in notebooks, `to_dict` (what `--json` prints) and, where they are a table,
`to_frame`. What a user got wrong is a `UserError` of one line. Importing this package loads nothing else: each name is
loaded when it is first used, and only training and sweeps need torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from moewright.commands import COMMANDS
from moewright.errors import UserError

if TYPE_CHECKING:
    from moewright import architecture, data, designs, exporters, hardware, hf, laws, report, runs
    from moewright.architecture import Architecture
    from moewright.commands.calibrate import calibrate
    from moewright.commands.collect_runs import collect_runs
    from moewright.commands.describe_laws import describe_laws
    from moewright.commands.design import design
    from moewright.commands.export import export
    from moewright.commands.fit import fit
    from moewright.commands.inspect import inspect
    from moewright.commands.make_report import make_report
    from moewright.commands.models import models
    from moewright.commands.next_runs import next_runs
    from moewright.commands.plan import plan
    from moewright.commands.predict import predict
    from moewright.commands.prepare_data import prepare_data
    from moewright.commands.sweep import sweep
    from moewright.commands.train import train
    from moewright.data.dataset import Dataset
    from moewright.designs.result import Designs
    from moewright.designs.space import Space
    from moewright.experiment.collecting.collection import RunTable
    from moewright.experiment.planning import RunPlan
    from moewright.experiment.recipe import Recipe
    from moewright.experiment.run_folder import TrainingResult
    from moewright.exporters.exported import Export
    from moewright.hardware import Device
    from moewright.hardware.inspection import Inspection
    from moewright.hardware.inspection_comparison import InspectionComparison
    from moewright.hardware.layout_plan import LayoutPlan
    from moewright.hardware.serving_plan import ServingPlan
    from moewright.hardware.step_calibration import StepCalibration
    from moewright.hf.built_elsewhere import ModuleCount
    from moewright.hf.model_description import ModelDescription, ModelList
    from moewright.laws import ComparedLaws, Fit, Law, Prediction
    from moewright.laws.description import LawDescription, LawList
    from moewright.report.page.written_page import WrittenPage
    from moewright.sweeps.foresight.dry_run import DryRun
    from moewright.sweeps.running.sweeping import SweepResult

__all__ = [
    "Architecture",
    "ComparedLaws",
    "Dataset",
    "Designs",
    "Device",
    "DryRun",
    "Export",
    "Fit",
    "Inspection",
    "InspectionComparison",
    "Law",
    "LawDescription",
    "LawList",
    "LayoutPlan",
    "ModelDescription",
    "ModelList",
    "ModuleCount",
    "Prediction",
    "Recipe",
    "RunPlan",
    "RunTable",
    "ServingPlan",
    "Space",
    "StepCalibration",
    "SweepResult",
    "TrainingResult",
    "UserError",
    "WrittenPage",
    "architecture",
    "calibrate",
    "collect_runs",
    "data",
    "describe_laws",
    "design",
    "designs",
    "export",
    "exporters",
    "fit",
    "hardware",
    "hf",
    "inspect",
    "laws",
    "make_report",
    "models",
    "next_runs",
    "plan",
    "predict",
    "prepare_data",
    "report",
    "runs",
    "sweep",
    "train",
]
__version__ = "0.1.0"

_CLASSES = {
    "Architecture": "architecture",
    "ComparedLaws": "laws",
    "StepCalibration": "hardware.step_calibration",
    "InspectionComparison": "hardware.inspection_comparison",
    "ModuleCount": "hf.built_elsewhere",
    "Dataset": "data.dataset",
    "Designs": "designs.result",
    "Device": "hardware",
    "DryRun": "sweeps.foresight.dry_run",
    "Export": "exporters.exported",
    "Fit": "laws",
    "Inspection": "hardware.inspection",
    "Law": "laws",
    "LawDescription": "laws.description",
    "LawList": "laws.description",
    "LayoutPlan": "hardware.layout_plan",
    "ModelDescription": "hf.model_description",
    "ModelList": "hf.model_description",
    "Prediction": "laws",
    "Recipe": "experiment.recipe",
    "TrainingResult": "experiment.run_folder",
    "RunPlan": "experiment.planning",
    "RunTable": "experiment.collecting.collection",
    "ServingPlan": "hardware.serving_plan",
    "Space": "designs.space",
    "SweepResult": "sweeps.running.sweeping",
    "WrittenPage": "report.page.written_page",
}
"""Where the classes of results and of what commands take are."""
_FUNCTIONS = {name: f"commands.{name}" for name in COMMANDS.values()}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'moewright' has no attribute {name!r}")
    where = (_CLASSES | _FUNCTIONS).get(name)
    if where is None:
        return import_module(f"moewright.{name}")
    found = getattr(import_module(f"moewright.{where}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
