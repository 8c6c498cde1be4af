"""The cells of a sweep: every point of the axes' product as a recipe with exact counts, or the reason why not."""

from dataclasses import dataclass
from typing import Any

from moewright.lab.recipe import Recipe


@dataclass(frozen=True)
class Cell:
    """One point of the product of all axes, without its seed."""

    settings: dict[str, Any]
    """What the axes set, in their order; equal cells have equal recipes, not always equal settings."""
    recipe: Recipe | None
    problem: str | None
    """Why there is no recipe: one line that names the setting and the sizes that do not fit."""
