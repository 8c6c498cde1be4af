"""Typed, watchful access to what a quantiser's settings say: every value is checked, every key is accounted for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from moewright.complaints import MISSPELT, near_name
from moewright.errors import UserError
from moewright.hf.module_patterns import ModulePatterns
from moewright.quantities import brief

_MOST_NAMED = 3
"""Keys that a message names; the others are counted."""
_LONGEST = 50
"""Letters of a key, of which the last tell most."""


class QuantizerSettings:
    """One mapping of a quantiser's settings, with a record of what was read of it.

    `place` is where it stands among the settings, with `*` for names that publishers choose; `beneath` is what it
    overrides: keys that it does not have are read there.
    """

    def __init__(
        self, values: Mapping[str, Any], prefix: str, place: str = "", beneath: QuantizerSettings | None = None
    ) -> None:
        self.values, self.prefix = values, prefix
        self._place, self._beneath = place, beneath
        self._read: set[str] = set()
        self._inside: dict[str, QuantizerSettings] = {}

    def over(self, beneath: QuantizerSettings) -> QuantizerSettings:
        """The same settings, where what is absent is read in `beneath`."""
        self._beneath = beneath
        return self

    def get(self, key: str) -> Any:
        """The value as it stands; None where it is absent or null."""
        self._read.add(key)
        value = self.values.get(key)
        return self._beneath.get(key) if value is None and self._beneath is not None else value

    def error(self, key: str, expected: str) -> UserError:
        """What is wrong with a value."""
        return UserError(f"{self.prefix}.{key}: expected {expected}, found {brief(self.get(key))}")

    def text(self, key: str, default: str = "") -> str:
        """A word."""
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            raise self.error(key, "a word")
        return default if value is None else value

    def integer(self, key: str, default: int | None = None) -> int:
        """An integer of at least -1."""
        value = self.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value <= 2**31:
            raise self.error(key, "an integer")
        return value

    def bits(self, key: str, default: int | None = None) -> int:
        """How many bits an element has."""
        value = self.integer(key, default)
        if not 1 <= value <= 16:
            raise self.error(key, "1 to 16 bits")
        return value

    def group(self, key: str = "group_size", default: int | None = None) -> int:
        """Elements of a row that share a scale; 0 stands for the whole row."""
        value = self.integer(key, default)
        if value == 0:
            raise self.error(key, "a positive integer, or -1 for whole rows")
        return max(value, 0)

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.error(key, "true or false")
        return default if value is None else value

    def section(self, key: str, named_by_publisher: bool = False) -> QuantizerSettings:
        """The settings under a key; none where it is absent."""
        value = self.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.error(key, "a mapping")
        if key not in self._inside:
            place = f"{self._place}{'*' if named_by_publisher else key}."
            self._inside[key] = QuantizerSettings(value or {}, f"{self.prefix}.{key}", place)
        return self._inside[key]

    def sections(self, key: str) -> dict[str, QuantizerSettings]:
        """The settings under each name that publishers chose under a key."""
        inner = self.section(key)
        return {name: inner.section(name, named_by_publisher=True) for name in inner.values}

    def patterns(self, *keys: str, part_of_word: bool = False) -> ModulePatterns:
        """The list under the first key that is there; another one counts as read only if it is the same."""
        there = [key for key in keys if self.values.get(key) is not None] or list(keys[:1])
        value = self.get(there[0])
        for key in there[1:]:
            if self.values[key] == value:
                self._read.add(key)
        if value is None:
            return ModulePatterns((), self.prefix)
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise self.error(there[0], "a list of module names")
        return ModulePatterns(value, f"{self.prefix}.{there[0]}", part_of_word)

    def unread(self, neutral: Collection[str]) -> Iterator[tuple[str, Any]]:
        """Keys that nobody read and that are not among `neutral` (`config_groups.*.weights.observer`), with values."""
        for key, value in self.values.items():
            if key in self._inside:
                yield from self._inside[key].unread(neutral)
            elif key not in self._read and f"{self._place}{key}" not in neutral:
                yield f"{self.prefix}.{key}", value

    def known_keys(self, neutral: Collection[str]) -> list[str]:
        """What stands or might stand directly in these settings."""
        place = self._place
        beside = (each.removeprefix(place) for each in neutral if each.startswith(place))
        return sorted(self._read | {each for each in beside if "." not in each})


def keys_in_words(keys: list[str], known: list[str]) -> str:
    """`a`, `a and 2 more`; with the nearest known key where the first is probably a slip."""
    shown = ", ".join(brief(key if len(key) < _LONGEST else f"...{key[-_LONGEST:]}") for key in keys[:_MOST_NAMED])
    more = f" and {len(keys) - _MOST_NAMED:,} more" if len(keys) > _MOST_NAMED else ""
    word = keys[0][-_LONGEST:].rpartition(".")[2]
    near = near_name(word, known, MISSPELT)
    return f"{shown}{more}" + (f" (did you mean {near}?)" if near else "")
