"""Devices and the roofline: what fits, how fast it decodes and answers, what training it takes.

    decode_tokens_per_second(architecture, "H100", devices=2, batch=16, context=32768)  ->  (low, high)

Every time is a range from stated efficiency factors; see `devices.Efficiency` and docs/hardware.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moewright.hardware.devices import (
        SPEED_OF_LIGHT,
        Device,
        Efficiency,
        known_devices,
        load_device,
        read_devices,
    )
    from moewright.hardware.pretraining import (
        MODEL_FLOPS_UTILISATION,
        Parallelism,
        TrainingMemory,
        training_device_hours,
        training_memory,
        training_seconds,
    )
    from moewright.hardware.serving import (
        DeviceMemory,
        decode_tokens_per_second,
        memory_per_device,
        time_to_first_token,
    )

__all__ = [
    "MODEL_FLOPS_UTILISATION",
    "SPEED_OF_LIGHT",
    "Device",
    "DeviceMemory",
    "Efficiency",
    "Parallelism",
    "TrainingMemory",
    "decode_tokens_per_second",
    "known_devices",
    "load_device",
    "memory_per_device",
    "read_devices",
    "time_to_first_token",
    "training_device_hours",
    "training_memory",
    "training_seconds",
]

# Serving and training bring numpy, which counting does not need: they are loaded when they are first asked for.
_HOMES = {
    "moewright.hardware.devices": (
        "SPEED_OF_LIGHT",
        "Device",
        "Efficiency",
        "known_devices",
        "load_device",
        "read_devices",
    ),
    "moewright.hardware.pretraining": (
        "MODEL_FLOPS_UTILISATION",
        "Parallelism",
        "TrainingMemory",
        "training_device_hours",
        "training_memory",
        "training_seconds",
    ),
    "moewright.hardware.serving": (
        "DeviceMemory",
        "decode_tokens_per_second",
        "memory_per_device",
        "time_to_first_token",
    ),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'moewright.hardware' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
