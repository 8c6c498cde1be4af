"""What other trainers cannot do that a recipe may say: refused in one line, whatever the trainer."""

from collections.abc import Callable, Mapping

from moewright.errors import UserError
from moewright.experiment.balance_losses.switch import SwitchLoss
from moewright.experiment.recipe import Recipe
from moewright.experiment.routing import Dispatch

_USES: Mapping[str, Callable[[Recipe], bool]] = {
    "optimizer.kind muon": lambda recipe: recipe.optimizer.kind == "muon",
    "initialization.rule mup": lambda recipe: recipe.initialization.rule == "mup" and recipe.initial_weights is None,
    "initial_weights": lambda recipe: recipe.initial_weights is not None,
    "balancing.losses": lambda recipe: bool(recipe.balancing.losses),
    "balancing.z_loss": lambda recipe: recipe.balancing.z_loss > 0,
    "balancing.selection_bias": lambda recipe: recipe.balancing.selection_bias is not None,
    "dispatch": lambda recipe: recipe.dispatch != Dispatch(),
    "architecture.mtp_layers": lambda recipe: recipe.architecture.mtp_layers > 0,
    "document_mask": lambda recipe: recipe.document_mask,
    "recompute": lambda recipe: recipe.recompute,
    "parallel shard": lambda recipe: recipe.parallel == "shard",
    "mirrors": lambda recipe: bool(recipe.mirrors),
    "precision fp32": lambda recipe: recipe.precision == "fp32",
    "checkpoints.every_minutes": lambda recipe: (
        "every_minutes" in recipe.checkpoints.model_fields_set and recipe.checkpoints.every_minutes is not None
    ),
}
"""Whether a recipe uses what some trainers lack."""


def refuse_settings(recipe: Recipe, trainer: str, lacks: Mapping[str, str]) -> None:
    """UserError for the first setting in use that a trainer lacks: `lacks` names those of `_USES`, with the reason."""
    for setting, reason in lacks.items():
        if _USES[setting](recipe):
            raise UserError(f"{trainer} has no {setting}: {reason}")


def exported_balance(recipe: Recipe, trainer: str) -> float | None:
    """The weight of the recipe's balance loss in the exporters' convention: 1 when balanced, the mean over layers.

    UserError for what no exporter has: several losses, loads of other scopes, penalties by size.
    """
    losses = recipe.balancing.losses
    if not losses:
        return None
    (loss, *more) = losses
    if more or not isinstance(loss, SwitchLoss) or loss.size_penalty:
        raise UserError(f"{trainer} has one balance loss, Switch's without size_penalty; balancing.losses has another")
    if loss.scope != "micro_batch":
        raise UserError(f"{trainer} balances micro-batches; balancing.losses.scope is {loss.scope}")
    (_, first), *_ = recipe.architecture.moe_layers()
    weight = loss.weight * (first.top_k if loss.balanced_value == "top_k" else 1)
    return weight * (mixture_layers(recipe) if loss.layers == "sum" else 1)


def mixture_layers(recipe: Recipe) -> int:
    """Layers with experts."""
    return sum(repeat for repeat, _ in recipe.architecture.moe_layers())
