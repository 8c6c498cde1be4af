"""Showing results to people: tables in the terminal, figures and pages.

`show(result)` prints any result of a command. A new kind of result is one file with a function that takes a console and
the result, and one line in `SECTIONS`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moewright.screen import Screen

__all__ = ["EXPLAINED", "SECTIONS", "show"]

SECTIONS: dict[str, str] = {
    "InspectionComparison": "comparison_tables.print_comparison",
    "ComparedLaws": "compared_laws.print_compared_laws",
    "Dataset": "dataset_tables.print_dataset",
    "StepCalibration": "calibration_tables.print_calibration",
    "DeviceList": "device_tables.print_devices",
    "Designs": "design_tables.print_designs",
    "DryRun": "dry_run_tables.print_dry_run",
    "Evidence": "evidence_tables.print_evidence",
    "Export": "export_tables.print_export",
    "Fit": "fit_tables.print_fit",
    "Forecast": "forecast_tables.print_forecast",
    "ForecastScore": "forecast_score.print_forecast_score",
    "Inspection": "inspection_tables.print_inspection",
    "JudgedModels": "verdict_tables.print_verdicts",
    "LawDescription": "law_tables.print_law",
    "LawList": "law_tables.print_laws",
    "LayoutPlan": "layout_tables.print_layouts",
    "ModelDescription": "model_tables.print_model",
    "ModelList": "model_tables.print_models",
    "ServingPlan": "serving_tables.print_serving",
    "RunPlan": "run_tables.print_training_plan",
    "ModuleCount": "module_tables.print_module_count",
    "NextRuns": "next_tables.print_next",
    "Prediction": "law_tables.print_prediction",
    "TrainingResult": "run_tables.print_training_result",
    "RunTable": "run_tables.print_runs",
    "Space": "design_tables.print_space",
    "SweepResult": "sweep_tables.print_sweep",
    "WrittenPage": "page_table.print_written_page",
}
"""The name of a result's class, and the module and function here that print it. Loaded when first asked for, so that a
command loads what its own result needs and nothing else."""


EXPLAINED = (
    "Inspection",
    "InspectionComparison",
    "LayoutPlan",
    "ServingPlan",
    "Prediction",
    "JudgedModels",
    "Fit",
    "LawDescription",
    "LawList",
    "Evidence",
    "ModelList",
    "DeviceList",
)
"""Results whose sections leave out what `--explain` shows. `Designs` knows itself whether it is to be explained."""


def show(result: Any, console: "Screen | None" = None) -> None:
    """Print a result to a console; by default to standard output, as much as one screen holds where a section can.

    TypeError for what no section prints.
    """
    section = next((SECTIONS[kind.__name__] for kind in type(result).__mro__ if kind.__name__ in SECTIONS), None)
    if section is None:
        raise TypeError(f"no section of the report prints a {type(result).__name__}")
    if console is None:
        from moewright.screen import Screen

        console = Screen()
    module, function = section.split(".")
    getattr(import_module(f"moewright.report.{module}"), function)(console, result)


def __dir__() -> list[str]:
    return __all__
