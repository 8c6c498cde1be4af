"""Devices: what one accelerator (or server) can hold, read and compute, from the packaged file or a user's own."""

import difflib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator

from moewright.errors import UserError
from moewright.files import read_mapping
from moewright.hardware.efficiency import Efficiency
from moewright.quantities import parse_bytes, parse_count
from moewright.records import Record, Size

ComputeDtype = Literal["fp32", "bf16", "fp8", "int8", "fp4"]

Bytes = Annotated[float, BeforeValidator(lambda value: parse_bytes(_written(value), "bytes"))]
Rate = Annotated[float, BeforeValidator(lambda value: parse_count(_written(value), "rate"))]


def _written(value: Any) -> str | float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"expected a quantity such as 80GB or 989T, found {value!r}")
    return value


class Node(Record):
    """Devices that a fast link joins."""

    devices: Size
    bandwidth: Bytes
    """Bytes per second that one device sends, in one direction."""
    link: str


class Network(Record):
    """What joins nodes."""

    bandwidth: Bytes
    """Bytes per second that one device sends, in one direction."""
    link: str


class Device(Record):
    """One device of a kind. Bytes, bytes per second, FLOP per second; see devices.yaml for what each figure means."""

    name: str
    also: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Other names that find it."""
    description: str = ""
    memory: Bytes
    memory_bandwidth: Bytes
    peak_flops: dict[ComputeDtype, Rate]
    node: Node
    network: Network | None = None
    efficiency: Efficiency = Efficiency()
    sources: dict[str, str] = Field(default={})
    """The public source of each figure, by its key."""

    @field_validator("peak_flops")
    @classmethod
    def _has_the_common_format(cls, peaks: dict[ComputeDtype, float]) -> dict[ComputeDtype, float]:
        if "bf16" not in peaks:
            raise ValueError("bf16 is missing; formats that a device lacks are computed in it")
        return peaks

    @field_validator("sources")
    @classmethod
    def _names_figures(cls, sources: dict[str, str]) -> dict[str, str]:
        odd = sources.keys() - {"memory", "memory_bandwidth", "peak_flops", "node", "network"}
        if odd:
            raise ValueError(f"no figure is called {min(odd)!r}")
        return sources

    def compute_dtype(self, wanted: ComputeDtype) -> ComputeDtype:
        """The format in which products run: the wanted one where the device has it, else bf16."""
        return wanted if wanted in self.peak_flops else "bf16"


Hardware = str | Path | Device
"""A device's name, a file of devices (FILE or FILE:NAME), or a device."""


def load_device(hardware: Hardware) -> Device:
    """The device that a user means. Raises UserError naming what is unknown and the nearest known name."""
    if isinstance(hardware, Device):
        return hardware
    path, name = _as_file(str(hardware))
    if path is None:
        return _find(known_devices(), str(hardware), "hardware")
    found = read_devices(path)
    if name is not None:
        return _find(found, name, str(path))
    if len(found) > 1:
        raise UserError(f"{path}: holds several devices; choose one as {path}:NAME ({', '.join(found)})")
    return next(iter(found.values()))


@cache
def known_devices() -> dict[str, Device]:
    """Every packaged device by name."""
    return read_devices(Path(str(files("moewright.hardware") / "devices.yaml")))


def read_devices(path: Path) -> dict[str, Device]:
    """The devices in a YAML or JSON file. Raises UserError naming the file and the key that is wrong."""
    values = read_mapping(path)
    entries = values.get("devices")
    odd = values.keys() - {"devices"}
    if odd:
        raise UserError(f"{path}: {min(odd)}: unknown key; expected devices")
    if not isinstance(entries, dict) or not entries:
        raise UserError(f"{path}: devices: expected a mapping of names to devices")
    return {str(name): _device(path, str(name), entry) for name, entry in entries.items()}


def _device(path: Path, name: str, entry: Any) -> Device:
    if not isinstance(entry, dict):
        raise UserError(f"{path}: devices.{name}: expected a mapping of keys to values")
    if "name" in entry:
        raise UserError(f"{path}: devices.{name}.name: the key above is the name; others go under also")
    try:
        return Device.model_validate({**entry, "name": name})
    except ValidationError as error:
        complaint = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in ("devices", name, *complaint["loc"]) if step != "[key]")
        what = complaint["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: {where}: {what}") from None


def _as_file(text: str) -> tuple[Path | None, str | None]:
    """A path and perhaps a name after its colon; (None, None) for the name of a packaged device."""
    before, colon, after = text.rpartition(":")
    if colon and _is_file(before):
        return Path(before), after
    return (Path(text), None) if _is_file(text) else (None, None)


def _is_file(text: str) -> bool:
    return text.lower().endswith((".yaml", ".yml", ".json"))


def _find(devices: dict[str, Device], name: str, where: str) -> Device:
    names = {_plain(also): device for device in devices.values() for also in (device.name, *device.also)}
    found = names.get(_plain(name))
    if found is None:
        near = difflib.get_close_matches(_plain(name), names, n=1, cutoff=0.5)
        hint = f"did you mean {names[near[0]].name}? " if near else ""
        raise UserError(
            f"{where}: unknown device {name!r}; {hint}known: {', '.join(devices)}; or the path of a YAML file"
        )
    return found


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
