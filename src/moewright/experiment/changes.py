"""What makes two recipes the same run. No torch."""

from collections.abc import Mapping
from typing import Any

RESUMABLE = ("log_every_steps", "mirrors", "checkpoints", "data")
"""What a recipe may change between an interruption and its continuation: none of it touches the weights.

`data` is where the tokens lie; the tokens themselves are compared by their fingerprint.
"""


def first_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first setting, with dots, in which two resolved recipes are not the same run; None: they are."""
    for key in {**before, **now}:
        if key not in RESUMABLE and before.get(key) != now.get(key):
            inner = (before.get(key), now.get(key))
            if all(isinstance(value, Mapping) for value in inner):
                deeper = first_difference(*inner)  # type: ignore[arg-type]
                return f"{key}.{deeper}" if deeper else key
            return key
    return None
