"""`moewright models`: the published models that come with moewright, and what is known about one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from moewright.commands.checking import command

if TYPE_CHECKING:
    from moewright.hf.model_description import ModelDescription, ModelList


@overload
def models(name: None = None) -> ModelList: ...


@overload
def models(name: str) -> ModelDescription: ...


@command
def models(name: str | None = None) -> ModelList | ModelDescription:
    """Which published models come with moewright, and what is known about one? Their names serve as configs.

    >>> import moewright
    >>> moewright.models("olmoe-1b-7b").training_tokens.value
    '5.1T'

    Args:
        name: A model's name, in any case. [default: list all]

    Raises:
        UserError: For a name that none has; with the nearest one.
    """
    from moewright.hf.model_description import describe_model, list_models

    return list_models() if name is None else describe_model(name)
