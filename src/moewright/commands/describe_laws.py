"""`moewright laws`: the scaling laws that are known, and what one of them says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from moewright.commands.checking import command
from moewright.errors import UserError

if TYPE_CHECKING:
    from moewright.laws import Evidence, Law
    from moewright.laws.description import LawDescription, LawList


@overload
def describe_laws(name: None = None, *, evidence: Literal[False] = False) -> LawList: ...


@overload
def describe_laws(name: None = None, *, evidence: Literal[True]) -> Evidence: ...


@overload
def describe_laws(name: str | Path | Law, *, evidence: Literal[False] = False) -> LawDescription: ...


@command
def describe_laws(
    name: str | Path | Law | None = None, *, evidence: bool = False
) -> LawList | LawDescription | Evidence:
    """Which scaling laws are there, what does each say, and how often was it right?

    Args:
        name: A law's name, or the file of a fitted one. [default: list all]
        evidence: How often each law that may rank mixtures, and ways to combine them, were right about public runs.

    Raises:
        UserError: For a law that is not known, or a file that holds none.
    """
    from moewright import laws
    from moewright.laws import describe, describe_all, resolve_law

    if evidence:
        if name is not None:
            raise UserError("evidence: it is about all laws together; leave out the name")
        return laws.evidence()
    return describe_all() if name is None else describe(resolve_law(name))
