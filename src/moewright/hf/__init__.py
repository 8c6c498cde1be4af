"""Hugging Face config.json in and out, by reading the file alone: no torch, no transformers. One module a family.

    architecture = hf.from_config("path/to/config.json")
    config = hf.to_config(architecture, "qwen3_moe")

`read_config` returns the warnings too, and `load_architecture` reads moewright's own files as well.
"""

from moewright.hf.config import HFImport, config_path, from_config, get_family, read_config, to_config
from moewright.hf.loading import ArchitectureSource, Loaded, load_architecture

__all__ = [
    "ArchitectureSource",
    "HFImport",
    "Loaded",
    "config_path",
    "from_config",
    "get_family",
    "load_architecture",
    "read_config",
    "to_config",
]


def __dir__() -> list[str]:
    return __all__
