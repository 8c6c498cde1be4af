"""Every published law by name."""

from moewright.errors import UserError
from moewright.laws.law import Law
from moewright.laws.published import zhao2025

_LAWS = {law.name: law for law in (zhao2025.LAW,)}


def names() -> list[str]:
    """The names that `get` knows."""
    return list(_LAWS)


def get(name: str) -> Law:
    """A published law; UserError with the nearest name for an unknown one."""
    if name not in _LAWS:
        import difflib

        near = difflib.get_close_matches(name, _LAWS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"no law is named {name!r}: {hint}known are {', '.join(_LAWS)}")
    return _LAWS[name]
