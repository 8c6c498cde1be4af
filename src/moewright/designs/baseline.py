"""A published model as budgets, and how far it lies from what each law would have built with them."""

from dataclasses import dataclass
from typing import Any

from moewright.architecture import Architecture, counts, variables
from moewright.designs.budgets import Budgets
from moewright.designs.design_record import PublishedRecord
from moewright.designs.judges import JudgingLaw, loss_of
from moewright.errors import UserError
from moewright.hf.loading import ArchitectureSource, Loaded, load_architecture
from moewright.laws import InapplicableLaw
from moewright.laws.variable import Array

_TAKEN = ("memory", "total_params", "active_params", "decode_tokens_per_second", "time_to_first_token")


@dataclass(frozen=True)
class PublishedModel:
    """A published model beside the designs."""

    name: str
    architecture: Architecture
    total_params: int
    active_params: int
    """With the input embedding, as the budget counts."""
    sizes: dict[str, float]
    """Width, depth, E, K, shared experts and expert size, mean values where layers differ."""
    regret: dict[str, float]
    """By law: its loss above the law's best design; negative where it is outside the space searched and better."""
    silent: dict[str, str]
    """Laws that say nothing about it, with the reason."""
    warnings: tuple[str, ...]

    def answer(self) -> PublishedRecord:
        """For JSON."""
        return PublishedRecord(**{name: getattr(self, name) for name in PublishedRecord.model_fields})


def budgets_like(source: ArchitectureSource, given: dict[str, Any]) -> tuple[Loaded, dict[str, Any]]:
    """The model, and the budgets with its total and active parameters; UserError for budgets given twice."""
    clash = next((name for name in _TAKEN if given.get(name) is not None), None)
    if clash is not None:
        option = clash.replace("_", "-")
        raise UserError(f"{option}: --like takes the size and the active parameters from the model; leave it out")
    loaded = load_architecture(source)
    if not loaded.architecture.moe_layers():
        raise UserError(f"like: {loaded.name} is dense; there is no mixture to compare")
    counted = {
        "total_params": counts.total_params(loaded.architecture),
        "active_params": counts.active_params(loaded.architecture),
    }
    return loaded, {**given, **counted}


def compare_published(loaded: Loaded, judges: tuple[JudgingLaw, ...], best: Array, budgets: Budgets) -> PublishedModel:
    """The model's regret under every law that applies to it."""
    a = loaded.architecture
    regret, silent = {}, {}
    for judge, least in zip(judges, best, strict=True):
        try:
            regret[judge.name] = loss_of(judge, a, budgets) - float(least)
        except InapplicableLaw as reason:
            silent[judge.name] = str(reason).removeprefix(f"{judge.name} does not apply: ")
    sizes = {
        "hidden_size": a.hidden_size,
        "num_layers": a.num_layers,
        "num_experts": variables.num_experts(a),
        "top_k": variables.top_k(a),
        "shared_experts": variables.shared_experts(a),
        "expert_size": variables.expert_size(a),
    }
    total, active = counts.total_params(a), counts.active_params(a)
    return PublishedModel(loaded.name, a, total, active, sizes, regret, silent, loaded.warnings)
