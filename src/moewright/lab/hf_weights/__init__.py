"""Weights between the lab's model and Hugging Face transformers, both ways, without importing transformers."""

from moewright.lab.hf_weights.checkpoint import StoredAs, export_run, read_hf_checkpoint, write_hf_checkpoint
from moewright.lab.hf_weights.tensors import from_hf_tensors, to_hf_tensors

__all__ = ["StoredAs", "export_run", "from_hf_tensors", "read_hf_checkpoint", "to_hf_tensors", "write_hf_checkpoint"]


def __dir__() -> list[str]:
    return __all__
