"""The learning-rate stage: groups of cells that share a rate, which multipliers to try, and the one that wins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from moewright.architecture import variables
from moewright.architecture.counts import active_params, total_params
from moewright.complaints import hint
from moewright.errors import UserError
from moewright.experiment.recipe import Recipe
from moewright.laws.rate_optimum import RateOptimum, best_rate
from moewright.quantities import brief
from moewright.records import Pair, Record
from moewright.sweeps.settings.cells import Cell
from moewright.sweeps.sweep_spec import Tuning

# Sizes that cells can be grouped by, beside the settings of the axes.
RECIPE_SIZES: dict[str, Callable[[Recipe], float]] = {
    "hidden_size": lambda recipe: recipe.architecture.hidden_size,
    "num_layers": lambda recipe: recipe.architecture.num_layers,
    "num_experts": lambda recipe: variables.num_experts(recipe.architecture) if recipe.architecture.moe_layers() else 1,
    "top_k": lambda recipe: variables.top_k(recipe.architecture) if recipe.architecture.moe_layers() else 1,
    "total_params": lambda recipe: total_params(recipe.architecture),
    "active_params": lambda recipe: active_params(recipe.architecture),
    "train_tokens": lambda recipe: recipe.train_tokens,
    "batch_tokens": lambda recipe: recipe.batch_tokens,
}


@dataclass(frozen=True)
class TuningGroup:
    """Cells that share a learning rate."""

    name: str
    """What they agree in, in words."""
    cells: tuple[Cell, ...]
    cell: Cell
    """The one whose rate is tuned."""


class PredictedMultiplier(Record):
    """What the transfer rule says of a group that was not tested."""

    interval: Pair[float]
    """Multipliers between which the best lies, at 90 %."""
    gives_away: float
    """Nats above the loss at the best rate that are expected."""


@dataclass(frozen=True)
class TunedRate:
    """What the tuning of a group says so far."""

    multiplier: float | None
    """The winner, of the recipe's own rate; None while runs are missing."""
    points: tuple[tuple[float, float], ...]
    """Multipliers and losses in nats of the runs; inf for one that diverged."""
    optimum: RateOptimum | None
    """The parabola; None while runs are missing, and where the rule was sure enough without any."""
    predicted: PredictedMultiplier | None = None
    """By the transfer rule, where the group needs no runs of its own."""


def group_cells(tuning: Tuning, cells: Sequence[Cell]) -> dict[str, TuningGroup]:
    """The groups by name, in the order of their first cells. UserError for a name that no cell has."""
    grouped: dict[str, list[Cell]] = {}
    for cell in cells:
        name = ", ".join(f"{key} {_shown(_value(cell, key))}" for key in tuning.per)
        grouped.setdefault(name, []).append(cell)
    known = dict.fromkeys(key for cell in cells for key in cell.settings)
    for key in tuning.cell:
        if key not in known:
            raise UserError(f"tuning.cell: no axis sets {brief(key)}{hint(key, known)}")
    return {
        name: TuningGroup(name, tuple(members), _chosen(tuning, name, members)) for name, members in grouped.items()
    }


def tune_rate(
    tuning: Tuning, losses_at: Callable[[float], Sequence[float | None]], around: float = 1.0
) -> tuple[tuple[float, ...], TunedRate]:
    """The multipliers that a group needs, those of the specification times `around`, and what their results say.

    `losses_at` gives the losses of the runs at a multiplier: none while one is missing, inf for one that diverged, None
    for one that failed. A best rate at an end of the list asks for one further multiplier, a step beyond it, at most
    `tuning.extend` times. Raises UserError if no run of the group has a loss.
    """
    tried = sorted(round_rate(each * around) if around != 1 else each for each in tuning.multipliers)
    for extension in range(tuning.extend + 1):
        found = {multiplier: losses_at(multiplier) for multiplier in tried}
        if not all(found.values()):
            return tuple(tried), TunedRate(None, (), None)
        points = tuple((rate, loss) for rate, losses in found.items() for loss in losses if loss is not None)
        optimum = (
            best_rate([rate for rate, _ in points], [loss for _, loss in points], tuning.noise) if points else None
        )
        if optimum is None or optimum.rate is None or optimum.grid_best is None:
            raise UserError(
                f"tuning: every run diverged or failed at {', '.join(f'{rate:g}' for rate in tried)} times the "
                "recipe's learning rate; give lower multipliers, or see the runs' logs"
            )
        winner = round_rate(optimum.rate if tuning.promote == "vertex" else optimum.grid_best)
        beyond = None if extension == tuning.extend else _beyond(tried, optimum.grid_best)
        if beyond is None:
            break
        tried = sorted([*tried, beyond])
    return tuple(tried), TunedRate(winner, points, optimum)


def _beyond(tried: Sequence[float], best: float) -> float | None:
    """The next multiplier past the end that is best; None if the best lies between others."""
    if best == tried[-1]:
        return round_rate(tried[-1] ** 2 / tried[-2])
    return round_rate(tried[0] ** 2 / tried[1]) if best == tried[0] else None


def round_rate(value: float) -> float:
    """Three significant digits: a rate that was fitted is the same on every machine, and readable."""
    return float(f"{value:.3g}")


def _value(cell: Cell, key: str) -> Any:
    if key in cell.settings:
        return cell.settings[key]
    assert cell.recipe is not None
    if key in RECIPE_SIZES:
        return RECIPE_SIZES[key](cell.recipe)
    raise UserError(
        f"tuning.per: {brief(key)} is neither set by an axis nor a size{hint(key, [*cell.settings, *RECIPE_SIZES])}"
    )


def _chosen(tuning: Tuning, name: str, members: Sequence[Cell]) -> Cell:
    fitting = [cell for cell in members if all(cell.settings.get(key) == value for key, value in tuning.cell.items())]
    if not fitting:
        wanted = ", ".join(f"{key} {value}" for key, value in tuning.cell.items())
        raise UserError(f"tuning.cell: no cell with {name} has {wanted}")
    return fitting[0]


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
