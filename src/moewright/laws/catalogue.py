"""Every published law by name. A new one is a file in `published` and its line here."""

from moewright.complaints import hint
from moewright.errors import UserError
from moewright.laws.law import Law
from moewright.laws.published import (
    abnar2025,
    clark2022,
    flame2025,
    hoffmann2022,
    k2,
    krajewski2024,
    li2025,
    liew2026,
    ling2025,
    ludziejewski2025,
    marin2026,
    slicing2026,
    steplaw,
    wan2026,
    wang2024,
    yun2024,
    zhao2025,
)

_LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        zhao2025.LAW,
        ludziejewski2025.LAW,
        clark2022.LAW,
        krajewski2024.LAW,
        abnar2025.LAW,
        ling2025.LAW,
        flame2025.LAW,
        marin2026.LAW,
        hoffmann2022.EPOCH2024,
        hoffmann2022.LAW,
        wan2026.LAW,
        liew2026.LAW,
        yun2024.LAW,
        wang2024.LAW,
        slicing2026.LAW,
        steplaw.LAW,
        ludziejewski2025.LEARNING_RATE,
        li2025.LAW,
        k2.LAW,
    )
}


def names() -> list[str]:
    """The names that `get` knows."""
    return list(_LAWS)


def judges() -> tuple[Law, ...]:
    """The published laws that may rank mixtures; see `Law.judges`."""
    return tuple(law for law in _LAWS.values() if law.judges.reason is None)


def get(name: str) -> Law:
    """A published law; UserError with the nearest name for an unknown one.

    >>> from moewright import laws
    >>> laws.get("krajewski2024").title
    'Law of fine-grained experts over total parameters, tokens and granularity'
    """
    if name not in _LAWS:
        raise UserError(f"law: unknown {name!r}{hint(name, _LAWS)}")
    return _LAWS[name]
