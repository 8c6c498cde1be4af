"""What makes a design plausible: each rule one object, with the field of the space that sets it and the reason there.

A rule is a quantity of a model between two bounds of a `Space`. The same quantities are taken of the published models
of the catalogue, so every rule can name those that stand outside of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from moewright.architecture import Architecture, counts, variables
from moewright.architecture.columns import ArchitectureColumns
from moewright.architecture.sizes import N
from moewright.architecture.spec import Countable
from moewright.designs.candidates import Candidates, IntColumn, columns
from moewright.designs.space import SWITCHED_OFF, Space
from moewright.hf.published_models import ModelEntry, get_model, model_names
from moewright.laws.variable import Mask


@dataclass(frozen=True)
class PlausibilityRule:
    """A quantity that a space bounds."""

    name: str
    fields: tuple[str, ...]
    """Of the space: (least, most), (least,) or an axis whose ends are the bounds."""
    value: Callable[[Architecture], float | None]
    """Of any mixture, the mean over layers that differ; None where it has no such thing."""

    def bounds(self, space: Space) -> tuple[float, float]:
        """The least and the most that the space allows."""
        found = [getattr(space, name) for name in self.fields]
        if isinstance(found[0], tuple):
            return float(min(found[0])), float(max(found[0]))
        return float(found[0]), float(found[1]) if len(found) > 1 else float("inf")

    def allows(self, architecture: Architecture, space: Space) -> bool:
        """Whether a model stands inside."""
        value = self.value(architecture)
        low, high = self.bounds(space)
        return value is None or low <= value <= high

    @property
    def reasons(self) -> tuple[str, ...]:
        """Of its fields."""
        return tuple(str(Space.model_fields[name].description) for name in self.fields)


def experts_share(architecture: Architecture) -> float:
    """Share of the layers' active parameters (embedding and head left out) in routed and shared experts.

    >>> f"{experts_share(get_model('qwen3-30b-a3b').architecture):.3f}"
    '0.664'
    """
    return experts_active_params(architecture) / counts.active_params_non_embedding(architecture)


def experts_active_params(architecture: Countable[N]) -> N:
    """Parameters that a token uses in routed and shared experts."""
    active = counts.active(architecture)
    return active["routed_experts"] + active["shared_experts"]


BILLION = 1e9
LAYERS_EXPONENT = 0.25
"""Of the active parameters, with which the fewest layers of published mixtures rise: 16 at 1.3B, 24 at 4.2B, 32 at
12.9B."""

RULES = (
    PlausibilityRule("width", ("widths",), lambda a: a.hidden_size),
    PlausibilityRule("layers", ("depths",), lambda a: a.num_layers),
    PlausibilityRule(
        "width/layers",
        ("least_width_over_depth", "most_width_over_depth"),
        lambda a: a.hidden_size / a.num_layers,
    ),
    PlausibilityRule("experts", ("experts",), variables.num_experts),
    PlausibilityRule("top_k", ("top_k",), variables.top_k),
    PlausibilityRule(
        "top_k/experts",
        ("least_active_share", "most_active_share"),
        lambda a: variables.top_k(a) / variables.num_experts(a),
    ),
    PlausibilityRule("shared experts", ("shared_experts",), variables.shared_experts),
    PlausibilityRule("expert size", ("least_expert_size",), variables.expert_size),
    PlausibilityRule(
        "expert size/width",
        ("least_expert_size_over_width", "most_expert_size_over_width"),
        lambda a: variables.expert_size(a) / a.hidden_size,
    ),
    PlausibilityRule("experts' share of active", ("least_experts_share", "most_experts_share"), experts_share),
    PlausibilityRule("active/total", ("least_active_over_total",), variables.activation_ratio),
    PlausibilityRule(
        "layers at 1B active",
        ("least_layers_at_1b_active",),
        lambda a: a.num_layers / (counts.active_params(a) / BILLION) ** LAYERS_EXPONENT,
    ),
)
"""Every rule that the catalogue can be held against; attention's width follows the model's (`heads_multiple`)."""


@cache
def published_mixtures() -> tuple[ModelEntry, ...]:
    """The mixtures of the catalogue, by name; their files are read once."""
    return tuple(entry for entry in map(get_model, model_names()) if entry.architecture.moe_layers())


def excluded(rule: PlausibilityRule, space: Space, models: Sequence[ModelEntry]) -> dict[str, float]:
    """The published models outside of a rule, with their values."""
    return {
        entry.name: float(rule.value(entry.architecture) or 0.0)
        for entry in models
        if not rule.allows(entry.architecture, space)
    }


def sizes_by_rules(groups: Candidates, space: Space) -> tuple[IntColumn, IntColumn]:
    """The narrowest and the widest expert of each group by the rules that count parameters; none where they cross.

    Counts are straight lines in the expert size, so each rule says p + q size >= 0: all sizes on one side of a point.
    """
    first, last = groups.expert_size, np.asarray(space.widest_size(groups.hidden_size))
    for at_zero, per_channel in _lines_at_least_zero(groups, space):
        first, last = _on_the_right_side(at_zero, per_channel, first, last, space.expert_size_step)
    return first, last


def rules_broken_by(designs: Candidates, space: Space) -> dict[str, Mask]:
    """By each rule of a space that counts parameters and excludes something: which designs (n,) break it.

    >>> from moewright.designs.candidates import empty
    >>> rules_broken_by(empty(), Space(least_active_over_total=0.0)).keys()
    dict_keys(['least_experts_share', 'most_experts_share', 'least_layers_at_1b_active'])
    """
    found = {}
    for name in SWITCHED_OFF:
        if space.bounds_by(name):
            others = {other: value for other, value in SWITCHED_OFF.items() if other != name}
            lines = _lines_at_least_zero(designs, space.model_copy(update=others))
            kept = [np.asarray(at_zero + per_channel * designs.expert_size >= 0) for at_zero, per_channel in lines]
            found[name] = ~np.logical_and.reduce(kept)
    return found


def _lines_at_least_zero(groups: Candidates, space: Space) -> list[tuple[Any, Any]]:
    least, most, active = space.least_experts_share, space.most_experts_share, space.least_active_over_total
    found = []
    if space.bounds_by("least_experts_share", "most_experts_share"):
        vocabulary = groups.vocabulary_params(space.vocab_size)
        experts, layers = _line(groups, "experts_active_params", space), _line(groups, "active_params", space)
        layers = layers[0] - vocabulary, layers[1]
        found += [
            (experts[0] - least * layers[0], experts[1] - least * layers[1]),
            (most * layers[0] - experts[0], most * layers[1] - experts[1]),
        ]
    if space.bounds_by("least_layers_at_1b_active"):
        most_active = BILLION * (groups.num_layers / space.least_layers_at_1b_active) ** (1 / LAYERS_EXPONENT)
        used = _line(groups, "active_params", space)
        found.append((most_active - used[0], -used[1]))
    if space.bounds_by("least_active_over_total"):
        used, all_of_it = _line(groups, "active_params", space), _line(groups, "total_params", space)
        found.append((used[0] - active * all_of_it[0], used[1] - active * all_of_it[1]))
    return found


LINE_COUNTS: Mapping[str, Callable[[ArchitectureColumns], Any]] = {
    "total_params": counts.total_params,
    "active_params": counts.active_params,
    "experts_active_params": experts_active_params,
}
"""What groups count as lines in the expert size."""


def _line(groups: Candidates, name: str, space: Space) -> tuple[Any, Any]:
    """(at size 0, per channel), counted here where the groups do not know it."""
    if name in groups.lines:
        return groups.lines[name]
    low, step = groups.expert_size, space.expert_size_step
    at_low, at_high = (
        np.asarray(LINE_COUNTS[name](columns(groups.with_expert_size(size), space.vocab_size)))
        for size in (low, low + step)
    )
    per_channel = (at_high - at_low) // step
    return at_low - per_channel * low, per_channel


def _on_the_right_side(
    at_zero: Any, per_channel: Any, first: IntColumn, last: IntColumn, step: int
) -> tuple[IntColumn, IntColumn]:
    """The sizes from first to last (in steps from first) at which at_zero + per_channel size >= 0."""

    def holds(size: Any) -> Any:
        return at_zero + per_channel * size >= 0

    steps = np.maximum((last - first) // step, 0)
    rising, falling = per_channel > 0, per_channel < 0
    with np.errstate(divide="ignore", invalid="ignore"):
        zero = np.where(per_channel == 0, 0.0, (-at_zero / per_channel - first) / step)
    zero = np.clip(np.nan_to_num(zero, posinf=0.0, neginf=0.0), -1, steps + 1)
    # The division rounds; the line itself decides at the point next to it.
    up = np.ceil(zero).astype(np.int64)
    up = np.where(holds(first + (up - 1) * step), up - 1, np.where(holds(first + up * step), up, up + 1))
    down = np.floor(zero).astype(np.int64)
    down = np.where(holds(first + (down + 1) * step), down + 1, np.where(holds(first + down * step), down, down - 1))
    none = ~rising & ~falling & (at_zero < 0)
    lowest = np.where(rising, np.maximum(up, 0), 0)
    highest = np.where(falling, np.minimum(down, steps), steps)
    return first + lowest * step, np.where(none | (last < first), first - step, first + highest * step)
