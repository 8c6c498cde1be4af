"""Exporters: a design in the terms of the framework that trains it; one module a framework."""

from collections.abc import Mapping

__all__ = ["FORMATS"]

FORMATS: Mapping[str, str] = {
    "hf": "hf",
    "megatron": "megatron",
    "olmo-core": "olmo_core",
    "torchtitan": "torchtitan",
}
"""Formats and the modules that write them."""
