"""The balancing losses that a recipe may name, one file each. A new one is a file and its line in `LOSS_PLACES`."""

from collections.abc import Mapping
from functools import reduce
from importlib import import_module
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Discriminator, Tag

from moewright.experiment.balance_loss import BalanceLoss

LOSS_PLACES: Mapping[str, str] = {
    "switch": "switch.SwitchLoss",
}
"""The `kind` that a recipe gives, and the module and class here.

Recipes are older than kinds: one that gives none means switch, which has no such field. In all others `kind` is a field
with one value and no default, so that it stays in a run's id.
"""


def _load(place: str) -> type[BalanceLoss]:
    module, name = place.split(".")
    loss: type[BalanceLoss] = getattr(import_module(f"{__name__}.{module}"), name)
    return loss


LOSSES: Mapping[str, type[BalanceLoss]] = {kind: _load(place) for kind, place in LOSS_PLACES.items()}


def loss_named(given: Any) -> str:
    """The kind of a loss, itself or as plain values; what is none of them is left for validation to name."""
    kind = given.get("kind", "switch") if isinstance(given, Mapping) else getattr(given, "kind", "switch")
    return kind if isinstance(kind, str) else "switch"


if TYPE_CHECKING:
    AnyBalanceLoss = BalanceLoss
else:
    _choices = reduce(or_, (Annotated[loss, Tag(kind)] for kind, loss in LOSSES.items()))
    AnyBalanceLoss = Annotated[_choices, Discriminator(loss_named)] if len(LOSSES) > 1 else _choices
