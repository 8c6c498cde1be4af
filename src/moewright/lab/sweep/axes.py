"""The axes of a sweep: what varies, as lists of points, and their product."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from moewright.architecture.part import Part, Positive, Size

Hold = Literal["active", "total", "flops"]


class Shape(Part):
    """One rung of a ladder, written out."""

    hidden_size: Size
    num_layers: Size
    num_heads: Size


class Ladder(Part):
    """Sizes from one dial: the depth sets the width, the heads and, if asked for, the tokens."""

    num_layers: Annotated[tuple[Size, ...], Field(min_length=1, strict=False)] | None = None
    width_per_layer: Size | None = None
    """hidden_size = num_layers x width_per_layer."""
    head_dim: Size | None = None
    """num_heads = hidden_size / head_dim."""
    shapes: Annotated[tuple[Shape, ...], Field(min_length=1, strict=False)] | None = None
    """Instead of the dial: the rungs themselves."""
    tokens_per_active_param: Positive | None = None
    tokens_per_total_param: Positive | None = None
    """Training tokens of each cell, rounded up to whole batches. Neither: the recipe's train_tokens."""


class Axis(Part):
    """One axis: exactly one of its forms, and what stays the same along it."""

    grid: dict[str, list[Any]] | None = None
    """Every combination of the values of these settings."""
    zip: dict[str, list[Any]] | None = None
    """The first values together, the second together, and so on."""
    points: Annotated[tuple[dict[str, Any], ...], Field(strict=False)] | None = None
    """Points written out, each a mapping of settings."""
    ladder: Ladder | None = None
    hold: Annotated[tuple[Hold, ...], Field(strict=False)] = ()
    """active: the feed-forward width that a token uses. total: that of all experts. flops: of the training run."""

    @model_validator(mode="after")
    def _one_form(self) -> "Axis":
        given = [name for name in ("grid", "zip", "points", "ladder") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"state exactly one of grid, zip, points, ladder; {', '.join(given) or 'none'} given")
        return self
