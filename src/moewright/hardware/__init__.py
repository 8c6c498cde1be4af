"""Devices and the roofline: what fits, how fast it decodes and answers, what training it takes.

    decode_tokens_per_second(architecture, "H100", devices=2, batch=16, context=32768)  ->  (low, high)

Every time is a range from stated efficiency factors; see `efficiency` and docs/hardware.md.
"""

from moewright.hardware.devices import Device, known_devices, load_device, read_devices
from moewright.hardware.efficiency import SPEED_OF_LIGHT, Efficiency
from moewright.hardware.serving import DeviceMemory, decode_tokens_per_second, memory_per_device, time_to_first_token
from moewright.hardware.training import (
    MODEL_FLOPS_UTILISATION,
    training_device_hours,
    training_flops,
    training_seconds,
)
from moewright.hardware.training_memory import Parallelism, TrainingMemory, training_memory

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
    "training_flops",
    "training_memory",
    "training_seconds",
]
