"""`moewright laws`: the scaling laws that are known, and what one of them says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, overload

from moewright.commands.checking import command

if TYPE_CHECKING:
    from moewright.laws import Law
    from moewright.laws.description import LawDescription, LawList


@overload
def describe_laws(name: None = None) -> LawList: ...


@overload
def describe_laws(name: str | Path | Law) -> LawDescription: ...


@command
def describe_laws(name: str | Path | Law | None = None) -> LawList | LawDescription:
    """Which scaling laws are there, and what does each say?

    Args:
        name: A law's name, or the file of a fitted one. [default: list all]

    Raises:
        UserError: For a law that is not known, or a file that holds none.
    """
    from moewright.laws import describe, describe_all, resolve_law

    return describe_all() if name is None else describe(resolve_law(name))
