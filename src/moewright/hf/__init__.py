"""Hugging Face config.json in and out, by reading the file alone; one module a family."""

from moewright.hf.config import HFImport, config_path, get_family, read_config, write_config
from moewright.hf.sources import Loaded, load_architecture

__all__ = ["HFImport", "Loaded", "config_path", "get_family", "load_architecture", "read_config", "write_config"]
