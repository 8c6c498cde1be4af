"""What transformers makes of a config that no reader here knows: its parameters, and no more.

A module counts its tensors, but does not say which of them a token uses or what it keeps of a sequence. So this is what
a refusal adds, not an inspection.
"""

import re
from collections import Counter
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from moewright.architecture.spec import LARGEST_LAYER_COUNT
from moewright.quantities import format_count

_MOST = 4
_LARGEST = dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers"), LARGEST_LAYER_COUNT)
_MOST_EXPERTS = 10_000
"""Modules are objects of Python: layers and experts by the million would take all memory."""


def as_transformers_builds(config: Mapping[str, Any]) -> str | None:
    """One phrase with the parameters of the causal model that the installed transformers builds of a config, on torch's
    meta device and without the publisher's code; None where it is not installed, or builds none."""
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not _is_small(config) or not _is_named(model_type):
        return None
    try:
        # By name: what moewright itself runs on has no torch.
        torch, transformers = import_module("torch"), import_module("transformers")
        values = {key: value for key, value in config.items() if key not in ("model_type", "auto_map")}
        with torch.device("meta"):
            module = transformers.AutoModelForCausalLM.from_config(
                transformers.AutoConfig.for_model(model_type, **values), trust_remote_code=False
            )
        sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
    except Exception:  # whatever its modules raise for a config that they cannot take
        return None
    parts: Counter[str] = Counter()
    for name, size in sizes.items():
        parts[".".join(name.split(".")[:2])] += size
    listed = ", ".join(f"{name} {format_count(size)}" for name, size in parts.most_common(_MOST))
    return (
        f"transformers {transformers.__version__} builds a {type(module).__name__} of {sum(sizes.values()):,} "
        f"parameters ({listed}); what a token uses and keeps of them is not known here"
    )


def _is_named(model_type: str) -> bool:
    """Whether the installed transformers has the word in its tables, by their text: importing them takes seconds."""
    package = find_spec("transformers")
    if package is None or package.origin is None or not re.fullmatch(r"[\w.-]{1,80}", model_type):
        return False
    tables = (Path(package.origin).parent / "models" / "auto").glob("*mapping*.py")
    return any(f'("{model_type}", "' in path.read_text(encoding="utf-8") for path in tables)


def _is_small(values: Mapping[str, Any], depth: int = 0) -> bool:
    """Whether no layer or expert count, at any depth, is beyond what models have; nor is the depth."""
    if depth > 4:
        return False
    for key, value in values.items():
        most = _LARGEST.get(key, _MOST_EXPERTS if "experts" in str(key) else None)
        if most is not None and isinstance(value, int) and value > most:
            return False
        if isinstance(value, Mapping) and not _is_small(value, depth + 1):
            return False
    return True
