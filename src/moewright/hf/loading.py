"""Getting an architecture from whatever a user points at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moewright.architecture.spec import Architecture
from moewright.errors import UserError
from moewright.files import read_mapping
from moewright.hf.config import config_path, read_config
from moewright.plain_values import kind_of

SPEC = "architecture.yaml"
"""The moewright file in the folder of a design."""
ArchitectureSource = str | Path | dict[str, Any] | Architecture


@dataclass(frozen=True)
class Loaded:
    """An architecture, where it came from, and what its reader should know."""

    architecture: Architecture
    name: str
    family: str | None
    """The Hugging Face model_type, or None for a moewright file or object."""
    active_counts_embedding: bool = True
    """Whether the publisher counts the input embedding among active parameters."""
    warnings: tuple[str, ...] = ()


def load_architecture(source: ArchitectureSource) -> Loaded:
    """Read a Hugging Face config.json (or its folder, or its contents), a moewright YAML or JSON file, or an object.

    In a folder that holds both, a design's own architecture.yaml goes before the config.json made from it.

    Raises UserError naming the file and the key that is wrong.
    """
    if isinstance(source, Architecture):
        return Loaded(source, "architecture", None)
    if isinstance(source, dict):
        return _from_mapping(source, "config")
    if not isinstance(source, str | Path):
        raise UserError(f"config: expected a path, contents or an Architecture, found {kind_of(source)}")
    spec = Path(source) / SPEC
    path = spec if spec.is_file() else config_path(Path(source))
    name = path.parent.resolve().name if path.name in ("config.json", SPEC) else path.stem
    values = read_mapping(path)
    try:
        return _from_mapping(values, name)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _from_mapping(values: dict[str, Any], name: str) -> Loaded:
    if "format" in values and "model_type" not in values:
        return Loaded(Architecture.from_dict(values), name, None)
    if "model_type" not in values and not any(key.endswith("_config") for key in values):
        raise UserError(
            "model_type: missing; expected a Hugging Face config.json, or a moewright architecture with "
            "format: moewright-architecture/1"
        )
    imported = read_config(values)
    family = imported.family
    return Loaded(imported.architecture, name, family.model_type, family.active_counts_embedding, imported.warnings)
