"""What transformers makes of a config that no reader here knows: its parameters by module, and no more.

A module counts its tensors, but does not say which of them a token uses or what it keeps of a sequence.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from moewright.display import ShownTable
from moewright.quantities import brief, format_count
from moewright.records import Items, Output

_SAID = 4
"""Modules that a refusal names."""
_LEAST_SIZES = 2
"""A width and a number of layers, by whatever name."""
_LEVELS = 4
"""Names that say where a module is: `model.layers.*.mlp`."""
_MOST_LAYERS = 1000
_MOST_EXPERTS = 10_000
_MOST_MODULES = 50_000
"""Modules are objects of Python: experts by the million would take all memory. Kimi-K2 has 23,424."""
_LAYERS = re.compile(r"layers?$|depth$|blocks$")
"""Ends the names of numbers of layers: also bart's decoder_layers and the depth of towers for images."""
_NOT_SIZES = re.compile(
    r"_id$|_ids$|^(max|min)_(?!position)|num_return|num_logits|num_beam|no_repeat|chunk_size|top_k$|version"
)


class ModuleCountRecord(Output):
    """What `moewright inspect` prints of a family that only transformers knows: parameters by module, and no more."""

    command: ClassVar[str] = "inspect CONFIG, of a family that only transformers knows"
    name: str
    family: str
    built_by: str
    class_name: str
    total_params: int
    """Of the module that transformers builds; not checked by moewright."""
    params_by_module: dict[str, int]
    active_params: None
    """Always null: a module does not say which parameters a token uses."""
    published_weights_bytes: None
    warnings: Items[str]


@dataclass(frozen=True, repr=False)
class ModuleCount(ShownTable):
    """The parameters of the module that transformers builds of a config, by the names of its parts."""

    name: str
    family: str
    built_by: str
    """transformers, and its version."""
    class_name: str
    params_by_module: Mapping[str, int]
    """Most parameters first; a layer's or an expert's number is written as `*`."""
    warnings: tuple[str, ...]

    @property
    def total_params(self) -> int:
        """Every parameter, shared ones once."""
        return sum(self.params_by_module.values())

    def in_words(self) -> str:
        """What a refusal adds."""
        largest = list(self.params_by_module.items())[:_SAID]
        listed = ", ".join(f"{name} {format_count(size)}" for name, size in largest)
        return (
            f"{self.built_by} builds a {self.class_name} of {self.total_params:,} parameters ({listed}); what a token "
            "uses and keeps of them is not known here"
        )

    def named(self, name: str) -> "ModuleCount":
        """The same, as what the file or folder is called."""
        return replace(self, name=name)

    def _facts(self) -> Mapping[str, Any]:
        return {"name": self.name, "family": self.family, "total_params": self.total_params, "by": self.built_by}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [{"module": name, "params": size} for name, size in self.params_by_module.items()]

    def answer(self) -> ModuleCountRecord:
        """What `moewright inspect --json` prints."""
        return ModuleCountRecord(
            name=self.name,
            family=self.family,
            built_by=self.built_by,
            class_name=self.class_name,
            total_params=self.total_params,
            params_by_module=dict(self.params_by_module),
            active_params=None,
            published_weights_bytes=None,
            warnings=self.warnings,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright inspect --json`."""
        return self.answer().to_dict()


def as_transformers_builds(config: Mapping[str, Any]) -> ModuleCount | None:
    """The parameters of the model that the installed transformers builds of a config, on torch's meta device and
    without the publisher's code; None where it is not installed, or builds none of the class that is stated."""
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not _is_small(config) or not _has_sizes(config):
        return None
    if not _is_named(model_type):
        return None
    try:
        # By name: what moewright itself runs on has no torch.
        torch, transformers = import_module("torch"), import_module("transformers")
        values = {key: value for key, value in config.items() if key not in ("model_type", "auto_map")}
        made = transformers.AutoConfig.for_model(model_type, **values)
        if not _is_of_class(transformers, made, config.get("architectures")):
            return None
        module = _built(torch, transformers, made)
        sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
        warnings = tuple(_warnings(config, type(made)().to_dict(), type(made).__name__))
    except Exception:  # whatever its modules raise for a config that they cannot take
        return None
    parts: Counter[str] = Counter()
    for name, size in sizes.items():
        words = ["*" if word.isdecimal() else word for word in name.split(".")[:-1]] or [name]
        parts[".".join(words[:_LEVELS])] += size
    built_by = f"transformers {transformers.__version__}"
    return ModuleCount("config", model_type, built_by, type(module).__name__, dict(parts.most_common()), warnings)


def _built(torch: Any, transformers: Any, made: Any) -> Any:
    with torch.device("meta"):
        try:
            return transformers.AutoModelForCausalLM.from_config(made, trust_remote_code=False)
        except ValueError:  # a model of images and text
            return transformers.AutoModelForImageTextToText.from_config(made, trust_remote_code=False)


def _is_of_class(transformers: Any, made: Any, stated: Any) -> bool:
    """Whether the class that a config names is one of the family: the same word may be another family's elsewhere."""
    if not isinstance(stated, list) or not stated:
        return True
    mapping = transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    registered = mapping[type(made)].__name__ if type(made) in mapping else None
    own = getattr(getattr(transformers, str(stated[0]), None), "config_class", None)
    return own is type(made) or stated[0] == registered


def _warnings(config: Mapping[str, Any], defaults: Mapping[str, Any], class_name: str) -> Iterator[str]:
    """Keys that transformers' config class does not know, and sizes that it takes from its own defaults."""
    unknown = [key for key in config if key not in defaults and key not in ("auto_map", "torch_dtype", "quantization")]
    if unknown:
        yield f"{class_name} does not know {_few(unknown)}: whatever they say is not counted"
    taken = [
        f"{key} = {value}"
        for key, value in defaults.items()
        if isinstance(value, int) and not isinstance(value, bool) and key not in config and not _NOT_SIZES.search(key)
    ]
    if taken:
        yield f"absent from the config, transformers' default taken: {_few(taken)}"


def _few(names: list[str]) -> str:
    shown = ", ".join(brief(name).strip("'") for name in names[:_SAID])
    return shown + (f" and {len(names) - _SAID} more" if len(names) > _SAID else "")


def _is_named(model_type: str) -> bool:
    """Whether the installed transformers has the word in its tables, by their text: importing them takes seconds.

    Where it is imported already, families that were registered with it count too.
    """
    if (imported := sys.modules.get("transformers")) is not None and model_type in imported.CONFIG_MAPPING:
        return True
    package = find_spec("transformers")
    if package is None or package.origin is None or not re.fullmatch(r"[\w.-]{1,80}", model_type):
        return False
    tables = (Path(package.origin).parent / "models" / "auto").glob("*mapping*.py")
    return any(f'("{model_type}", "' in path.read_text(encoding="utf-8") for path in tables)


def _is_small(config: Mapping[str, Any]) -> bool:
    """Whether layers and experts, at any depth, are as many as models have; and the depth is as theirs."""
    found = list(_counted(config))
    layers = max((value for key, value in found if _LAYERS.search(key)), default=1)
    experts = max((value for key, value in found if "experts" in key), default=1)
    return layers <= _MOST_LAYERS and experts <= _MOST_EXPERTS and layers * experts <= _MOST_MODULES


def _has_sizes(config: Mapping[str, Any]) -> bool:
    """Whether a config states some sizes: of another nothing is counted but transformers' defaults, for which its
    modules and torch are not loaded (4 s and 300 MB)."""
    sizes = {key for key, value in _counted(config) if value > 1 and not _NOT_SIZES.search(key)}
    return len(sizes) >= _LEAST_SIZES


def _counted(values: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, int]]:
    for key, value in values.items():
        if isinstance(value, int) and not isinstance(value, bool):
            yield str(key), value
        elif isinstance(value, Mapping):
            if depth == 4:
                yield "num_layers", _MOST_LAYERS + 1
                return
            yield from _counted(value, depth + 1)
