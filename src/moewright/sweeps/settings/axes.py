"""The axes of a sweep: what varies, as lists of points, and their product."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from moewright.complaints import hint
from moewright.errors import UserError
from moewright.quantities import brief
from moewright.records import Positive, Record, Size

Hold = Literal["active", "total", "flops"]
BACKBONE_SIZES = ("hidden_size", "num_layers", "num_heads", "head_dim")
"""Settings that make a rung of a ladder: a backbone."""
TOKENS = ("train_tokens", "tokens_per_active_param", "tokens_per_total_param", "train_flops")
"""Settings that say how long a cell trains; a cell takes one."""
# Ten times the largest published study of mixtures (arXiv 2605.11689, over 2,000 runs), and a list that fits in memory.
LARGEST_PRODUCT = 20_000


class _Stated(Record):
    """A record that names the nearest known key where it meets an unknown one."""

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        for key in values if isinstance(values, dict) else ():
            if key not in cls.model_fields:
                known = ", ".join(cls.model_fields)
                raise ValueError(f"no key {brief(key)} among {known}{hint(str(key), cls.model_fields, '')}")
        return values


class LadderShape(_Stated):
    """One rung of a ladder, written out."""

    hidden_size: Size
    num_layers: Size
    num_heads: Size


class Ladder(_Stated):
    """Sizes from one dial: the depth sets the width, the heads and, if asked for, the tokens."""

    num_layers: Annotated[tuple[Size, ...], Field(min_length=1, strict=False)] | None = None
    width_per_layer: Size | None = None
    """hidden_size = num_layers x width_per_layer."""
    head_dim: Size | None = None
    """num_heads = hidden_size / head_dim."""
    shapes: Annotated[tuple[LadderShape, ...], Field(min_length=1, strict=False)] | None = None
    """Instead of the dial: the rungs themselves."""
    tokens_per_active_param: Positive | None = None
    tokens_per_total_param: Positive | None = None
    """Training tokens of each cell, rounded up to whole batches. Neither: the recipe's train_tokens."""

    @model_validator(mode="after")
    def _one_form(self) -> "Ladder":
        dial = ("num_layers", "width_per_layer", "head_dim")
        given = [name for name in dial if getattr(self, name) is not None]
        if self.shapes is not None and given:
            raise ValueError(f"shapes write the rungs out; {given[0]} has no use beside them")
        if self.shapes is None and len(given) < len(dial):
            missing = next(name for name in dial if name not in given)
            raise ValueError(f"{missing} is missing; state {', '.join(dial)}, or shapes")
        if self.tokens_per_active_param is not None and self.tokens_per_total_param is not None:
            raise ValueError("tokens_per_active_param and tokens_per_total_param are two rules; state one")
        return self

    def rungs(self) -> list[dict[str, Any]]:
        """The settings of each rung."""
        if self.shapes is not None:
            rungs = [shape.model_dump() for shape in self.shapes]
        else:
            assert self.num_layers is not None
            assert self.width_per_layer is not None
            rungs = [
                {"hidden_size": depth * self.width_per_layer, "num_layers": depth, "head_dim": self.head_dim}
                for depth in self.num_layers
            ]
        rules = {name: getattr(self, name) for name in ("tokens_per_active_param", "tokens_per_total_param")}
        return [rung | {name: value for name, value in rules.items() if value is not None} for rung in rungs]


def _not_too_many(values: Any) -> Any:
    if isinstance(values, list | tuple):
        _check_number(len(values))
    return values


class Axis(_Stated):
    """One axis: exactly one of its forms, and what stays the same along it."""

    grid: dict[str, list[Any]] | None = None
    """Every combination of the values of these settings."""
    zip: dict[str, list[Any]] | None = None
    """The first values together, the second together, and so on."""
    points: Annotated[tuple[dict[str, Any], ...], Field(strict=False), BeforeValidator(_not_too_many)] | None = None
    """Points written out, each a mapping of settings."""
    ladder: Ladder | None = None
    hold: Annotated[tuple[Hold, ...], Field(strict=False)] = ()
    """active: the feed-forward width that a token uses. total: that of all experts. flops: of the training run."""

    @model_validator(mode="after")
    def _consistent(self) -> "Axis":
        given = [name for name in ("grid", "zip", "points", "ladder") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"state exactly one of grid, zip, points, ladder; {', '.join(given) or 'none'} given")
        form, stated = given[0], getattr(self, given[0])
        if form != "ladder" and not stated:
            raise ValueError(f"{form} is empty; name at least one setting")
        if form in ("grid", "zip"):
            for name, values in stated.items():
                if not values:
                    raise ValueError(f"{form}.{name} is an empty list; give it at least one value")
        if form == "zip" and len({len(values) for values in stated.values()}) > 1:
            lengths = ", ".join(f"{name} {len(values)}" for name, values in stated.items())
            raise ValueError(f"the lists of zip must be equally long, and are not: {lengths}")
        if form == "ladder" and {"active", "total"} & set(self.hold):
            raise ValueError(
                "hold: a ladder changes the widths; hold active and total on the axis that varies the experts"
            )
        settings = set().union(*(point.settings for point in points(self)))
        clash = [name for name in TOKENS[:3] if name in settings]
        if "flops" in self.hold and clash:
            raise ValueError(f"hold: flops makes the tokens follow, and {clash[0]} sets them; leave out one")
        return self


@dataclass(frozen=True)
class Point:
    """One point of an axis or of a product of axes."""

    settings: dict[str, Any]
    """By name, in the order of the axes."""
    hold: frozenset[Hold] = frozenset()


def points(axis: Axis) -> list[Point]:
    """The points of one axis, in the order of writing; of a grid, the last setting changes fastest."""
    if axis.points is not None:
        found: Iterator[dict[str, Any]] = iter(axis.points)
    elif axis.ladder is not None:
        found = iter(axis.ladder.rungs())
    elif axis.zip is not None:
        found = (dict(zip(axis.zip, values, strict=True)) for values in zip(*axis.zip.values(), strict=True))
    else:
        assert axis.grid is not None
        _check_number(math.prod(map(len, axis.grid.values())))
        found = (dict(zip(axis.grid, values, strict=True)) for values in itertools.product(*axis.grid.values()))
    return [Point(settings, frozenset(axis.hold)) for settings in found]


def product(axes: Sequence[Axis]) -> list[Point]:
    """Every combination of the axes' points, the last axis fastest, with all that any axis holds; no axes: one point.

    Raises UserError where two axes, or two settings of one axis, say the same thing.
    """
    every = [points(axis) for axis in axes]
    _check_number(math.prod(map(len, every)))
    owners: dict[str, int] = {}
    for index, along in enumerate(every):
        for name in dict.fromkeys(name for point in along for name in point.settings):
            if name in owners:
                raise UserError(f"axes[{owners[name]}] and axes[{index}] both set {name}; leave it to one of them")
            owners[name] = index
    _check_one_says_it(owners, axes)
    hold = frozenset[Hold]().union(*(axis.hold for axis in axes))
    return [
        Point({name: value for point in chosen for name, value in point.settings.items()}, hold)
        for chosen in itertools.product(*every)
    ]


def check_run_count(axes: Sequence[Axis], seeds: int) -> None:
    """UserError for more runs, cells times seeds, than a sweep takes; found before any cell is made."""
    cells = math.prod(len(points(axis)) for axis in axes)
    _check_number(cells)
    if cells * seeds > LARGEST_PRODUCT:
        raise UserError(
            f"seeds: {cells:,} cells x {seeds:,} seeds are {cells * seeds:,} runs, more than the {LARGEST_PRODUCT:,} "
            "that a sweep takes"
        )


def _check_one_says_it(owners: dict[str, int], axes: Sequence[Axis]) -> None:
    rules = [name for name in TOKENS if name in owners]
    if len(rules) > 1:
        raise UserError(f"axes: {rules[0]} and {rules[1]} both set the training tokens; leave out one")
    for name in owners:
        parents = (name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1))
        parent = next((parent for parent in parents if parent in owners), None)
        if parent is not None:
            raise UserError(f"axes: {name} is a part of {parent}, which is set too; write it there")
    for index, axis in enumerate(axes):
        scales = any(owners.get(name) == index for name in (*BACKBONE_SIZES, "architecture"))
        if "flops" in axis.hold and scales and rules and rules[0] != "train_flops":
            raise UserError(
                f"axes[{index}].hold: flops are to stay the same over models whose tokens {rules[0]} sets; set "
                "train_flops instead"
            )


def _check_number(number: int) -> None:
    if number > LARGEST_PRODUCT:
        raise UserError(f"axes: {number:,} cells are more than the {LARGEST_PRODUCT:,} that a sweep takes")
