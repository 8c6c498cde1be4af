"""Files that are only appended to: a record a line, and reading what a newer version or a kill left in them."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from moewright.files import read_objects
from moewright.records import Record


class LineRecord(Record):
    """One line of an append-only file. Its kinds are told apart by a field `event` or `kind` with one value.

    A line whose meaning changes gets a new kind. A field may be added if it has a default: older readers leave out
    what they do not know.
    """


L = TypeVar("L", bound=LineRecord)


def read_lines(path: Path, *kinds: type[L]) -> Iterator[L]:
    """The records of an append-only file in the order of writing. Raises OSError.

    Left out: lines that were cut short or lack something, and kinds other than these, which a newer version may write.
    """
    by_value = {value: kind for kind in kinds for value in _kind_values(kind)}
    for values in read_objects(path):
        said = values.get("event", values.get("kind"))
        kind = (by_value.get(said) if isinstance(said, str) else None) or by_value.get(None)
        if kind is None:
            continue
        if kind.model_config.get("extra") == "forbid":
            values = {name: value for name, value in values.items() if name in kind.model_fields}
        try:
            yield kind.model_validate(values)
        except ValidationError:
            continue


def _kind_values(record: type[LineRecord]) -> Iterable[Any]:
    """What `event` or `kind` may be in lines of this class; None where it has neither field, so that any line fits."""
    field = record.model_fields.get("event") or record.model_fields.get("kind")
    return (None,) if field is None else get_args(field.annotation)
