"""The cells of a sweep: every point of the product of its axes as a recipe with exact counts, or the reason why not."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from moewright.architecture.counts import active_params, total_params, training_flops, training_flops_per_token
from moewright.architecture.spec import Architecture
from moewright.complaints import check_bounds, hint
from moewright.errors import UserError
from moewright.experiment.recipe import Recipe
from moewright.foreign_text import shortened
from moewright.hf.loading import load_architecture
from moewright.quantities import brief
from moewright.records import Record
from moewright.sweeps.settings.axes import TOKENS, Axis, Point, product
from moewright.sweeps.settings.mixtures import COUNTS, SHARES, changes_mixtures
from moewright.sweeps.settings.recipe_settings import (
    MisfitError,
    amount,
    check_key,
    check_recipe,
    fraction,
    with_setting,
)
from moewright.sweeps.settings.reshaping import BACKBONE, DIALS, reshape

BY_PARAMS = {"tokens_per_active_param": active_params, "tokens_per_total_param": total_params}


def check_rules(settings: Mapping[str, Any]) -> None:
    """UserError for a rule's value that is no positive number."""
    for rule in BY_PARAMS:
        if rule in settings:
            check_bounds(fraction(settings[rule], rule), settings[rule], rule, above=0)
    if "train_flops" in settings:
        amount(settings["train_flops"], "train_flops")


def recipe_tokens(values: Mapping[str, Any]) -> int:
    """A recipe's train_tokens, as they are stated."""
    return _size(values, "train_tokens")


def tokens_by_params(rule: str, value: Any, architecture: Architecture, values: Mapping[str, Any]) -> int:
    """Tokens times the model's active or total parameters (input embedding included), rounded up to whole batches."""
    batch = _size(values, "batch_tokens")
    return math.ceil(fraction(value, rule) * BY_PARAMS[rule](architecture) / batch) * batch


def train_flops(architecture: Architecture, tokens: int, values: Mapping[str, Any]) -> float:
    """FLOPs of a training run, attention at the recipe's sequence_length included."""
    return training_flops(architecture, tokens, _size(values, "sequence_length"))


def tokens_by_flops(flops: float, architecture: Architecture, values: Mapping[str, Any]) -> int:
    """The whole number of batches whose training FLOPs are nearest to those given, as tokens; MisfitError for none."""
    batch = _size(values, "batch_tokens")
    of_a_batch = train_flops(architecture, batch, values)
    batches = math.floor(Fraction(flops) / Fraction(of_a_batch) + Fraction(1, 2))
    if batches < 1:
        raise MisfitError(f"train_flops = {flops:.4g} are less than half of one batch, {of_a_batch:.4g}")
    return batches * batch


def _size(values: Mapping[str, Any], name: str) -> int:
    if name not in values:
        raise UserError(f"{name}: the recipe has none, and the cells' tokens follow from it; state it")
    size = int(amount(values[name], name))
    check_bounds(size, values[name], name, at_least=1)
    return size


_OWN = (*DIALS, *BY_PARAMS, "train_flops")
"""Settings that are no keys of a recipe."""


@dataclass(frozen=True)
class Counts:
    """Exact counts of a cell, and of the base that it was made from at the same backbone.

    Holding keeps feed-forward widths (arXiv 2605.11689); routers grow with the experts, so the parameters drift.
    """

    total_params: int
    active_params: int
    """With the input embedding."""
    train_flops: float
    """Of the whole run, attention at the recipe's sequence length included."""
    base_total_params: int | None
    """None where the base itself has no whole sizes at this backbone."""
    base_active_params: int | None

    @property
    def total_drift(self) -> float | None:
        """Total parameters over the base's, less 1."""
        return self.total_params / self.base_total_params - 1 if self.base_total_params else None

    @property
    def active_drift(self) -> float | None:
        """Active parameters over the base's, less 1."""
        return self.active_params / self.base_active_params - 1 if self.base_active_params else None


@dataclass(frozen=True)
class Cell:
    """One point of the product of all axes, without its seed."""

    settings: dict[str, Any]
    """What the axes set, in their order; equal cells have equal recipes, not always equal settings."""
    recipe: Recipe | None
    problem: str | None
    """Why there is no recipe: one line that names the setting and the sizes that do not fit."""
    counts: Counts | None = None
    """None where there is no recipe."""


def chosen_cells(cells: tuple[Cell, ...], only: Sequence[Mapping[str, Any]] | None) -> tuple[Cell, ...]:
    """The cells that have all settings of one of `only`, in order; all without. UserError for one that no cell has."""
    if only is None:
        return cells
    chosen: set[int] = set()
    for place, wanted in enumerate(only):
        here = [i for i, cell in enumerate(cells) if wanted.items() <= cell.settings.items()]
        if not here:
            names = list(cells[0].settings)
            unknown = next((name for name in wanted if name not in names), None)
            known = "" if unknown is None else f"; {unknown} is no setting of the axes{hint(unknown, names)}"
            raise UserError(f"only[{place}]: no cell has {shortened(str(dict(wanted)), 200)}{known}")
        chosen.update(here)
    return tuple(cells[i] for i in sorted(chosen))


def resolve_cells(recipe_values: dict[str, Any], beside: Path, axes: Sequence[Axis]) -> tuple[Cell, ...]:
    """A cell for every point of the axes' product, in order; paths in the recipe are relative to `beside`.

    Raises UserError for what makes no sense in any cell: unknown settings, settings that contradict each other whatever
    their values, experts' settings on a model without experts. What one cell cannot be is that cell's `problem`.
    """
    points = product(axes)
    names = list(dict.fromkeys(name for point in points for name in point.settings))
    for name in names:
        if name not in _OWN:
            check_key(name, _OWN)
    for point in points:
        check_rules(point.settings)
    sets_tokens = any(name in TOKENS for name in names)
    check_recipe(recipe_values, [*names, "train_tokens"] if sets_tokens else names)
    cells = _Cells(recipe_values, beside, points)
    return tuple(map(cells.resolve, points))


class _Cells:
    """What the cells of one sweep share: each distinct model is loaded, made and counted once."""

    def __init__(self, values: dict[str, Any], beside: Path, points: Sequence[Point]) -> None:
        self._values, self._beside = values, beside
        self._loaded: dict[str, Architecture] = {}
        self._made: dict[str, Architecture | MisfitError] = {}
        self._counted: dict[tuple[int, int], tuple[int, int, float]] = {}
        self._rules = [name for name in TOKENS[:3] if any(name in point.settings for point in points)]
        self._check_experts(points)
        if any("flops" in point.hold and "train_flops" not in point.settings for point in points) and not self._rules:
            self._base_flops()  # what is missing for it is missing in all cells

    def resolve(self, point: Point) -> Cell:
        """The cell of a point."""
        settings, values = point.settings, self._values
        for name, value in settings.items():
            if name not in _OWN:
                values = with_setting(values, name, value)
        base = self._base(settings)
        wanting = [f"{name}: {reason}" for name in settings if (reason := _unusable(name, settings, base))]
        if wanting:
            return Cell(settings, None, wanting[0])
        try:
            architecture = self._model(base, settings, point.hold)
        except MisfitError as problem:
            return Cell(settings, None, str(problem))
        try:
            tokens = self._tokens(point, base, architecture, values)
            if tokens is not None:
                values = {**values, "train_tokens": tokens}
            recipe = Recipe.from_dict({**values, "architecture": architecture}, beside=self._beside)
        except (MisfitError, UserError) as problem:
            return Cell(settings, None, str(problem))
        return Cell(settings, recipe, None, self._counts(recipe, architecture, base, settings))

    def _base(self, settings: Mapping[str, Any]) -> Architecture:
        """The model that a point starts from."""
        given = settings.get("architecture", self._values.get("architecture"))
        key = json.dumps(given, default=_exactly)
        if key not in self._loaded:
            if not isinstance(given, str | dict | Architecture):
                raise UserError(f"architecture: {brief(given)} is neither a path nor a mapping")
            self._loaded[key] = load_architecture(given, self._beside).architecture
        return self._loaded[key]

    def _model(self, base: Architecture, settings: Mapping[str, Any], hold: Collection[str] = ()) -> Architecture:
        """The base with the dials among the settings; a MisfitError is remembered like a model."""
        dials = {name: value for name, value in settings.items() if name in DIALS}
        key = json.dumps([id(base), dials, sorted(hold)], default=_exactly)
        if key not in self._made:
            try:
                self._made[key] = reshape(base, dials, hold)
            except MisfitError as problem:
                self._made[key] = problem
        made = self._made[key]
        if isinstance(made, MisfitError):
            raise made
        return made

    def _tokens(
        self, point: Point, base: Architecture, architecture: Architecture, values: dict[str, Any]
    ) -> int | None:
        """The cell's training tokens, where a rule or held FLOPs set them."""
        settings = point.settings
        if "train_flops" in settings:
            flops = amount(settings["train_flops"], "train_flops")
        elif "flops" in point.hold and self._rules:
            # Another axis sets the tokens: the FLOPs are those of the base at this backbone with these tokens.
            base = self._model(base, _backbone(settings))
            flops = train_flops(base, _by_rule(settings, base, values) or recipe_tokens(values), values)
        elif "flops" in point.hold:
            flops = self._base_flops()
        else:
            return _by_rule(settings, architecture, values)
        return tokens_by_flops(flops, architecture, values)

    def _base_flops(self) -> float:
        """Training FLOPs of the recipe as it stands."""
        if "architecture" not in self._values:
            raise UserError("hold: flops: the recipe has no architecture whose FLOPs to hold; set train_flops")
        return train_flops(self._base({}), recipe_tokens(self._values), self._values)

    def _counts(
        self, recipe: Recipe, architecture: Architecture, base: Architecture, settings: dict[str, Any]
    ) -> Counts:
        length = recipe.sequence_length
        of_base: tuple[int, int] | tuple[None, None]
        try:
            of_base = self._count(self._model(base, _backbone(settings)), length)[:2]
        except MisfitError:
            of_base = None, None
        total, active, flops_per_token = self._count(architecture, length)
        return Counts(total, active, recipe.trained_tokens * flops_per_token, *of_base)

    def _count(self, architecture: Architecture, length: int) -> tuple[int, int, float]:
        """Total and active parameters, and training FLOPs per token; of an architecture that this object keeps."""
        key = id(architecture), length
        if key not in self._counted:
            flops = training_flops_per_token(architecture, length)
            self._counted[key] = total_params(architecture), active_params(architecture), flops
        return self._counted[key]

    def _check_experts(self, points: Sequence[Point]) -> None:
        """UserError for a setting of experts that no point's model can use."""
        wanting: dict[str, str] = {}
        usable: set[str] = set()
        for point in points:
            base = self._base(point.settings)
            for name in (*point.settings, *(f"hold: {name}" for name in point.hold if name != "flops")):
                reason = _unusable(name, point.settings, base)
                if reason:
                    wanting.setdefault(name, reason)
                else:
                    usable.add(name)
        for name, reason in wanting.items():
            if name not in usable:
                raise UserError(f"axes: {name}: {reason}")


def _unusable(name: str, settings: Mapping[str, Any], base: Architecture) -> str | None:
    """Why a model has no use for a setting of experts; None where it has, and for other settings."""
    if not changes_mixtures(name) and not name.startswith("hold: "):
        return None
    mixtures = [moe for _, moe in base.moe_layers()]
    if not mixtures:
        return "the architecture has no experts"
    groups = max(len(moe.groups) for moe in mixtures)
    if groups > 1 and name in (*COUNTS, *SHARES) and settings.get("mix") is None:
        return f"the architecture's experts are of {groups} groups; set them with mix"
    return None


def _backbone(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: settings[name] for name in BACKBONE if name in settings}


def _by_rule(settings: Mapping[str, Any], architecture: Architecture, values: dict[str, Any]) -> int | None:
    """Tokens by the rule by parameters that the settings state, if they state one."""
    rule = next((rule for rule in BY_PARAMS if rule in settings), None)
    return None if rule is None else tokens_by_params(rule, settings[rule], architecture, values)


def _exactly(value: Any) -> Any:
    """What json.dumps has no word for, told apart from every other: a record by its values."""
    return value.to_dict() if isinstance(value, Record) else repr(value)
