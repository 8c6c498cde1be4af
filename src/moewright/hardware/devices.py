"""Devices: what one accelerator (or server) can hold, read and compute, from the packaged file or a user's own."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from moewright.complaints import hint
from moewright.errors import UserError
from moewright.hardware.efficiency import Efficiency
from moewright.quantities import parse_bytes, parse_count
from moewright.records import FileRecord, Items, Record, Size

ComputeDtype = Literal["fp32", "bf16", "fp8", "int8", "fp4"]

_Quantity = str | float
Bytes = Annotated[
    float, BeforeValidator(lambda value: parse_bytes(_written(value), "bytes"), json_schema_input_type=_Quantity)
]
Rate = Annotated[
    float, BeforeValidator(lambda value: parse_count(_written(value), "rate"), json_schema_input_type=_Quantity)
]


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


class DeviceFigures(Record):
    """What a file says of a device. Bytes, bytes per second, FLOP per second; see devices.yaml for what each means."""

    also: Items[str] = ()
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


class Device(DeviceFigures):
    """One device of a kind."""

    name: str

    def compute_dtype(self, wanted: ComputeDtype) -> ComputeDtype:
        """The format in which products run: the wanted one where the device has it, else bf16."""
        return wanted if wanted in self.peak_flops else "bf16"


class DevicesFile(FileRecord):
    """Devices by name: the packaged devices.yaml, or a user's own."""

    format: Literal["moewright-devices/1"] = "moewright-devices/1"
    version_without_format: ClassVar[int | None] = 1
    devices: Annotated[dict[str, DeviceFigures], Field(min_length=1)]


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
    found = DevicesFile.read(path).devices
    return {name: Device.model_construct(name=name, **dict(figures)) for name, figures in found.items()}


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
        known = hint(name, devices, f"known: {', '.join(devices)}; or the path of a YAML file")
        raise UserError(f"{where}: unknown device {name!r}{known}")
    return found


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
