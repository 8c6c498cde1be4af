"""The runs of a sweep: every cell with every seed, each with its identity; first those that tune learning rates."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from moewright.architecture.counts import active_params, total_params, training_flops
from moewright.data.dataset import Dataset
from moewright.errors import UserError
from moewright.experiment import initial_weights
from moewright.experiment.identity import TRAINING_VERSION, code_digest, run_id
from moewright.experiment.planning import WEIGHT_BYTES, check_vocabulary, most_checkpoint_bytes, open_data
from moewright.experiment.recipe import LawRate, Recipe
from moewright.experiment.schedule import peak_learning_rate
from moewright.experiment.sweep_folder import SweepStage
from moewright.sweeps.rate_tuning import TunedRate, TuningGroup, group_cells, round_rate, tune_rate
from moewright.sweeps.settings.axes import check_run_count
from moewright.sweeps.settings.cells import Cell, chosen_cells, resolve_cells
from moewright.sweeps.sweep_spec import LoadedSweep, SweepSpec
from moewright.sweeps.trainers.trainer_choice import trainer_of
from moewright.sweeps.transfer_tuning import RateGroup, tune_by_rule

_LOG_BYTES = 2 * 2**20  # of metrics and submitit's files; measured on runs of a few hundred steps: under 1 MB


@dataclass(frozen=True)
class PlannedRun:
    """One run."""

    cell: Cell
    recipe: Recipe
    """With its seed; its learning rate is provisional while `awaits_rate`."""
    stage: SweepStage
    group: str | None
    """Whose learning rate it shares, in words; None without tuning."""
    id: str
    awaits_rate: bool = False
    """The learning rate of its group is not known yet, so neither is its id."""

    @property
    def settings(self) -> dict[str, Any]:
        """What distinguishes it from the other runs of the sweep."""
        return {**self.cell.settings, "seed": self.recipe.seed}

    @property
    def label(self) -> dict[str, Any]:
        """The settings with the short names that people see, and the peak learning rate."""
        short = {name.rpartition(".")[2]: value for name, value in self.settings.items()}
        return {**short, "rate": f"{peak_learning_rate(self.recipe):.3g}"}

    @cached_property
    def sizes(self) -> dict[str, float]:
        """Exact counts: total_params, active_params, train_tokens, train_flops, disk_bytes."""
        recipe = self.recipe
        return {
            "total_params": total_params(recipe.architecture),
            "active_params": active_params(recipe.architecture),
            "train_tokens": recipe.train_tokens,
            "train_flops": training_flops(recipe.architecture, recipe.trained_tokens, recipe.sequence_length),
            "peak_disk_bytes": most_checkpoint_bytes(recipe) + _LOG_BYTES,
        }

    def kept_bytes(self, keep: str) -> float:
        """Disk that stays when it is done, by `execution.keep`."""
        copies = {"all": 3, "model": 1, "none": 0}[keep]  # of the parameters: moments and weights
        return copies * WEIGHT_BYTES * self.sizes["total_params"] + _LOG_BYTES


@dataclass(frozen=True)
class SweepPlan:
    """All runs that a specification comes to, as far as the results so far decide them."""

    runs: tuple[PlannedRun, ...]
    """Distinct; the tuning runs first."""
    tuned: dict[str, TunedRate]
    """By group: the learning rates found so far."""
    invalid: tuple[Cell, ...]
    """Cells that no model can have, each with its problem."""
    merged: int
    """Runs that the axes or seeds name more than once, beyond the first."""
    duplicates: tuple[tuple[Cell, Cell], ...] = ()
    """Each cell all of whose runs are those of an earlier one, and that one."""

    @property
    def known(self) -> tuple[PlannedRun, ...]:
        """The runs that can start: their learning rate is known."""
        return tuple(run for run in self.runs if not run.awaits_rate)


class Planner:
    """The cells of a specification, resolved once; `plan` follows the results."""

    def __init__(self, loaded: LoadedSweep, names: Mapping[str, str] | None = None):
        """`names`: what runs are called in the sweep's folder, by the id that they have now; others are called by it.

        Raises UserError for a specification that cannot be run, or whose data is not there.
        """
        self._names = names or {}
        self.spec: SweepSpec = loaded.spec
        check_run_count(loaded.spec.axes, len(loaded.spec.seeds))
        cells = chosen_cells(resolve_cells(loaded.recipe, loaded.beside, loaded.spec.axes), loaded.spec.only)
        self.beside = loaded.folder.resolve()
        """The folder of the specification."""
        self.trainer = trainer_of(loaded.spec.trainer)
        """None: the lab."""
        self.trainer_notes: Counter[str] = Counter()
        """What it does otherwise than the lab: in how many cells."""
        self._trainer_is = None if self.trainer is None else self.trainer.decisive()
        self.training_version = TRAINING_VERSION
        self.code = code_digest()
        self._weights: dict[str, str | None] = {}
        self.datasets: dict[str, Dataset] = {}
        cells = tuple(map(self._as_trained, cells))
        self.invalid = tuple(cell for cell in cells if cell.recipe is None)
        self.cells = tuple(cell for cell in cells if cell.recipe is not None)
        if not self.cells:
            raise UserError(f"axes: no cell has a model; the first: {self.invalid[0].problem}")
        for cell in self.cells:
            check_vocabulary(self.dataset(_recipe(cell)), _recipe(cell))
            initial_weights.check_initial_weights(_recipe(cell))
        self.groups: dict[str, TuningGroup] = group_cells(self.spec.tuning, self.cells) if self.spec.tuning else {}
        self._group_of = {id(cell): group.name for group in self.groups.values() for cell in group.cells}
        self._made: dict[tuple[int, int, float | None], PlannedRun] = {}
        self._check_trainer()

    def _as_trained(self, cell: Cell) -> Cell:
        """The cell, or why its trainer cannot make it."""
        if self.trainer is None or cell.recipe is None:
            return cell
        try:
            self.trainer_notes.update(self.trainer.check(cell.recipe, self.dataset(cell.recipe)))
        except UserError as problem:
            return replace(cell, recipe=None, problem=str(problem))
        return cell

    def _check_trainer(self) -> None:
        """UserError for cells that another trainer than the lab cannot tell apart; a note on what it has no use for."""
        if self.trainer is None:
            return
        if "keep" in self.spec.execution.model_fields_set:
            self.trainer_notes["execution.keep is of the lab's checkpoints; this trainer's stay as it writes them"] = (
                len(self.cells)
            )
        self.trainer.check_cells([run.recipe for run in self.plan({}).runs])

    def dataset(self, recipe: Recipe) -> Dataset:
        """The tokens of a recipe, opened once."""
        key = recipe.data if isinstance(recipe.data, str) else json.dumps(recipe.data.to_dict())
        if key not in self.datasets:
            self.datasets[key] = open_data(recipe)
        return self.datasets[key]

    @property
    def recipes(self) -> list[Recipe]:
        """Of the cells, without seeds and tuned rates."""
        return [_recipe(cell) for cell in self.cells]

    def initial_weights(self, recipe: Recipe) -> str | None:
        """The fingerprint of those that it begins with, read once."""
        if recipe.initial_weights is None:
            return None
        if recipe.initial_weights not in self._weights:
            self._weights[recipe.initial_weights] = initial_weights.fingerprint(recipe)
        return self._weights[recipe.initial_weights]

    def fingerprint(self, recipe: Recipe) -> str:
        """Of its tokens."""
        return self.dataset(recipe).fingerprint

    def plan(self, losses: Mapping[str, float | None]) -> SweepPlan:
        """The runs, given the loss of each one that ended, by id; inf for one that diverged, None for one that failed.

        The same results always give the same plan: nothing else is remembered between stages.
        """
        runs: dict[str, PlannedRun] = {}
        merged = 0
        duplicates: dict[int, tuple[Cell, Cell]] = {}
        tuned: dict[str, TunedRate] = {}
        for group_name, (tried, found) in self._rates(losses).items():
            group = self.groups[group_name]
            tuned[group_name] = found
            for multiplier in tried:
                for seed in self._tuning_seeds:
                    run = self._run(group.cell, seed, multiplier, "tune")
                    merged += run.id in runs
                    runs.setdefault(run.id, run)
        for cell in self.cells:
            name = self._group_of.get(id(cell))
            winner = tuned[name].multiplier if name is not None else 1.0
            for seed in self.spec.seeds:
                run = self._run(cell, seed, winner if winner is not None else 1.0, "main")
                if winner is None:
                    run = replace(run, awaits_rate=True, id=f"awaits {run.id}")
                before = runs.get(run.id)
                if before is None:
                    runs[run.id] = run
                elif before.stage == "tune":
                    runs[run.id] = replace(run, stage="tune+main")
                else:
                    merged += 1
                    duplicates[id(cell)] = cell, before.cell
        return SweepPlan(tuple(runs.values()), tuned, self.invalid, merged, tuple(duplicates.values()))

    def _rates(self, losses: Mapping[str, float | None]) -> dict[str, tuple[tuple[float, ...], TunedRate]]:
        """For each group the multipliers to try, and what they say."""

        def losses_at(name: str, multiplier: float) -> list[float | None]:
            return self._trial_loss(self.groups[name], losses, multiplier)

        tuning = self.spec.tuning
        if tuning is None:
            return {}
        if tuning.transfer is not None:
            return tune_by_rule(tuning, self._rate_groups, losses_at)
        return {name: tune_rate(tuning, partial(losses_at, name)) for name in self.groups}

    @cached_property
    def _rate_groups(self) -> list[RateGroup]:
        return [RateGroup.of(group.name, _recipe(group.cell)) for group in self.groups.values()]

    @property
    def tuning_seed_count(self) -> int:
        """Runs of each rate that is tried."""
        return len(self._tuning_seeds)

    @property
    def _tuning_seeds(self) -> Sequence[int]:
        assert self.spec.tuning is not None
        return self.spec.tuning.seeds or self.spec.seeds[:1]

    def _trial_loss(
        self, group: TuningGroup, losses: Mapping[str, float | None], multiplier: float
    ) -> list[float | None]:
        """The losses of a group's tuning runs at a multiplier, as far as they ended."""
        ids = [self._run(group.cell, seed, multiplier, "tune").id for seed in self._tuning_seeds]
        return [losses[one] for one in ids if one in losses] if all(one in losses for one in ids) else []

    def _run(self, cell: Cell, seed: int, multiplier: float, stage: SweepStage) -> PlannedRun:
        key = (id(cell), seed, multiplier)
        if key not in self._made:
            recipe = _with_rate(_recipe(cell), multiplier).model_copy(update={"seed": seed})
            weights = self.initial_weights(recipe)
            data = self.fingerprint(recipe)
            identity = run_id(recipe, data, self.training_version, weights, self._trainer_is)
            name = self._names.get(identity, identity)
            self._made[key] = PlannedRun(cell, recipe, stage, self._group_of.get(id(cell)), name)
        made = self._made[key]
        return made if made.stage == stage else replace(made, stage=stage)


def _recipe(cell: Cell) -> Recipe:
    assert cell.recipe is not None
    return cell.recipe


def _with_rate(recipe: Recipe, multiplier: float) -> Recipe:
    """The recipe with its own learning rate times a multiplier."""
    if multiplier == 1.0:
        return recipe
    rate = recipe.learning_rate
    if isinstance(rate, LawRate):
        changed: LawRate | float = rate.model_copy(update={"multiplier": round_rate(rate.multiplier * multiplier)})
    else:
        changed = round_rate(rate * multiplier)
    return recipe.model_copy(update={"learning_rate": changed})
