"""What moewright knows of one Hugging Face model family: its keys, their defaults, how it is read and written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from moewright.architecture.spec import Architecture
from moewright.hf.keys import Config


@dataclass(frozen=True, kw_only=True)
class Family:
    """One model_type. Sources: the configuration and modeling modules of transformers 5.23, and published configs."""

    model_type: str
    class_name: str
    """The causal-LM class, for `architectures` in an exported config."""
    read: Callable[[Config], Architecture]
    defaults: Mapping[str, Any]
    """What an absent key means. Sizes are not in here: without them there is no model to count."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other spellings of a key -> the one that `read` uses."""
    neutral: tuple[str, ...] = ()
    """Known keys that change neither counts nor routing as the spec states it."""
    active_counts_embedding: bool = True
    """Whether this family's publishers count the input embedding among the active parameters that they print."""
    write: Callable[[Architecture], dict[str, Any]] | None = None
    """The config of an architecture that this family may express. It need not check that the family can: the caller
    reads the result back and compares. None: moewright does not export to this family."""
