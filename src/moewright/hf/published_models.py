"""The published models that come with moewright: one small file each, read when its name is asked for."""

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from moewright.architecture.inventory import Component
from moewright.architecture.spec import Architecture
from moewright.architecture.tensor_formats import StoredModel
from moewright.complaints import hint
from moewright.errors import UserError
from moewright.hf.published import Published, unknown
from moewright.quantities import brief
from moewright.records import FileRecord, Record, Total

FOLDER = Path(__file__).parent / "models"
"""NAME.json of each model, names in small letters."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,98}")


class Figure(Record):
    """A number as it was published, with all its digits and no more, and where."""

    value: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?[MBT]$")]
    """Such as 30.5B."""
    source: str


class CountedWeights(Record):
    """Parameters and bytes of weights as stored; components without any are left out."""

    params: dict[Component, Total]
    bytes: dict[Component, Total]
    params_by_format: dict[str, Total]
    bytes_by_format: dict[str, Total]

    @classmethod
    def of(cls, stored: StoredModel) -> "CountedWeights":
        """The record of counted weights."""
        return cls(
            params={name: count for name, count in stored.params.items() if count},
            bytes={name: size for name, size in stored.bytes.items() if size},
            params_by_format=stored.params_by_format,
            bytes_by_format=stored.bytes_by_format,
        )

    def as_stored(self) -> StoredModel:
        """The counted weights of the record."""
        stored = StoredModel()
        stored.params |= self.params
        stored.bytes |= self.bytes
        stored.params_by_format |= self.params_by_format
        stored.bytes_by_format |= self.bytes_by_format
        return stored


class ModelEntry(FileRecord):
    """A published model: what its publisher says of it, and its architecture as read from its config."""

    kind_of_file: ClassVar[str] = "moewright-model"
    version: ClassVar[int] = 1

    format: Literal["moewright-model/1"] = "moewright-model/1"
    name: str
    hub_id: str
    """Where the weights are on Hugging Face's hub: the publisher and the repository."""
    released: Annotated[str, Field(pattern=r"^20[0-9]{2}-[01][0-9]$")] | None = None
    """Year and month."""
    license: str | None = None
    """Of the weights."""
    total: Figure | None = None
    """Published; the architecture has the exact counts."""
    active: Figure | None = None
    """Published, by the publisher's own way to count."""
    beside: str | None = None
    """What the published total has beside the language model that is counted here."""
    training_tokens: Figure | None = None
    config: str
    """The config that the rest was read from: REPOSITORY@COMMIT:PATH[#KEY], a file of `examples/configs`, or a class of
    transformers whose defaults are this model."""
    config_beside_weights: bool = True
    """Whether that config is known to lie beside the published weights; else their bytes are not known."""
    family: str
    """Its model_type."""
    active_counts_embedding: bool
    """Whether the publisher counts the input embedding among active parameters."""
    weights: CountedWeights | None = None
    """As published; null: not known."""
    prediction_weights: CountedWeights | None = None
    """The same of the multi-token-prediction blocks, where there are any."""
    architecture: Architecture

    def published(self) -> Published:
        """How the weights are published."""
        if self.weights is None:
            return unknown("no config that says how they are stored is behind this entry", "the catalogue")
        ahead = StoredModel() if self.prediction_weights is None else self.prediction_weights.as_stored()
        return Published(self.weights.as_stored(), ahead, f"the catalogue, from {self.config}")


def model_names() -> list[str]:
    """All names, sorted.

    >>> "qwen3-30b-a3b" in model_names()
    True
    """
    return sorted(path.name.removesuffix(".json") for path in FOLDER.glob("*.json"))


def find_model(name: str) -> ModelEntry | None:
    """The model of that name, whatever the case; None where there is none. Only its own file is read."""
    known = name.strip().lower()
    path = FOLDER / f"{known}.json"
    return ModelEntry.read(path) if _NAME.fullmatch(known) and path.is_file() else None


def get_model(name: str) -> ModelEntry:
    """The model of that name, whatever the case. Raises UserError with the nearest name.

    >>> get_model("Mixtral-8x7B").total.value
    '46.7B'
    """
    found = find_model(name)
    if found is None:
        raise UserError(f"name: no published model is called {brief(name)}{near_model(name)}")
    return found


def near_model(name: str) -> str:
    """What to add to a complaint about an unknown name: a name that begins so or that it begins with, or the nearest.

    >>> near_model("Qwen3-30B")
    '; did you mean qwen3-30b-a3b?'
    """
    given, names = name.strip().lower().rpartition("/")[2], model_names()
    same = next((known for known in names if given and (known.startswith(given) or given.startswith(known))), None)
    return hint(same or given, names, "`moewright models` lists them")
