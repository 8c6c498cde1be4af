"""Templates of commands: `{names}` that stand for a run's values, which are quoted here and nowhere else."""

import re
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
        if "\0" in text:
            raise UserError(f"{where}: a NUL byte is in no command")
        names = []
        quotes = _Quotes()
        for literal, name, spec, conversion in _parts(text, where):
            quotes.read(literal)
            if name is None:
                continue
            if name in known and (spec or conversion):
                raise UserError(f"{where}: {{{name}}} has no format; write it alone, as {{{name}}}")
            if spec or conversion or not name.isidentifier():
                raise UserError(f"{where}: {{{brief(name)[:60]}}} is no placeholder; {_BRACES}")
            if name not in known:
                otherwise = f"known: {list_names(list(known))}; {_BRACES}"
                raise UserError(f"{where}: unknown placeholder {{{name}}}{hint(name, known, otherwise)}")
            quotes.read_value()
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


_CLOSES = {"$(": ")", "(": ")", "${": "}", "$'": "'"}
_NESTING = ("$(", "(", "${")
"""In which quotes begin anew, also where they stand in quotes themselves."""
_BEGINS_COMMENT = re.compile(r"(?:^|[\s;&|()])$")
_DOCUMENT = re.compile(r"(?<!<)<<-?[ \t]*(?!<)")
_ITS_END = re.compile(r"['\"\\]?([A-Za-z_][\w.-]*)")


class _Quotes:
    """Which quotes of bash, and which here-document, the text so far has opened and not closed."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._escaped = self._in_comment = False
        self._line = self._bare = ""
        """The line so far; the same with NULs for what is quoted."""
        self._documents: list[str] = []
        """The lines that end the here-documents begun."""
        self._in_document = False

    @property
    def within(self) -> str | None:
        """What a value would stand in that reads quotes otherwise; None: nothing."""
        if self._in_document:
            return f"the here-document until {self._documents[0]}"
        return next((each for each in self._open if each not in _NESTING), None)

    def read(self, text: str) -> None:
        for character in text:
            if character == "\n" and not self._escaped:
                self._end_line()
            elif self._in_document:
                self._line += character
            elif not self._in_comment:
                is_quoted = self._escaped or self.within is not None
                self._take(character)
                if not (is_quoted and character == "\n"):  # one that is escaped ends no line
                    self._line, self._bare = self._line + character, self._bare + ("\0" if is_quoted else character)

    def read_value(self) -> None:
        """A placeholder: a word, or the middle of one."""
        self._line, self._bare = self._line + "\0", self._bare + "\0"

    def _end_line(self) -> None:
        self._in_comment = False
        if self._in_document:
            if self._line.lstrip("\t") == self._documents[0]:
                self._documents.pop(0)
        elif "((" not in self._bare:  # whose << moves bits
            begun = (_ITS_END.match(self._line, found.end()) for found in _DOCUMENT.finditer(self._bare))
            self._documents += [each[1] for each in begun if each is not None]
        self._in_document = bool(self._documents) and (self._in_document or self.within is None)
        self._line = self._bare = ""

    def _take(self, character: str) -> None:
        top = self._open[-1] if self._open else ""
        if self._escaped:
            self._escaped = False
        elif character == "\\" and top != "'":
            self._escaped = True
        elif top and character == _CLOSES.get(top, top):
            self._open.pop()
        elif top in ("'", "$'"):
            pass
        elif character in "({" and self._line.endswith("$"):
            self._open.append(f"${character}")
        elif (character == "(" and top in ("$(", "(")) or character == "`" or (character == '"' and top != '"'):
            self._open.append(character)
        elif character == "'" and top != '"':
            self._open.append("$'" if self._line.endswith("$") else character)
        elif character == "#" and top not in ('"', "${") and _BEGINS_COMMENT.search(self._bare):
            self._in_comment = True
