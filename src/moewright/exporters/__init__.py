"""Exporters: a design in the terms of the framework that trains it; one module a framework.

A new framework is one module with `export(architecture, balance_loss) -> Written`, and one line in `FORMATS`.
"""

from collections.abc import Mapping

__all__ = ["FORMATS"]

FORMATS: Mapping[str, str] = {
    "hf": "huggingface",
    "megatron": "megatron",
    "olmo-core": "olmo_core",
    "torchtitan": "torchtitan",
}
"""Formats and the modules that write them."""


def __dir__() -> list[str]:
    return __all__
