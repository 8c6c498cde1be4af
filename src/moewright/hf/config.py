"""Hugging Face config.json in and out, by reading the file alone: no torch, no transformers."""

from __future__ import annotations

import json
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from moewright.architecture.differences import differences
from moewright.architecture.spec import Architecture
from moewright.complaints import first_complaint, hint
from moewright.errors import UserError
from moewright.files import read_mapping
from moewright.foreign_text import visible
from moewright.hf.config_reader import Config, Family
from moewright.hf.families import BY_CLASS, EXPORT_ORDER, FILES, MODULES, OTHER_NAMES, WRAPPERS
from moewright.hf.mistral_params import FILE as PARAMS
from moewright.hf.mistral_params import config_of_params, is_mistral_params
from moewright.hf.parts import QUANTIZATION_KEYS, speaks_of_storage
from moewright.plain_values import kind_of
from moewright.quantities import brief

if TYPE_CHECKING:
    from moewright.hf.built_elsewhere import ModuleCount

STORAGE_KEYS = (
    "torch_dtype",
    "dtype",
    *QUANTIZATION_KEYS,
    "expert_dtype",
    "transformers_version",
)
"""What a config says of how weights are stored; a wrapper says it for the language model in it too."""
_SPEAKERS = ("talker_config", "code2wav_config", "token2wav_config")
_TOWER_WORDS = ("vision", "visual", "audio", "image", "video", "speech", "talker", "mm_")


class HFImport(NamedTuple):
    """An imported architecture with what its reader should know about the import."""

    architecture: Architecture
    family: Family
    warnings: tuple[str, ...]
    values: dict[str, Any]
    """The language model's part of the file, with what the wrapper says of its storage."""


class UnknownFamilyError(UserError):
    """A model_type that no reader knows."""

    def __init__(self, message: str, counted: ModuleCount | None = None) -> None:
        super().__init__(message)
        self.counted = counted
        """What transformers makes of the config, where that was asked and it makes something."""


def get_family(model_type: str) -> Family:
    """What moewright knows of a model_type; UnknownFamilyError if it knows nothing."""
    model_type = OTHER_NAMES.get(model_type, model_type)
    if model_type not in MODULES:
        known = hint(model_type, sorted(MODULES))
        raise UnknownFamilyError(f"model_type: {brief(model_type)} is not a family that moewright knows{known}")
    module = import_module(f"moewright.hf.families.{MODULES[model_type]}")
    family: Family = module.FAMILIES[model_type]
    return family


def read_config(source: str | Path | dict[str, Any]) -> HFImport:
    """Read a config.json, or Mistral's params.json: a path to it, to its folder, or its contents.

    Raises UserError naming the key for a family that is unknown or a value that cannot be interpreted.
    """
    if not isinstance(source, str | Path | dict):
        raise UserError(f"config: expected a path or the contents of a config.json, found {kind_of(source)}")
    values = source if isinstance(source, dict) else read_mapping(config_path(Path(source)))
    values, notes = config_of_params(values) if is_mistral_params(values) else _language_model(values)
    model_type = values.get("model_type")
    if not isinstance(model_type, str):
        raise UserError("model_type: missing; a Hugging Face config.json names its family there")
    if model_type not in MODULES and model_type not in OTHER_NAMES:
        model_type, by_class = _by_class(values, model_type)
        notes = [*notes, *by_class]
    if model_type == "bailing_hybrid":
        from moewright.hf.families.bailing_linear import is_lightning  # only for what two families call themselves

        model_type = "bailing_moe_v2_5" if is_lightning(values) else model_type
    family = get_family(model_type)
    warned: dict[str, None] = dict.fromkeys(notes)
    architecture = _read_layers(values, family, warned)
    return HFImport(architecture, family, tuple(warned), values)


def _by_class(values: dict[str, Any], model_type: str) -> tuple[str, list[str]]:
    """The family whose class a file names, where its model_type says nothing to us."""
    classes = values.get("architectures")
    named = classes[0] if isinstance(classes, list) and classes and isinstance(classes[0], str) else None
    if named in BY_CLASS:
        return BY_CLASS[named], []
    for file in FILES if named else ():
        for name, family in import_module(f"moewright.hf.families.{file}").FAMILIES.items():
            if family.class_name == named:
                return name, [f"model_type {brief(model_type)} is not known; read as {name}, whose class it names"]
    return model_type, []


def _read_layers(values: dict[str, Any], family: Family, warned: dict[str, None]) -> Architecture:
    """By the family's reader, or layer by layer where the config states sizes so and the reader knows no such keys."""

    def read(values: dict[str, Any]) -> Architecture:
        config = Config(
            values,
            family=family.model_type,
            defaults=family.defaults,
            aliases=family.aliases,
            neutral=family.neutral,
        )
        try:
            architecture = family.read(config)
        except ValidationError as error:
            raise UserError(first_complaint(error, error.title)) from None
        if (key := config.unread_experts()) is not None and not architecture.moe_layers():
            raise config.error(key, f"{family.model_type} has no experts, so this is another model than it says")
        warned.update(dict.fromkeys(config.finish()))
        return architecture

    if family.reads_blocks:
        return read(values)
    refusal: UserError | None = None
    if values.get("block_configs") is None:
        try:
            return read(values)  # some families' own readers take lists
        except UserError as error:
            refusal = error
    from moewright.hf.by_layer import read_by_layer, stated_by_layer  # only for what few files state

    layers = stated_by_layer(values, family)
    if layers is not None:
        return read_by_layer(layers, read)
    assert refusal is not None, "what has blocks is stated by layer"
    raise refusal


def from_config(source: str | Path | dict[str, Any]) -> Architecture:
    """The architecture of a Hugging Face config.json: a path to it, to its folder, or its contents.

    What `read_config` returns as warnings is issued through the `warnings` module. Raises UserError as it does.

    >>> mixtral = from_config("examples/configs/mixtral-8x7b.json")
    >>> mixtral.num_layers, mixtral.hidden_size, mixtral.vocab_size
    (32, 4096, 32000)
    """
    imported = read_config(source)
    for message in imported.warnings:
        warnings.warn(visible(message), stacklevel=2)
    return imported.architecture


def to_config(architecture: Architecture, family: str | None = None) -> dict[str, Any]:
    """The contents of a config.json of an architecture; `family` (a model_type) None takes the first that expresses it.

    The result is read back and compared, so it describes exactly this architecture. Raises UserError naming the
    fields that the family (or, without one, the nearest family) cannot express.

    >>> config = to_config(from_config("examples/configs/mixtral-8x7b.json"))
    >>> config["model_type"], config["num_local_experts"], config["num_experts_per_tok"]
    ('mixtral', 8, 2)
    """
    if family is not None:
        attempt = _attempt(architecture, family)
        if attempt.differences:
            raise UserError(f"{family} cannot express {'; '.join(attempt.differences[:6])}")
        return attempt.config
    attempts = {}
    for candidate in EXPORT_ORDER:
        attempts[candidate] = attempt = _attempt(architecture, candidate)
        if not attempt.differences:
            return attempt.config
    nearest = min(attempts, key=lambda name: (not attempts[name].readable, len(attempts[name].differences)))
    raise UserError(
        f"no family that moewright exports to ({', '.join(EXPORT_ORDER)}) can express this architecture; "
        f"the nearest, {nearest}, cannot express {'; '.join(attempts[nearest].differences[:6])}"
    )


class _Attempt(NamedTuple):
    """A family's config of an architecture, and where it would read back as another one."""

    config: dict[str, Any]
    differences: list[str]
    readable: bool = True
    """False: it does not read back at all, and the only difference says why."""


def _attempt(architecture: Architecture, model_type: str) -> _Attempt:
    family = get_family(model_type)
    if family.write is None:
        raise UserError(
            f"{model_type}: moewright reads this family but does not export to it; use one of {', '.join(EXPORT_ORDER)}"
        )
    config = {"architectures": [family.class_name], "model_type": family.model_type, **family.write(architecture)}
    config = json.loads(json.dumps(config))  # exactly what a file would hold
    try:
        again = read_config(config).architecture
    except UserError as error:
        return _Attempt(config, [str(error)], readable=False)
    return _Attempt(config, differences(architecture, again))


def config_path(path: Path) -> Path:
    """The config.json of a folder, or its params.json if it has no other; any other path as it is."""
    if not path.is_dir():
        return path
    for name in ("config.json", PARAMS):
        if (path / name).is_file():
            return path / name
    raise UserError(f"{path}: the folder has no config.json")


def _language_model(values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The language model's part of a config that may wrap it in vision or audio towers."""
    model_type, thinker = values.get("model_type"), values.get("thinker_config")
    if not isinstance(model_type, str | None):
        raise UserError(f"model_type: expected text, found {brief(model_type)}")
    if isinstance(thinker, dict):  # Qwen's omni models: what thinks has a wrapper of its own
        said = {k: v for k, v in values.items() if k in STORAGE_KEYS or speaks_of_storage(k)}
        inner, notes = _language_model({**said, **thinker})
        return inner, [
            f"thinker_config only: {', '.join(k for k in values if k.endswith(_SPEAKERS))} not counted",
            *notes,
        ]
    key = next((k for k in ("text_config", "llm_config", "language_config") if isinstance(values.get(k), dict)), None)
    if key is None and isinstance(model_type, str) and model_type in WRAPPERS:
        return {**values, "model_type": WRAPPERS[model_type]}, []  # the language model alone, under its wrapper's name
    if key is None or (model_type in MODULES and model_type not in WRAPPERS):
        return values, []
    inner = dict(values[key])
    if isinstance(model_type, str) and model_type in WRAPPERS:
        inner.setdefault("model_type", WRAPPERS[model_type])
    for shared_key in STORAGE_KEYS:
        if shared_key in values and inner.get(shared_key) is None:
            inner[shared_key] = values[shared_key]
        elif shared_key in QUANTIZATION_KEYS and values.get(shared_key) not in (None, inner.get(shared_key)):
            inner[f"{shared_key}_of_the_wrapper"] = values[shared_key]  # which makes the bytes unknown
    for other in filter(speaks_of_storage, values):
        inner.setdefault(other, values[other])
    if isinstance(values.get("mtp_config"), dict):  # Inkling's files say of prediction blocks in the wrapper
        inner.setdefault("mtp_config", values["mtp_config"])
    if values.get("tie_word_embeddings") is not None:  # transformers ties by the outer config
        inner["tie_word_embeddings"] = values["tie_word_embeddings"]
    towers = [k for k in values if isinstance(values[k], dict) and any(word in k for word in _TOWER_WORDS)]
    left_out = f"; not counted: {', '.join(towers)}" if towers else ""
    return inner, [f"counted the language model in {key} only{left_out}"]
