"""Templates of commands: `{names}` that stand for a run's values, which are quoted here and nowhere else."""

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from moewright.complaints import hint, list_names
from moewright.errors import UserError
from moewright.foreign_text import shell_words
from moewright.quantities import brief

PlaceholderValue = str | Path | int | float | tuple[Path, ...]
"""What a name stands for: one argument, or several."""


_BRACES = "write {{ and }} for braces of the shell's own"


@dataclass(frozen=True)
class Template:
    """A command with placeholders."""

    text: str
    names: tuple[str, ...]
    """In the order of the text."""

    @classmethod
    def read(cls, text: str, known: Mapping[str, str], where: str) -> "Template":
        """Check a template. UserError for a name that is not among `known`, one in quotes, and a brace that is none."""
        names = []
        quotes = _Quotes()
        for literal, name, spec, conversion in _parts(text, where):
            quotes.read(literal)
            if name is None:
                continue
            if spec or conversion or not name.isidentifier():
                raise UserError(f"{where}: {{{brief(name)[:60]}}} is no placeholder; {_BRACES}")
            if name not in known:
                otherwise = f"known: {list_names(list(known))}; {_BRACES}"
                raise UserError(f"{where}: unknown placeholder {{{name}}}{hint(name, known, otherwise)}")
            if quotes.within is not None:
                told = "leave the quotes out: values are quoted already"
                raise UserError(f"{where}: {{{name}}} stands within {quotes.within}; {told}")
            names.append(name)
        if not text.strip():
            raise UserError(f"{where}: is empty; give the command that trains one run")
        return cls(text, tuple(names))

    def fill(self, values: Mapping[str, PlaceholderValue]) -> str:
        """The command with values in the place of names. ValueError for what no argument can be."""
        return self.text.format(**{name: quoted(values[name]) for name in self.names})


def quoted(value: PlaceholderValue) -> str:
    """A value as one argument of bash, or several."""
    if isinstance(value, tuple):
        return shell_words(*value)
    return shell_words(value if isinstance(value, str | Path) else repr(value))


def _parts(text: str, where: str) -> Iterator[tuple[str, str | None, str | None, str | None]]:
    try:
        yield from string.Formatter().parse(text)
    except ValueError as error:
        raise UserError(f"{where}: {error}; {_BRACES}") from None


class _Quotes:
    """Which quotes of bash the text so far has opened and not closed."""

    def __init__(self) -> None:
        self.within: str | None = None
        self._escaped = self._in_comment = False
        self._before = "\n"

    def read(self, text: str) -> None:
        for character in text:
            self._take(character)
            self._before = character

    def _take(self, character: str) -> None:
        if self._in_comment:
            self._in_comment = character != "\n"
        elif self._escaped:
            self._escaped = False
        elif self.within == "'":
            self.within = None if character == "'" else "'"
        elif character == "\\":
            self._escaped = True
        elif self.within is not None:
            self.within = None if character == self.within else self.within
        elif character in "'\"`":
            self.within = character
        elif character == "#" and self._before.isspace():
            self._in_comment = True
