"""Where two architectures differ, in the words of the spec: what a format that cannot express one must name."""

from typing import Any

from moewright.architecture.spec import Architecture
from moewright.records import Record


def differences(wanted: Architecture, got: Architecture) -> list[str]:
    """The innermost fields in which two architectures differ, as `where = the wanted value`, each field once."""
    found: list[str] = []
    for name in Architecture.model_fields:
        if name != "layers" and getattr(wanted, name) != getattr(got, name):
            found += _part_differences(name, getattr(wanted, name), getattr(got, name))
    wanted_layers, got_layers = list(wanted.iter_layers()), list(got.iter_layers())
    if len(wanted_layers) != len(got_layers):
        return [*found, f"{len(wanted_layers)} layers"]
    for index, (one, other) in enumerate(zip(wanted_layers, got_layers, strict=True)):
        if one != other:
            stated = {text.split("]", 1)[-1] for text in found}
            here = _part_differences(f"layers[{index}]", one, other)
            found += [text for text in here if text.split("]", 1)[-1] not in stated]
    return found


def _part_differences(where: str, wanted: Any, got: Any) -> list[str]:
    """Innermost fields in which two parts differ, as `where.field = the wanted value`."""
    if isinstance(wanted, tuple) and isinstance(got, tuple) and len(wanted) == len(got):
        pairs = [(f"{where}[{index}]", one, other) for index, (one, other) in enumerate(zip(wanted, got, strict=True))]
    elif isinstance(wanted, Record) and type(wanted) is type(got):
        pairs = [(f"{where}.{name}", getattr(wanted, name), getattr(got, name)) for name in type(wanted).model_fields]
    else:
        shown = _shown(wanted)
        return [f"{where} = {shown}"]
    return [text for place, one, other in pairs if one != other for text in _part_differences(place, one, other)]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{len(value)} entries"
    return f"kind {value.kind}" if hasattr(value, "kind") else repr(value)
