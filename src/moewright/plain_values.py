"""JSON and YAML texts as plain values: each key once, numbers as people expect them, and within bounds.

YAML is read by version 1.2's core schema: `4e-3`, `1e9`, `.5`, `0o17` and `0x1f` are numbers; yes, no, on, off, `1:30`,
`1_000` and dates are text. Beyond it the merge key `<<` is understood. Refused: what two readers would read differently
(a key or an anchor twice, `017`), tags, several documents, and files that grow: aliases count as what they stand for.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from moewright.foreign_text import needs_escapes, shortened, to_yaml

MOST_JSON_VALUES = 1_000_000
"""Ten times the entries of the largest public list of tensors; at most some 100 MB in memory."""
MOST_YAML_VALUES = 100_000
"""Values after aliases, merges included. A model with 1,000 unlike layers written out has 40,000."""
LARGEST_YAML = 8 * 2**20
"""Characters; one value may be as long."""
DEEPEST = 100
"""Levels of nesting. No description of moewright or transformers has ten."""
_LONGEST_KEY = 60
"""Characters of a key in a complaint."""
MOST_DIGITS = 40
"""Of a whole number: FLOPs of the largest training runs have 27."""


class UnfitTextError(ValueError):
    """One line: where in the text, and what is wrong. The caller knows the file."""


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits; nothing here has more than {MOST_DIGITS}")
    return int(digits)


_KINDS = {dict: "a mapping", list: "a list", str: "text", bool: "a truth value", int: "an integer", float: "a number"}


def kind_of(value: Any) -> str:
    """What a plain value is, in a complaint: a mapping, an integer, nothing."""
    return "nothing" if value is None else _KINDS.get(type(value), f"an object of {type(value).__name__}")


# JSON


def parse_json(text: str) -> Any:
    """The values of a JSON text. Raises UnfitTextError."""
    if sum(map(text.count, ",[{")) > MOST_JSON_VALUES:
        raise UnfitTextError(f"more than {MOST_JSON_VALUES:,} values are too many for one file")
    try:
        values = json.loads(text, object_pairs_hook=_each_key_once, parse_int=_whole)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise UnfitTextError(f"not valid JSON at {place}: {error.msg}; is the file complete?") from None
    except RecursionError:
        raise UnfitTextError("not valid JSON: nested too deeply") from None
    except ValueError as error:
        raise UnfitTextError(f"not valid JSON: {error}") from None
    _check_depth(values)
    if re.search(_ESCAPED_SURROGATE, text):
        try:
            json.dumps(values, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise UnfitTextError("not valid JSON: half of a surrogate pair (\\ud800 to \\udfff) is not text") from None
    return values


_ESCAPED_SURROGATE = r"\\u[dD][89a-fA-F]"


def parse_loosely(text: str | bytes) -> Any:
    """JSON that another program wrote or a kill cut short, within no bounds but Python's own. ValueError for what is
    none, and for what is nested too deeply, where json raises RecursionError."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(str(error)) from None


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {shortened(repr(twice), _LONGEST_KEY)} occurs twice")
    return mapping


def _check_depth(values: Any) -> None:
    level, depth = [values], 0
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        if depth > DEEPEST:
            raise UnfitTextError(f"not valid JSON: nested more than {DEEPEST} levels deep")
        level = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]


# YAML


def parse_yaml(text: str) -> Any:
    """The values of the one document of a YAML text. Raises UnfitTextError."""
    import yaml  # slow to import, and most users give JSON

    if len(text) > LARGEST_YAML:
        raise UnfitTextError(f"{len(text):,} characters of YAML are more than the {LARGEST_YAML:,} that are read")
    try:
        return _YamlReader(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))).document()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
        raise UnfitTextError(f"not valid YAML{place}: {problem}") from None


def dump_yaml(mapping: Mapping[str, Any]) -> str:
    """The values as YAML that `parse_yaml` reads back to the same."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Quotes what 1.2's core schema, or an older reader, would take for a number."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Dumper, value: str) -> yaml.Node:
        style = None if _reads_as_text(value) and not needs_escapes(value) else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return to_yaml(yaml.dump(mapping, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120))


_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# Compiled when they are first asked for, which most commands never do.
_WHOLE = r"[-+]?[0-9]+"
_OCTAL = r"0o([0-7]+)"
_HEXADECIMAL = r"0x([0-9a-fA-F]+)"
_FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
_INFINITE = r"([-+]?)\.(inf|Inf|INF)"
_NOT_A_NUMBER = (".nan", ".NaN", ".NAN")
_LEADING_ZERO = r"[-+]?0[0-9]+"


def plain_scalar(text: str) -> Any:
    """What an unquoted word means by the core schema (YAML 1.2.2, section 10.3.2): null, a truth value, a number, text.

    Raises ValueError for 017, which is 15 to YAML 1.1 and 17 to 1.2, and for a number with too many digits.
    """
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[0] not in "-+.0123456789":
        return text
    if re.fullmatch(_WHOLE, text):
        if re.fullmatch(_LEADING_ZERO, text):
            raise ValueError(f"{text} is octal to some readers and decimal to others; write it without the first 0, or "
                             f"in quotes if it is text")  # fmt: skip
        return _whole(text)
    for pattern, base in ((_OCTAL, 8), (_HEXADECIMAL, 16)):
        if found := re.fullmatch(pattern, text):
            if len(text) > MOST_DIGITS:
                raise ValueError(f"a number of {len(text)} digits; nothing here has more than {MOST_DIGITS}")
            return int(found[1], base)
    if re.fullmatch(_FLOAT, text):
        return float(text)
    if found := re.fullmatch(_INFINITE, text):
        return -math.inf if found[1] == "-" else math.inf
    return math.nan if text in _NOT_A_NUMBER else text


def _reads_as_text(text: str) -> bool:
    try:
        return isinstance(plain_scalar(text), str)
    except ValueError:
        return False


class _YamlReader:
    """Plain values from the parser's events. Values of anchors are copied where aliases stand, so all that is built is
    counted."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._event: Any = None
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        self._values = 0

    def document(self) -> Any:
        """The only document; None for a text without one."""
        self._next()  # the stream begins
        if self._next() == "StreamEndEvent":
            return None
        self._next()  # the document has begun
        value = self._value(0)
        self._next()  # it ends
        if self._next() != "StreamEndEvent":
            self._fail("a second document begins; give one file for each")
        return value

    def _next(self) -> str:
        self._event = next(self._events)
        return type(self._event).__name__

    def _fail(self, problem: str, event: Any = None) -> NoReturn:
        mark = (event or self._event).start_mark
        raise UnfitTextError(f"line {mark.line + 1}, column {mark.column + 1}: {problem}")

    def _count(self, values: int) -> None:
        self._values += values
        if self._values > MOST_YAML_VALUES:
            self._fail(f"more than {MOST_YAML_VALUES:,} values, aliases written out: too many for one file")

    def _value(self, depth: int) -> Any:
        """The value that begins at the current event; afterwards the current event is its last."""
        event, kind = self._event, type(self._event).__name__
        if kind == "AliasEvent":
            return self._alias()
        before = self._values
        self._count(1)
        if depth > DEEPEST:
            self._fail(f"nested more than {DEEPEST} levels deep")
        if event.anchor is not None:
            if event.anchor in self._anchors:
                self._fail(f"the anchor &{shortened(event.anchor, _LONGEST_KEY)} stands twice; give each its own name")
            self._anchors[event.anchor] = None  # until it is complete
        if kind == "ScalarEvent":
            value = self._scalar()
        else:
            if event.tag not in (None, "!"):
                self._fail(f"the tag {_tag(event.tag)} is not read; write plain values")
            value = self._mapping(depth) if kind == "MappingStartEvent" else self._sequence(depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._values - before)
        return value

    def _alias(self) -> Any:
        name = self._event.anchor
        if name not in self._anchors:
            self._fail(f"*{name} stands for nothing: no &{name} before it")
        found = self._anchors[name]
        if found is None:
            self._fail(f"*{name} would contain itself")
        value, size = found
        self._count(size)
        return _copy(value)

    def _scalar(self) -> Any:
        event = self._event
        if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
            self._fail(f"the tag {_tag(event.tag)} is not read; write plain values")
        if event.tag is not None or not event.implicit[0]:
            return event.value
        try:
            return plain_scalar(event.value)
        except ValueError as error:
            self._fail(str(error))

    def _sequence(self, depth: int) -> list[Any]:
        found = []
        while self._next() != "SequenceEndEvent":
            found.append(self._value(depth + 1))
        return found

    def _mapping(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: dict[str, Any] = {}
        while self._next() != "MappingEndEvent":
            place = self._event
            merges = type(place).__name__ == "ScalarEvent" and place.value == "<<" and place.implicit[0]
            key = self._value(depth + 1)
            if not isinstance(key, str):
                self._fail(f"the key {shortened(repr(key), _LONGEST_KEY)} is not text; put it in quotes", place)
            if key in lines:
                self._fail(
                    f"the key {shortened(repr(key), _LONGEST_KEY)} occurs twice, first at line {lines[key]}", place
                )
            lines[key] = place.start_mark.line + 1
            self._next()
            value = self._value(depth + 1)
            if merges:
                merged = self._merged(value, place)
            else:
                found[key] = value
        return merged | found if merged else found

    def _merged(self, value: Any, place: Any) -> dict[str, Any]:
        """What `<<` brings: a mapping, or several of which the first wins; a mapping's own keys win over both."""
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            self._fail("<< takes a mapping or a list of mappings", place)
        return {key: item for source in reversed(sources) for key, item in source.items()}


def _tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")[:60]


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
