"""The runs of a sweep's specification as candidates for the next runs, and the specification of those chosen."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from moewright.errors import UserError
from moewright.outputs import NEXT_MARK
from moewright.plain_values import dump_yaml
from moewright.sweeps.foresight.run_forecasts import planned_table
from moewright.sweeps.planner import PlannedRun, Planner
from moewright.sweeps.running.sweeping import load_sweep
from moewright.sweeps.sweep_spec import LoadedSweep


@dataclass(frozen=True)
class SweepCandidates:
    """A sweep's runs that are still to be made, one for each cell."""

    loaded: LoadedSweep
    runs: tuple[PlannedRun, ...]
    table: pd.DataFrame
    """As `moewright runs` would give them, as far as it is known before they run."""

    @property
    def settings(self) -> list[Mapping[str, Any]]:
        """What the axes set, run by run."""
        return [run.cell.settings for run in self.runs]

    def spec_text(self, rows: Sequence[int], out: Path) -> str:
        """The sweep of some runs, in their order, as a YAML file at `out`. UserError where its paths would not hold."""
        spec = self.loaded.spec
        given = spec.model_dump(mode="json", exclude_unset=True, exclude={"forecast", "only", "seeds"})
        if isinstance(spec.recipe, str):
            given["recipe"] = os.path.relpath(self.loaded.folder / spec.recipe, out.resolve().parent)
        elif self.loaded.folder.resolve() != out.resolve().parent:
            raise UserError(
                f"out: the recipe's paths start at {self.loaded.folder}, where its specification is; write it there"
            )
        only = [dict(self.runs[row].cell.settings) for row in rows]
        return f"# {NEXT_MARK}\n{dump_yaml({**given, 'only': only, 'seeds': [spec.seeds[0]]})}"


def sweep_candidates(spec: "str | Path | dict[str, Any]", made: pd.DataFrame | None) -> SweepCandidates:
    """The runs of a specification with its first seed, but for those that are in the run table `made`.

    They are known by their ids; one whose learning rate is still to be tuned has none, and is known by its model and
    tokens. UserError for a specification that cannot be run, or of which nothing is left.
    """
    loaded = load_sweep(spec)
    planner = Planner(loaded)
    first = planner.spec.seeds[0]
    planned = [run for run in planner.plan({}).runs if run.stage != "tune" and run.recipe.seed == first]
    table = planned_table(planner, planned)
    ids, models = _column(made, ["run_id"]), _column(made, ["architecture", "train_tokens"])
    here = list(zip(table["architecture"], table["train_tokens"], strict=True))
    left = [
        place
        for place, run in enumerate(planned)
        if (here[place] not in models if run.awaits_rate else (run.id,) not in ids)
    ]
    if not left:
        raise UserError(f"candidates: all {len(planned)} runs of the sweep are among the runs")
    names = [planned[place].id.removeprefix("awaits ") for place in left]
    table = table.iloc[left].reset_index(drop=True).assign(run_id=names)
    return SweepCandidates(loaded, tuple(planned[place] for place in left), table)


def _column(table: pd.DataFrame | None, names: list[str]) -> set[tuple[Any, ...]]:
    if table is None or any(name not in table for name in names):
        return set()
    return set(table[names].itertuples(index=False, name=None))
