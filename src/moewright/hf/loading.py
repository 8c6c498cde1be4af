"""Getting an architecture from whatever a user points at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from moewright.architecture.spec import Architecture
from moewright.errors import UserError
from moewright.files import read_mapping
from moewright.hf.bare_weights import bare_weights, config_of_weights
from moewright.hf.config import UnknownFamilyError, config_path, read_config
from moewright.hf.mistral_params import FILE as PARAMS
from moewright.hf.mistral_params import is_mistral_params
from moewright.hf.parts import SIDE_FILE
from moewright.hf.published import Published, published_as_config_says, published_as_spec_says
from moewright.plain_values import kind_of
from moewright.quantities import brief

if TYPE_CHECKING:
    from moewright.hf.published_models import ModelEntry
    from moewright.hf.tensor_headers import Ranges

SPEC = "architecture.yaml"
"""The moewright file in the folder of a design."""
_FILES = (".json", ".yaml", ".yml", ".gguf", ".safetensors")
ArchitectureSource = str | Path | dict[str, Any] | Architecture


class Loaded(NamedTuple):
    """An architecture, where it came from, and what its reader should know."""

    architecture: Architecture
    name: str
    family: str | None
    """The Hugging Face model_type, or None for a moewright file or object."""
    active_counts_embedding: bool = True
    """Whether the publisher counts the input embedding among active parameters."""
    warnings: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None
    """What a Hugging Face file says of the language model."""
    folder: Path | None = None
    """Where the file lies, if it is a whole model's: what is beside it belongs to the model."""
    entry: ModelEntry | None = None
    """Of the catalogue, where the model is from there."""
    weights_elsewhere: Mapping[str, Ranges] = MappingProxyType({})
    """Weight files of the folder that lie on the hub, by name."""
    weight_files: tuple[Path, ...] = ()
    """The files that the model was read from, where they are its weights themselves."""


def load_architecture(source: ArchitectureSource, beside: Path | None = None) -> Loaded:
    """Read a Hugging Face config.json (or its folder, or its contents), Mistral's params.json (or a folder that has no
    other), a GGUF file (or a folder that has none of these), a moewright YAML or JSON file, the model of a name in the
    catalogue or on the hub (ORGANISATION/NAME[@REVISION], with the extra `hub`), or an object.

    A file or a folder goes before a name; relative paths start at `beside`, if that is given. In a folder that holds
    both, a design's own architecture.yaml goes before the config.json made from it.

    Raises UserError naming the file and the key that is wrong, or the nearest name.
    """
    if isinstance(source, Architecture):
        return Loaded(source, "architecture", None)
    if isinstance(source, dict):
        return _from_mapping(source, "config")
    if not isinstance(source, str | Path):
        raise UserError(f"config: expected a path, contents or an Architecture, found {kind_of(source)}")
    place = Path(source) if beside is None else beside / source
    if not _is_there(place):
        from moewright.hf.published_models import find_model, near_model  # only for names

        if (entry := find_model(str(source))) is not None:
            return _from_catalogue(entry)
        if _looks_like_a_hub_id(str(source), beside):
            return _from_hub(str(source))
        if not _looks_like_a_file(str(source)):
            raise UserError(f"no file and no published model is called {brief(str(source))}{near_model(str(source))}")
    if weights := bare_weights(place, ("config.json", PARAMS, SPEC)):
        return _from_weights(weights)
    spec = place / SPEC
    path = spec if spec.is_file() else config_path(place)
    name = path.parent.resolve().name if path.name in ("config.json", PARAMS, SPEC) else path.stem
    return _from_path(path, name)


def _from_weights(files: list[Path]) -> Loaded:
    values, name, warnings = config_of_weights(files)
    try:
        loaded = _from_mapping(values, name, files[0].parent)
    except UserError as error:
        raise UserError(f"{files[0]}: {error}") from None
    return loaded._replace(warnings=(*warnings, *loaded.warnings), weight_files=tuple(files))


def _from_path(path: Path, name: str) -> Loaded:
    values = read_mapping(path)
    try:
        return _from_mapping(values, name, path.parent if path.name == "config.json" else None)
    except UnknownFamilyError as error:
        raise UnknownFamilyError(f"{path}: {error}", error.counted) from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _from_mapping(values: dict[str, Any], name: str, folder: Path | None = None) -> Loaded:
    if "format" in values and "model_type" not in values:
        return Loaded(Architecture.from_dict(values), name, None)
    is_known = "model_type" in values or is_mistral_params(values)
    if not is_known and not any(key.endswith("_config") for key in values):
        raise UserError(
            "model_type: missing; expected a Hugging Face config.json, Mistral's params.json, or a moewright "
            "architecture with format: moewright-architecture/1"
        )
    try:
        imported = read_config(values)
    except UnknownFamilyError as error:
        from moewright.hf.built_elsewhere import as_transformers_builds  # only where it is asked

        counted = as_transformers_builds(values)
        if counted is None:
            raise
        raise UnknownFamilyError(f"{error}; {counted.in_words()}", counted.named(name)) from None
    family = imported.family
    return Loaded(
        imported.architecture,
        name,
        family.model_type,
        family.active_counts_embedding,
        imported.warnings,
        imported.values,
        folder,
    )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # no path at all, which the reading says
        return False


def _looks_like_a_file(text: str) -> bool:
    return "/" in text or Path(text).suffix.lower() in _FILES


def _from_catalogue(entry: ModelEntry) -> Loaded:
    return Loaded(entry.architecture, entry.name, entry.family, entry.active_counts_embedding, entry=entry)


def _looks_like_a_hub_id(text: str, beside: Path | None) -> bool:
    """ORGANISATION/NAME, where no folder here has that organisation's name: then it is a path that is mistyped."""
    organisation, slash, name = text.partition("/")
    if not slash or "/" in name.partition("@")[0] or Path(text).suffix.lower() in _FILES:
        return False
    return (
        not organisation.startswith((".", "~"))
        and bool(organisation)
        and not _is_there((beside or Path()) / organisation)
    )


def _from_hub(text: str) -> Loaded:
    from moewright.hf.hub import ask_hub, hub_id  # only where a hub is asked

    named = hub_id(text)
    if named is None:
        raise UserError(f"{text}: no such file, and not a name on the hub, ORGANISATION/NAME[@REVISION]")
    found = ask_hub(*named)
    loaded = _from_path(found.folder / "config.json", named[0].partition("/")[2])
    return loaded._replace(warnings=(*loaded.warnings, *found.warnings), weights_elsewhere=found.weight_files)


def published_weights(loaded: Loaded) -> Published:
    """How the weights of a model are published, by what lies in its folder and what its config says.

    Raises UserError for values of the wrong kind and files that cannot be read.
    """
    if loaded.entry is not None:
        return loaded.entry.published()
    if loaded.config is None or loaded.family is None:
        return published_as_spec_says(loaded.architecture)
    side = None if loaded.folder is None else loaded.folder / SIDE_FILE
    beside = read_mapping(side) if side is not None and side.is_file() else None
    said = published_as_config_says(loaded.architecture, loaded.family, loaded.config, beside, loaded.name)
    if loaded.folder is None:
        return said
    from moewright.hf.checkpoint_headers import published_as_files_say  # only where a folder may hold weights

    return (
        published_as_files_say(
            loaded.architecture, loaded.config, loaded.folder, said, loaded.weights_elsewhere, loaded.weight_files
        )
        or said
    )
