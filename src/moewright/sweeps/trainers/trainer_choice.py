"""Which trainer a sweep has: the lab, or one of the files here by its name."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from moewright.complaints import list_names, one_of
from moewright.errors import UserError
from moewright.quantities import brief
from moewright.sweeps.trainers import LAB, TRAINERS
from moewright.sweeps.trainers.trainer import Trainer


def trainer_of(stated: str | Mapping[str, Any] | None, named: str | None = None) -> Trainer | None:
    """The trainer of a sweep; None: the lab. `stated` is the specification's `trainer`, `named` the option's name.

    UserError for an unknown one, for settings that it does not have, and for an option that would leave settings of
    another trainer unused.
    """
    settings = {"kind": stated} if isinstance(stated, str) else dict(stated or {})
    known = (LAB, *TRAINERS)
    kind = settings.pop("kind", None)
    if kind is None and settings:
        raise UserError(f"trainer: kind is missing; give one of {list_names(known)}")
    if named is not None and kind not in (None, named):
        if settings:
            raise UserError(f"trainer: the specification has settings of {brief(kind)}; leave --trainer out, or them")
        kind = named
    kind = kind if named is None else named
    if kind is None or kind == LAB:
        if settings:
            raise UserError(f"trainer: the lab has no settings here, found {brief(next(iter(settings)))}")
        return None
    module, name = TRAINERS[one_of(kind, "trainer", known)].split(".")
    made: type[Trainer] = getattr(import_module(f"{__package__}.{module}"), name)
    return made.from_dict(settings, "trainer")
