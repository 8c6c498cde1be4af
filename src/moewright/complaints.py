"""Checks of what users give, and complaints that say in one line where, what is wrong, and what to do."""

import difflib
import json
import math
import numbers
import types
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

from moewright.errors import UserError
from moewright.foreign_text import shortened
from moewright.quantities import brief, plain_integer

NEAR = 0.55
"""Least likeness (difflib's ratio) of a name to one that is certainly wrong: 'final_loss' is found for 'loss'."""
MISSPELT = 0.82
"""Least likeness to a name that may well be right, such as a user's own column: 'train_token' and 'activ_params' are
taken for slips, 'd_model' and 'batch' are not."""


_LONGEST_GIVEN = 200
_LONGEST_LIST, _LONGEST_NAME = 240, 60
"""Characters of the names that a complaint lists, and of each."""


def near_name(name: str, known: Iterable[str], likeness: float = NEAR) -> str | None:
    """The known name that is most like this one, whatever the case, dashes and blanks; None if none is."""
    if len(name) > _LONGEST_GIVEN:  # comparing takes time by the square of letters
        return None
    written = {_letters(other): other for other in reversed(list(known))}
    near = difflib.get_close_matches(_letters(name), written, n=1, cutoff=likeness)
    return written[near[0]] if near else None


def hint(name: str, known: Iterable[str], otherwise: str | None = None, *, quoted: bool = False) -> str:
    """What to add to a complaint about an unknown name: "; did you mean zhao2025?" where one is near.

    Else "; known: ..." with as many as a line has room for, or `otherwise` in its place; nothing where that is empty.
    `quoted` puts the near name in quotes, for names of a user's own.
    """
    known = list(known)
    near = near_name(name, known)
    if near is not None:
        return f"; did you mean {brief(near) if quoted else brief_name(near)}?"
    rest = f"known: {list_names(known)}" if otherwise is None else otherwise
    return f"; {rest}" if rest else ""


def list_names(names: Sequence[str]) -> str:
    """Names in a complaint: as many as its line has room for, and how many more there are.

    >>> list_names(["bf16", "fp8"])
    'bf16, fp8'
    >>> list_names([f"layer_{number}" for number in range(1000)])[-40:]
    'ayer_22, layer_23, layer_24 and 975 more'
    """
    room, shown = _LONGEST_LIST, []
    for name in map(brief_name, names):
        room -= len(name) + 2
        if room < 0:
            break
        shown.append(name)
    more = len(names) - len(shown)
    return f"{', '.join(shown) or 'none'}{f' and {more} more' if more else ''}"


def brief_name(name: str) -> str:
    """A name in a complaint, shortened."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."


def name_row(number: object, run: object = None) -> str:
    """A row of a table as every message names it: its number, the first below the header being 1, and its run.

    >>> name_row(2, "wide-seed1")
    'row 2 (run wide-seed1)'
    """
    return f"row {number}" if run is None else f"row {number} (run {run})"


def _letters(name: object) -> str:
    return "".join("_" if character in "-_ " else character for character in str(name).strip().lower())


# Single values


def check_integer(value: Any, name: str, low: int = 1, high: int = 10**9) -> int:
    """An integer from `low` to `high`, numpy's too; UserError for anything else, text and truth values included."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not low <= int(value) <= high:
        raise UserError(f"{name}: expected an integer from {_power(low)} to {_power(high)}, found {brief(value)}")
    return int(value)


def integer_in_text(text: str, name: str, low: int = 1, high: int = 10**9) -> int:
    """An integer from `low` to `high` in plain digits; UserError for any other text.

    >>> integer_in_text("8", "devices")
    8
    """
    number = plain_integer(text, len(str(high)))
    return check_integer(text if number is None else number, name, low, high)


def check_number(
    value: Any,
    name: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> float:
    """A finite number within these bounds; UserError for anything else, text and truth values included."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise UserError(f"{name}: expected a number, found {brief(value)}")
    try:
        found = float(value)
    except OverflowError:  # more digits than float64 has powers of ten
        found = math.inf
    check_bounds(found, value, name, above=above, at_least=at_least, below=below, at_most=at_most)
    return found


def check_bounds(
    found: float | Fraction,
    given: object,
    name: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> None:
    """UserError where a number, read from what was given, is not finite or not within these bounds."""
    bounds = {"above": above, "at least": at_least, "below": below, "at most": at_most}
    keeps = (
        math.isfinite(found)
        and (above is None or found > above)
        and (at_least is None or found >= at_least)
        and (below is None or found < below)
        and (at_most is None or found <= at_most)
    )
    if not keeps:
        rules = [f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None]
        raise UserError(f"{name}: {brief(given)} must be {' and '.join(rules) or 'finite'}")


def one_of(value: Any, name: str, known: Iterable[Any]) -> Any:
    """The value, which must be one of the known ones; UserError with the nearest of them for anything else."""
    known = list(known)
    if value not in known:
        raise UserError(f"{name}: unknown {brief(value)}{hint(str(value), map(str, known))}")
    return value


def check_names(given: Iterable[str], wanted: Iterable[str], owner: str, what: str) -> None:
    """UserError for the first unknown name, with the nearest known one, or else for the first missing one."""
    given, wanted = list(given), list(wanted)
    missing = [name for name in wanted if name not in given]
    for name in given:
        if name not in wanted:
            near = near_name(name, missing or wanted)
            meant = f"did you mean {near}? " if near else ""
            raise UserError(f"{owner} has no {what} {brief(name)}: {meant}it takes {list_names(wanted)}")
    if missing:
        raise UserError(f"{owner} needs the {what} {missing[0]}; it takes {list_names(wanted)}")


def named_texts(texts: Iterable[str], option: str, *, strip: bool = False) -> dict[str, str]:
    """The values of texts NAME=VALUE by their names. UserError for other texts, and for a name that comes twice.

    `strip`: a name goes without the blanks around it.

    >>> named_texts(["E=1.7", "alpha=0.3"], "fix")
    {'E': '1.7', 'alpha': '0.3'}
    """
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        name = name.strip() if strip else name
        if not (name and separator and value):
            raise UserError(f"{option}: expected NAME=VALUE, found {brief(text)}")
        if name in found:
            raise UserError(f"{option} {name}: given twice")
        found[name] = value
    return found


def _power(value: int) -> str:
    """10^9 for a billion."""
    digits = str(value)
    return f"10^{len(digits) - 1}" if len(digits) > 6 and set(digits[1:]) == {"0"} and digits[0] == "1" else digits


# What is wrong with a record

_SWITCHES = {
    **dict.fromkeys(("yes", "on", "y", "true"), "true"),
    **dict.fromkeys(("no", "off", "n", "false"), "false"),
}


def first_complaint(error: ValidationError, whole: str, model: Any = Any) -> str:
    """One line for people: where (`whole` for the record itself), what is wrong, what was given.

    `model` is what was validated: a pydantic model, or any type that a field of one may have. With it an unknown key
    comes with the nearest known one, and places are written as they are in the reader's file.
    """
    complaint = error.errors(include_url=False)[0]
    steps, known = _place(complaint["loc"], model)
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    where = where if len(where) <= _LONGEST_GIVEN else f"{where[:_LONGEST_GIVEN]}..."
    what = complaint["msg"].removeprefix("Value error, ")
    if complaint["type"] == "extra_forbidden":
        what = "unknown key" + hint(str(steps[-1]), known, "")
    what = shortened(what, _LONGEST_GIVEN)  # of a union it repeats what was given
    given = complaint["input"]
    if complaint["type"] == "bool_type" and isinstance(given, str) and given.lower() in _SWITCHES:
        what = f"write {_SWITCHES[given.lower()]}"  # YAML 1.1 took these for truth values
    written = "" if isinstance(given, dict | list | tuple | BaseModel) else _written(given)
    is_said = written.endswith("...") and brief(given) in what  # what is long is not cut short twice
    shown = f" (given: {written})" if written and not is_said else ""
    return f"{where or whole}: {what}{shown}"


def _written(given: Any) -> str:
    """A value as a file has it, shortened."""
    if isinstance(given, int) and not isinstance(given, bool):
        return brief(given)
    text = json.dumps(given, default=str)
    return text if len(text) <= _LONGEST_GIVEN else f"{text[:_LONGEST_GIVEN]}..."


def _place(location: Sequence[int | str], model: Any) -> tuple[list[int | str], list[str]]:
    """A place in a record as its file has it, and the keys known there.

    pydantic's location has a level more at each union, the member that was tried; the types on the way tell.
    """
    at = [model]
    steps: list[int | str] = []
    known: list[str] = []
    for step in location:
        choices = [choice for annotation in at for choice in _choices(annotation)]
        if any(len(_choices(annotation)) > 1 for annotation in at):
            at = [choice for choice in choices if _is_called(choice, step)] or choices
        elif step != "[key]":  # pydantic's word for the key itself, not its value
            steps.append(step)
            known = [name for choice in choices for name in _fields(choice)]
            at = [inner for choice in choices for inner in _inside(choice, step)]
    return steps, known


def _plain(annotation: Any) -> tuple[Any, str | None]:
    """The type without what Annotated adds, and the tag that it adds, if any."""
    tag = None
    while get_origin(annotation) is Annotated:
        annotation, *added = get_args(annotation)
        tag = next((str(item.tag) for item in added if isinstance(item, Tag)), tag)
    return annotation, tag


def _choices(annotation: Any) -> list[Any]:
    """The members of a union, without None; any other type by itself."""
    plain, _ = _plain(annotation)
    if get_origin(plain) not in (Union, types.UnionType):
        return [annotation]
    members = [member for member in get_args(plain) if member is not type(None)]
    return _choices(members[0]) if len(members) == 1 else members


def _is_called(member: Any, step: int | str) -> bool:
    """Whether pydantic's locations name a union's member so: by its tag, its discriminator's value, or its name."""
    plain, tag = _plain(member)
    literals = [get_args(field.annotation) for field in _fields(plain).values() if _is_literal(field.annotation)]
    return step in (tag, getattr(plain, "__name__", None)) or any(step in values for values in literals)


def _is_literal(annotation: Any) -> bool:
    return get_origin(annotation) is Literal


def _fields(annotation: Any) -> Mapping[str, Any]:
    plain, _ = _plain(annotation)
    return plain.model_fields if isinstance(plain, type) and issubclass(plain, BaseModel) else {}


def _inside(annotation: Any, step: int | str) -> list[Any]:
    """The type of a field, an item or a value; none where it is not known."""
    plain, _ = _plain(annotation)
    fields = _fields(plain)
    if step in fields:
        return [fields[str(step)].annotation]
    origin, arguments = get_origin(plain), get_args(plain)
    if not isinstance(origin, type) or not arguments:
        return []
    if issubclass(origin, Mapping):
        return [arguments[1]]
    if origin is tuple and isinstance(step, int) and arguments[-1] is not Ellipsis:
        return [arguments[step]] if step < len(arguments) else []
    return [arguments[0]] if issubclass(origin, Sequence | set | frozenset) else []
