"""The published models as `moewright models` shows them: all of them, and one."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from moewright.architecture import counts
from moewright.display import Shown, ShownTable
from moewright.hf.published_models import Figure, ModelEntry, get_model, model_names
from moewright.records import Items, Output, Record


class ModelLine(Record):
    """One model in the list."""

    name: str
    hub_id: str
    released: str | None
    license: str | None
    total_params: int
    active_params: int
    """Exact counts of the language model, by the publisher's convention for the embedding."""
    num_experts: int | None
    """Of the largest mixture; null for a dense model."""
    training_tokens: str | None
    """As published."""


class ModelList(ShownTable, Output):
    """All published models that come with moewright, one line each."""

    command: ClassVar[str] = "models"
    models: Items[ModelLine]

    def _facts(self) -> Mapping[str, Any]:
        return {"models": len(self.models)}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [line.to_dict() for line in self.models]


class ModelDescription(Shown, Output):
    """What is known about one published model; `moewright inspect NAME` counts it."""

    command: ClassVar[str] = "models NAME"
    name: str
    hub_id: str
    released: str | None
    license: str | None
    family: str
    total_params: int
    active_params: int
    active_counts_embedding: bool
    published_total: Figure | None
    published_active: Figure | None
    beside: str | None
    """What the published total has beside the language model that is counted here."""
    training_tokens: Figure | None
    config: str
    """What the architecture was read from."""
    published_dtype: str | None
    published_weights_bytes: int | None
    architecture: Mapping[str, Any]
    """As a moewright file has it."""

    def _facts(self) -> Mapping[str, Any]:
        names = ("name", "hub_id", "released", "license", "total_params", "active_params")
        return {name: getattr(self, name) for name in names}


def list_models() -> ModelList:
    """A line for each model, the largest last.

    >>> len(list_models().models) >= 60
    True
    """
    lines = [_line(get_model(name)) for name in model_names()]
    return ModelList(models=tuple(sorted(lines, key=lambda line: (line.total_params, line.name))))


def describe_model(name: str) -> ModelDescription:
    """What is known about a model. Raises UserError with the nearest name.

    >>> describe_model("mixtral-8x7b").total_params
    46702792704
    """
    entry = get_model(name)
    published = entry.published()
    return ModelDescription(
        name=entry.name,
        hub_id=entry.hub_id,
        released=entry.released,
        license=entry.license,
        family=entry.family,
        total_params=counts.total_params(entry.architecture),
        active_params=counts.active_params(entry.architecture, entry.active_counts_embedding),
        active_counts_embedding=entry.active_counts_embedding,
        published_total=entry.total,
        published_active=entry.active,
        beside=entry.beside,
        training_tokens=entry.training_tokens,
        config=entry.config,
        published_dtype=published.dtype,
        published_weights_bytes=published.total_bytes,
        architecture=entry.architecture.to_dict(),
    )


def _line(entry: ModelEntry) -> ModelLine:
    architecture = entry.architecture
    mixtures = [sum(group.count for group in moe.groups) for _, moe in architecture.moe_layers()]
    return ModelLine(
        name=entry.name,
        hub_id=entry.hub_id,
        released=entry.released,
        license=entry.license,
        total_params=counts.total_params(architecture),
        active_params=counts.active_params(architecture, entry.active_counts_embedding),
        num_experts=max(mixtures, default=None),
        training_tokens=None if entry.training_tokens is None else entry.training_tokens.value,
    )
