"""Data for the lab: text to token shards, and shards to sequences in a fixed order."""

from moewright.data.batches import Batches, document_ids
from moewright.data.dataset import Dataset, open_dataset, open_files
from moewright.data.preparation import prepare
from moewright.data.shards import TokenShards

__all__ = ["Batches", "Dataset", "TokenShards", "document_ids", "open_dataset", "open_files", "prepare"]


def __dir__() -> list[str]:
    return __all__
