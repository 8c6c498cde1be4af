"""What the planned runs of a sweep would tell about laws: their run table without losses, to `laws.forecast`."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

import moewright.runs as run_tables
from moewright.errors import UserError
from moewright.experiment.collecting.run_rows import settings_columns
from moewright.experiment.schedule import peak_learning_rate
from moewright.laws import Forecast, Law, forecast, resolve_law
from moewright.laws.counted_variables import in_conventions
from moewright.laws.fitting.fitted_law import check_once
from moewright.sweeps.planner import PlannedRun, Planner
from moewright.sweeps.sweep_spec import ForecastSettings


def planned_table(planner: Planner, runs: Sequence[PlannedRun]) -> pd.DataFrame:
    """The run table that `moewright runs` would give of these runs, as far as it is known before they run."""
    rows = []
    for run in runs:
        sizes = run.sizes
        known = settings_columns(
            run.recipe.to_dict(), planner.fingerprint(run.recipe), planner.initial_weights(run.recipe)
        )
        rows.append(
            {
                **{name: value for name, value in known.items() if value is not None},
                "run_id": run.id,
                "learning_rate": peak_learning_rate(run.recipe),
                "train_tokens": run.recipe.trained_tokens,
                "train_flops": sizes["train_flops"],
            }
        )
    return run_tables.prepare(pd.DataFrame(rows), "the planned runs")


def forecasts(
    planner: Planner, runs: Sequence[PlannedRun], settings: ForecastSettings, folder: Path
) -> tuple[Forecast, ...]:
    """One forecast for each law; files of laws are relative to `folder`. UserError for a law that cannot be."""
    laws = [_law(name, folder) for name in settings.law]
    check_once(laws, "forecast")
    truth = None if settings.truth is None else _law(settings.truth, folder)
    table = planned_table(planner, runs)
    found = []
    for law in laws:
        try:
            found.append(
                forecast(
                    law,
                    in_conventions(law, table)[0],
                    settings.noise,
                    replicates=settings.replicates,
                    targets=settings.targets,
                    truth=truth,
                )
            )
        except UserError as error:
            raise UserError(f"forecast of {law.name}: {error} (forecast.truth names the law that is assumed)") from None
    return tuple(found)


def _law(name: str, folder: Path) -> Law:
    is_file = name.endswith(".json") or "/" in name
    return resolve_law(folder / name if is_file else name)
