"""Devices: what one accelerator (or server) can hold, read and compute, from the packaged file or a user's own.

A roofline with the peaks themselves is a bound that nobody reaches. Every time that moewright prints is therefore a
range: all factors of the device's `Efficiency` at their good end, and all at their bad end, each with its source.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from moewright.complaints import hint, list_names
from moewright.errors import UserError
from moewright.quantities import brief, parse_bytes, parse_count
from moewright.records import FileRecord, Items, Record, Size

ComputeDtype = Literal["fp32", "bf16", "fp8", "int8", "fp4"]

_Quantity = str | float
# Cerebras' wafer (WSE-3, 2024) moves 2e16 bytes a second and computes 1e17 FLOP/s: a hundred times that is an error.
Bytes = Annotated[
    float,
    BeforeValidator(lambda value: parse_bytes(_written(value), "bytes"), json_schema_input_type=_Quantity),
    Field(le=2e18),
]
Rate = Annotated[
    float,
    BeforeValidator(lambda value: parse_count(_written(value), "rate"), json_schema_input_type=_Quantity),
    Field(le=1e19),
]


def _written(value: Any) -> str | float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"expected a quantity such as 80GB or 989T, found {brief(value)}")
    return value


End = Literal["fast", "slow"]
ENDS: tuple[End, End] = ("fast", "slow")


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"expected [low, high], found {value[0]:g} above {value[1]:g}")
    return value


_Fraction = Annotated[float, Field(gt=0, le=1)]
_Duration = Annotated[float, Field(ge=0, le=1)]
Fractions = Annotated[tuple[_Fraction, _Fraction], Field(strict=False), AfterValidator(_ordered)]
Seconds = Annotated[tuple[_Duration, _Duration], Field(strict=False), AfterValidator(_ordered)]


class Efficiency(Record):
    """(low, high) fractions of the peaks, and (low, high) seconds that no peak explains."""

    memory: Fractions = (0.4, 0.9)
    """High: copies reach some 0.9 of the datasheet on HBM parts (BabelStream results, University of Bristol). Low:
    assumed; with it the range reaches down to the slowest of the published rates that it was compared with (one
    sequence of Mixtral-8x7B in int8 on one A100, gpt-fast, mixtral-moe/README.md, 2024)."""
    compute: Fractions = (0.35, 0.8)
    """High: DeepGEMM's best dense fp8 products on H800, 1550 of 1979 TFLOP/s (its README, 2025); attention 0.75
    (FlashAttention-3, arXiv 2407.08608). Low: assumed for grouped products of small experts."""
    communication: Fractions = (0.4, 0.8)
    """High: NCCL's all-reduce reaches some 360 of 450 GB/s in a node of eight H100 (nccl-tests' bus bandwidth). Low:
    assumed, for the small messages of decoding."""
    seconds_per_layer: Seconds = (5e-6, 60e-6)
    """Gaps between a layer's kernels. Assumed: ten kernels of 0.5 us in a captured graph, or of 6 us without one."""
    seconds_per_expert: Seconds = (0.0, 0.0)
    """For runtimes that start every touched expert by itself; grouped kernels do not."""
    seconds_per_collective: Seconds = (5e-6, 30e-6)
    """Latency of one all-reduce or all-to-all. Assumed: one-shot kernels inside a node, NCCL's small messages."""


SPEED_OF_LIGHT = Efficiency.model_construct(
    memory=(1.0, 1.0),
    compute=(1.0, 1.0),
    communication=(1.0, 1.0),
    seconds_per_layer=(0.0, 0.0),
    seconds_per_collective=(0.0, 0.0),
)
"""All peaks reached and nothing else costs time: the roofline itself."""


@dataclass(frozen=True)
class Factors:
    """One end of an `Efficiency`."""

    memory: float
    compute: float
    communication: float
    seconds_per_layer: float
    seconds_per_expert: float
    seconds_per_collective: float


def factors(efficiency: Efficiency, end: End) -> Factors:
    """All factors at their fast or their slow end."""
    fraction, duration = (1, 0) if end == "fast" else (0, 1)
    return Factors(
        memory=efficiency.memory[fraction],
        compute=efficiency.compute[fraction],
        communication=efficiency.communication[fraction],
        seconds_per_layer=efficiency.seconds_per_layer[duration],
        seconds_per_expert=efficiency.seconds_per_expert[duration],
        seconds_per_collective=efficiency.seconds_per_collective[duration],
    )


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
    board_power: Annotated[float, Field(gt=0, le=1e5)] | None = None
    """Watts of one device at full load, as its maker states them."""
    node: Node
    network: Network | None = None
    efficiency: Efficiency = Efficiency.default()
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
        odd = sources.keys() - {"memory", "memory_bandwidth", "peak_flops", "board_power", "node", "network"}
        if odd:
            raise ValueError(f"no figure is called {brief(min(odd))}")
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

    @field_validator("devices")
    @classmethod
    def _names_are_told_apart(cls, devices: dict[str, DeviceFigures]) -> dict[str, DeviceFigures]:
        owners: dict[str, str] = {}
        for name, figures in devices.items():
            for called in (name, *figures.also):
                if not _plain(called):
                    raise ValueError(f"a device's name has letters or digits, found {brief(called)}")
                if owners.setdefault(_plain(called), name) != name:
                    raise ValueError(f"{brief(called)} names two devices, {owners[_plain(called)]} and {name}")
        return devices


Hardware = str | Path | Device
"""A device's name, a file of devices (FILE or FILE:NAME), or a device."""


def load_device(hardware: Hardware, where: str = "hardware") -> Device:
    """The device that a user means. Raises UserError naming what is unknown, after the option `where`, and the nearest.

    >>> h100 = load_device("H100")
    >>> h100.memory, h100.memory_bandwidth, h100.peak_flops["bf16"]
    (80000000000.0, 3350000000000.0, 989400000000000.0)
    """
    if isinstance(hardware, Device):
        return hardware
    path, name = _as_file(str(hardware))
    if path is None:
        return _find(known_devices(), str(hardware), where)
    found = read_devices(path)
    if name is not None:
        return _find(found, name, str(path))
    if len(found) > 1:
        raise UserError(f"{path}: holds several devices; choose one as {path}:NAME ({list_names(list(found))})")
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
        known = hint(name, devices, f"known: {list_names(list(devices))}; or the path of a YAML file")
        raise UserError(f"{where}: unknown device {brief(name)}{known}")
    return found


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
