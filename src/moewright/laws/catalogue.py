"""Every published law by name. A new one is a file in `published` and its line in `LAWS`."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module

from moewright.complaints import one_of
from moewright.laws.law import Law

LAWS: Mapping[str, str] = {
    "zhao2025": "zhao2025.LAW",
    "ludziejewski2025": "ludziejewski2025.LAW",
    "clark2022": "clark2022.LAW",
    "krajewski2024": "krajewski2024.LAW",
    "abnar2025": "abnar2025.LAW",
    "ling2025": "ling2025.LAW",
    "flame2025": "flame2025.LAW",
    "marin2026": "marin2026.LAW",
    "epoch2024": "hoffmann2022.EPOCH2024",
    "hoffmann2022": "hoffmann2022.LAW",
    "wan2026": "wan2026.LAW",
    "liew2026": "liew2026.LAW",
    "yun2024": "yun2024.LAW",
    "wang2024": "wang2024.LAW",
    "slicing2026": "slicing2026.LAW",
    "steplaw": "steplaw.LAW",
    "ludziejewski2025_lr": "ludziejewski2025.LEARNING_RATE",
    "li2025": "li2025.LAW",
    "k2": "k2.LAW",
}
"""The name of a law, and the module of `published` and the name there that hold it. Loaded when asked for."""


@cache
def _load(name: str) -> Law:
    module, attribute = LAWS[name].split(".")
    law: Law = getattr(import_module(f"moewright.laws.published.{module}"), attribute)
    assert law.name == name, f"the catalogue calls {law.name} {name}"
    return law


def names() -> list[str]:
    """The names that `get` knows."""
    return list(LAWS)


def judges() -> tuple[Law, ...]:
    """The published laws that may rank mixtures; see `Law.judges`."""
    return tuple(law for law in map(_load, LAWS) if law.judges.reason is None)


def get(name: str) -> Law:
    """A published law; UserError with the nearest name for an unknown one.

    >>> from moewright import laws
    >>> laws.get("krajewski2024").title
    'Law of fine-grained experts over total parameters, tokens and granularity'
    """
    return _load(one_of(name, "law", LAWS))
