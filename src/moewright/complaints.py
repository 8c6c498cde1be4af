"""The nearest known name to one that somebody mistyped."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel

_CUTOFF = 0.6  # difflib's own default


def near_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like this one; None if none is."""
    near = difflib.get_close_matches(name.strip().lower().replace("-", "_"), list(known), n=1, cutoff=_CUTOFF)
    return near[0] if near else None


def near_field(model: type[BaseModel], location: Sequence[int | str]) -> str | None:
    """The nearest field to an unknown one at a place in a model's data, as pydantic's errors name places."""
    candidates = [model]
    for step in location[:-1]:
        deeper = [
            inner
            for part in candidates
            if step in part.model_fields
            for inner in _models(part.model_fields[str(step)].annotation)
        ]
        candidates = deeper or candidates  # an index, or the tag of a union
    return near_name(str(location[-1]), dict.fromkeys(name for part in candidates for name in part.model_fields))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
