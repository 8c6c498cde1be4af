"""The devices that moewright knows, as `--hardware list` prints them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from moewright.hardware.devices import DeviceFigures, known_devices
from moewright.records import Output


class DeviceListRecord(Output):
    """The devices that moewright knows."""

    command: ClassVar[str] = "plan --hardware list"
    devices: dict[str, DeviceFigures]


@dataclass(frozen=True)
class DeviceList:
    """What `--hardware list` prints."""

    record: DeviceListRecord

    def to_dict(self) -> dict[str, Any]:
        """The fields of the record."""
        return self.record.to_dict()


def list_devices() -> DeviceList:
    """Every packaged device.

    >>> "H100" in list_devices().record.devices
    True
    """
    figures = {
        name: DeviceFigures.model_construct(**{field: getattr(device, field) for field in DeviceFigures.model_fields})
        for name, device in known_devices().items()
    }
    return DeviceList(DeviceListRecord(devices=figures))
