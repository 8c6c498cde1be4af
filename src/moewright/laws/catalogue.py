"""Every published law by name."""

from moewright.complaints import hint
from moewright.errors import UserError
from moewright.laws.law import Law
from moewright.laws.published import (
    abnar2025,
    clark2022,
    dense,
    forms,
    frontiers,
    krajewski2024,
    ling2025,
    ludziejewski2025,
    rules,
    slicing2026,
    zhao2025,
)

_LAWS = {
    law.name: law
    for law in (
        zhao2025.LAW,
        ludziejewski2025.LAW,
        clark2022.LAW,
        krajewski2024.LAW,
        abnar2025.LAW,
        ling2025.LAW,
        dense.FLAME2025,
        frontiers.MARIN2026,
        dense.EPOCH2024,
        dense.HOFFMANN2022,
        frontiers.WAN2026,
        forms.LIEW2026,
        forms.YUN2024,
        forms.WANG2024,
        slicing2026.LAW,
        rules.STEPLAW,
        ludziejewski2025.LEARNING_RATE,
        rules.LI2025,
        rules.K2,
    )
}


def names() -> list[str]:
    """The names that `get` knows."""
    return list(_LAWS)


def judges() -> tuple[Law, ...]:
    """The published laws that may rank mixtures; see `Law.judges`."""
    return tuple(law for law in _LAWS.values() if law.judges.reason is None)


def get(name: str) -> Law:
    """A published law; UserError with the nearest name for an unknown one."""
    if name not in _LAWS:
        raise UserError(f"law: unknown {name!r}{hint(name, _LAWS)}")
    return _LAWS[name]
