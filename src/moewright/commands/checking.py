"""What a command's arguments may be, read from its signature: the same lines of complaint in Python and in a terminal.

Annotations are taken as they are written, not evaluated: a value is compared by the names of its classes, so that
neither a signature nor a check loads pandas, or the room whose object might have been given.
"""

from __future__ import annotations

import ast
import errno
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import cache, wraps
from inspect import Parameter, cleandoc, signature
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from moewright.complaints import brief_name, hint
from moewright.errors import UserError
from moewright.files import file_identity
from moewright.plain_values import plain_scalar
from moewright.quantities import brief

if TYPE_CHECKING:
    from moewright.outputs import Place

Inputs = ParamSpec("Inputs")
Result = TypeVar("Result")

LONGEST_TEXT, LONGEST_NAME = 4096, 255
"""Characters of an argument and bytes of a file's name: Linux' PATH_MAX and NAME_MAX."""
SHOWN = 60
"""Characters of a value that a complaint repeats."""
_UNFIT = object()
_TEXTS = ("str", "WeightFormatName", "CacheDtype", "LatentCache", "WindowCache")
"""What text may be; which names a format has, the room that owns it says."""
OUTPUTS = ("out", "plots", "curves", "preregister")
"""Names of arguments that are places for results in whatever command has them."""
_WRITES_NOTHING = ("dry_run", "print_space")
"""Arguments with which a command leaves its outputs alone."""
_MAY_REPEAT = ("config",)
"""Lists in which one thing may stand twice: a model beside itself is alike. In others it would count twice."""
_IMPOSSIBLE_PATHS = (errno.ENAMETOOLONG, errno.ELOOP)
"""What Python lets pass of a path that a file names: `Path.is_file` raises instead of answering."""
_LISTS = ("Iterable", "Sequence", "list")
_MAPPINGS = ("Mapping", "dict")
_WORDS = {
    "Path": "a path",
    "bool": "True or False",
    "int": "an integer",
    "float": "a number",
    **dict.fromkeys(_TEXTS, "text"),
    **dict.fromkeys(_LISTS, "a list"),
    **dict.fromkeys(_MAPPINGS, "a mapping"),
    "tuple": "a pair",
}


def writes(**places: Place) -> Callable[[Callable[Inputs, Result]], Callable[Inputs, Result]]:
    """Under `@command`: which arguments are places for results, and what comes there."""

    def mark(function: Callable[Inputs, Result]) -> Callable[Inputs, Result]:
        function.writes = places  # type: ignore[attr-defined]
        return function

    return mark


def places_of(function: Callable[..., Any]) -> dict[str, Place]:
    """What `writes` says of a command."""
    return getattr(function, "writes", {})


def command(function: Callable[Inputs, Result]) -> Callable[Inputs, Result]:
    """The function with its arguments checked before it runs: UserError in one line, never a TypeError.

    Places for results are checked too, so a function that has such must say so with `writes`.
    """
    parameters = signature(function).parameters
    assert {*places_of(function)} == {*OUTPUTS} & {*parameters}, f"{function.__name__}: @writes says what goes where"

    @wraps(function)
    def checked(*args: Inputs.args, **kwargs: Inputs.kwargs) -> Result:
        values = bind(function, args, kwargs)
        _check_places(function, values)
        try:
            return function(**values)  # type: ignore[call-arg]
        except OSError as error:
            if error.errno not in _IMPOSSIBLE_PATHS:
                raise
            raise UserError(f"{brief(error.filename)}: {error.strerror}") from None
        except RuntimeError as error:
            if not str(error).startswith("Symlink loop"):  # what Path.resolve makes of ELOOP before Python 3.13
                raise
            raise UserError(str(error)) from None

    return checked


def _check_places(function: Callable[..., Any], values: Mapping[str, Any]) -> None:
    if any(values.get(name) for name in _WRITES_NOTHING):
        return
    parameters, places = signature(function).parameters, places_of(function)
    named = [name for name in places if values.get(name) is not None]
    if not named:
        return
    from moewright.outputs import Destination, check_outputs  # only where something is written

    outputs = [Destination(written(name), values[name], places[name]) for name in named]
    inputs = [
        (written(name), Path(each))
        for name, value in values.items()
        if name not in places and "Path" in names_of(parameters[name]) + _inner_names(parameters[name])
        for each in as_list(value)
        if isinstance(each, str | Path)
    ]
    check_outputs(outputs, inputs, values.get("force", False) if "force" in parameters else None)


def bind(function: Callable[..., Any], given: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by name, each as its annotation has it. Raises UserError for what does not fit."""
    parameters = signature(function).parameters
    free = [name for name, each in parameters.items() if each.kind is not Parameter.KEYWORD_ONLY]
    if len(given) > len(free):
        without = f"only {' and '.join(free)} without a name" if free else "every argument by its name"
        raise UserError(f"{function.__name__}: takes {without}; {len(given)} were given")
    for name in named:
        if name not in parameters:
            raise UserError(unknown_name(name, function.__name__, parameters))
        if name in free[: len(given)]:
            raise UserError(f"{written(name)}: given twice, by its place and by its name")
    values = {**dict(zip(free, given, strict=False)), **named}
    for name, parameter in parameters.items():
        if parameter.default is Parameter.empty and name not in values:
            raise UserError(missing(name, f"{name}=..."))
    checked = {name: check(value, _kind(parameters[name]), written(name)) for name, value in values.items()}
    for name, value in checked.items():
        if name not in _MAY_REPEAT:
            _check_once(value, written(name))
    return checked


def _check_once(value: Any, name: str) -> None:
    """UserError for a text or a path that stands twice in a list: a law would count twice, and a file's rows.

    A file or a folder is the same by any of its paths.
    """
    seen: dict[Path | tuple[int, int], str | Path] = {}
    for each in value if isinstance(value, list) else ():
        if isinstance(each, str | Path):
            identity = file_identity(Path(each)) or Path(each)
            if identity in seen:
                before = seen[identity]
                also = "" if Path(before) == Path(each) else f", also as {show_value(before)}"
                raise UserError(f"{name}: {show_value(each)} is given twice{also}; give it once")
            seen[identity] = each


def unknown_name(name: str, command_name: str, known: Iterable[str], kind: str = "argument") -> str:
    """The complaint about an argument that a command does not have, or a command that a group has not.

    Dashes before a name make it no likelier that another is meant.
    """
    return f"{brief_name(name)}: {command_name} has no such {kind}{hint(name.lstrip('-'), known)}"


def missing(name: str, how: str) -> str:
    """The complaint about an argument that is needed."""
    return f"{written(name)}: missing; give {how}"


def written(name: str) -> str:
    """A name as complaints and the command line have it: with dashes, and `from_`, which Python keeps, as from."""
    return name.rstrip("_").replace("_", "-")


# What a value may be


def from_text(text: Any, parameter: Parameter) -> Any:
    """What the command line was given for an argument: a number where only a number will do, else the text.

    Numbers are what they are in YAML files: 1_000, 017 and digits of other scripts are none.
    """
    names = names_of(parameter)
    if "str" in names or not {"int", "float"} & {*names}:
        return text
    try:
        value = number_from(text)
    except ValueError:
        return text  # which the check complains of
    if "int" in names:
        return value if "float" in names or isinstance(value, int) else text
    return float(value)


def number_from(text: str) -> int | float:
    """A number as YAML files have it, or nan or inf. ValueError for other text, such as 1_000, 017 and ٣."""
    value = plain_scalar(text.strip())
    if isinstance(value, str) and value.lstrip("+-").lower() in ("nan", "inf", "infinity"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{brief(text)} is not a number")
    return value


def metavar(parameter: Parameter) -> str:
    """What `--help` calls the value of an argument."""
    names = names_of(parameter)
    if "Path" in names and not {"Law", "Device"} & {*names}:  # these have names more often than files
        return "PATH"
    return "TEXT" if "str" in names else {"int": "INTEGER", "float": "FLOAT"}.get(names[0], "TEXT")


def is_list(parameter: Parameter) -> bool:
    """Whether an argument may be given several times."""
    return any(name in _LISTS for name in names_of(parameter))


def check(value: Any, kind: ast.expr, where: str) -> Any:
    """The value as the annotation has it: numpy's numbers as Python's, any iterable as a list. UserError if unfit."""
    members = _members(kind)
    is_path = any(_name(member) == "Path" for member in members)
    for member in members if is_usable(value, is_path) else []:
        found = _read(value, member, where)
        if found is not _UNFIT:
            return found
    words = dict.fromkeys(_words(member) for member in members if not _is_none(member))
    *rest, last = words
    expected = f"{', '.join(rest)} or {last}" if rest else last
    raise UserError(f"{where}: expected {expected}, found {show_value(value)}")


def _read(value: Any, kind: ast.expr, where: str) -> Any:
    name, inner = _name(kind), _inner(kind)
    if name in _TEXTS:
        return value if isinstance(value, str) else _UNFIT
    if name == "Any" or (name == "None" and value is None):
        return value
    if name == "bool":
        return value if isinstance(value, bool) else _UNFIT
    if name in ("int", "float"):
        return _number(value, whole=name == "int")
    if name in _MAPPINGS and isinstance(value, Mapping):
        key, item = inner
        return {check(k, key, where): check(v, item, f"{where}.{k}") for k, v in value.items()}
    if name in _LISTS and _is_list(value):
        if not (value := list(value)):
            raise UserError(f"{where}: an empty list; give at least one, or leave it out")
        return [check(item, inner[0], f"{where}[{place}]") for place, item in enumerate(value)]
    if name == "tuple" and isinstance(value, list | tuple) and len(value) == len(inner):
        return tuple(check(item, each, where) for item, each in zip(value, inner, strict=True))
    return value if name in (each.__name__ for each in type(value).__mro__) else _UNFIT


def is_usable(value: Any, is_path: bool) -> bool:
    """Whether a text or a path is one that files and messages can take; anything else is, as far as this goes."""
    if not isinstance(value, str | Path):
        return True
    text = str(value)
    try:
        fits = not is_path or all(len(os.fsencode(part)) <= LONGEST_NAME for part in text.split("/"))
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return text != "" and "\0" not in text and len(text) <= LONGEST_TEXT and fits


def _is_list(value: Any) -> bool:
    """Whether a value is a list of things: no text, and no frame, which would be a list of its columns."""
    if isinstance(value, Sequence | Set | Iterator):
        return not isinstance(value, str | bytes | bytearray)
    return getattr(value, "shape", ()) != () and not hasattr(value, "columns")  # an array, or a column of a frame


def _number(value: Any, whole: bool) -> Any:
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        return _UNFIT
    try:
        as_float = float(value)
    except OverflowError:  # a whole number with more digits than float64 has powers of ten
        as_float = math.inf
    if isinstance(value, Integral):
        return int(value) if whole or math.isfinite(as_float) else _UNFIT
    return as_float  # the room that owns it knows its range


def as_list(value: Any) -> list[Any]:
    """An argument that may be one thing or several, once it was checked: as a list; None is an empty one."""
    return [] if value is None else value if isinstance(value, list) else [value]


def show_value(value: Any) -> str:
    """A value in a complaint: plain ones as they are written, shortened; others by their class."""
    if value is None or isinstance(value, str | bytes | bool | int | float | Path):
        text = str(value) if isinstance(value, Path) else brief(value)
        return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


# Annotations as they are written


@cache
def parse_annotation(annotation: str) -> ast.expr:
    """An annotation's expression."""
    return ast.parse(annotation, mode="eval").body


def _kind(parameter: Parameter) -> ast.expr:
    return parse_annotation(parameter.annotation)


def names_of(parameter: Parameter) -> list[str]:
    """The names of what a parameter may be, None left out."""
    return [_name(member) for member in _members(_kind(parameter)) if not _is_none(member)]


def _inner_names(parameter: Parameter) -> list[str]:
    """The names of what may be in a parameter's lists."""
    kinds = [inner for member in _members(_kind(parameter)) for inner in _inner(member)]
    return [_name(member) for kind in kinds for member in _members(kind)]


def _members(kind: ast.expr) -> list[ast.expr]:
    if isinstance(kind, ast.BinOp):
        return [*_members(kind.left), *_members(kind.right)]
    return [kind]


def _name(kind: ast.expr) -> str:
    if isinstance(kind, ast.Subscript):
        return _name(kind.value)
    if isinstance(kind, ast.Attribute):
        return kind.attr
    return kind.id if isinstance(kind, ast.Name) else "None"


def _inner(kind: ast.expr) -> list[ast.expr]:
    if not isinstance(kind, ast.Subscript):
        return []
    return kind.slice.elts if isinstance(kind.slice, ast.Tuple) else [kind.slice]


def _is_none(kind: ast.expr) -> bool:
    return _name(kind) == "None"


def _words(kind: ast.expr) -> str:
    name = _name(kind)
    return _WORDS.get(name) or f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


# Docstrings


def summary(function: Callable[..., Any]) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join(cleandoc(function.__doc__ or "").split("\n\n")[0].split())


def helps(function: Callable[..., Any]) -> dict[str, str]:
    """What the section `Args:` of a docstring says of each argument, in one line each."""
    _, _, section = cleandoc(function.__doc__ or "").partition("\nArgs:\n")
    said: dict[str, str] = {}
    name = ""
    for line in section.split("\n\n")[0].splitlines():
        if line.startswith("    ") and not line.startswith("     "):
            name, _, text = line.strip().partition(": ")
            said[name] = text
        else:
            said[name] += f" {line.strip()}"
    return said
