"""What dataset.json says: which tokens a folder holds and how they were made."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from moewright.complaints import first_complaint
from moewright.errors import UserError
from moewright.files import read_mapping, write_mapping
from moewright.records import Record, Size

RECORD = "dataset.json"
"""The record's name in the folder of a dataset."""

# Counts of tokens and bytes have no such bound as the sizes of a model; JSON readers agree on integers up to 2**53.
Total = Annotated[int, Field(ge=0, le=2**53)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[^/\\\x00]+$")]
"""A file beside the record: a folder can be moved, and a record cannot point out of it."""


class StoredFile(Record):
    """A file of the folder."""

    name: FileName
    sha256: Sha256


class StoredShard(StoredFile):
    """A file of tokens."""

    tokens: Annotated[Total, Field(gt=0)]


class Amount(Record):
    """How much text: UTF-8 bytes; tokens count a separator for each document."""

    documents: Total
    bytes: Total
    tokens: Total


class TrainSplit(Record):
    """Training tokens: documents of all sources in one order."""

    files: Annotated[tuple[StoredShard, ...], Field(min_length=1)]
    sources: dict[str, Amount]


class ValidationSplit(Record):
    """Held-out documents of one source."""

    files: Annotated[tuple[StoredShard, ...], Field(min_length=1)]
    amount: Amount


class Dropped(Record):
    """Documents that were read and left out."""

    duplicates: Total
    empty: Total


class Preparation(Record):
    """The settings that, with the documents, decide every byte of the folder."""

    inputs: tuple[str, ...]
    """The names of the files and folders that were read."""
    text_key: str
    source_key: str | None
    document_separator: str
    seed: int
    validation_share: float
    tokens_per_shard: Total
    tokenizer_trained: bool
    moewright: str
    """The version that wrote the folder."""


class DatasetRecord(Record):
    """All of dataset.json."""

    format: Literal["moewright-data/1"]
    vocab_size: Size
    dtype: Literal["uint16", "uint32"]
    end_of_document: Annotated[int, Field(ge=0)]
    tokenizer: StoredFile
    train: TrainSplit
    validation: Annotated[dict[str, ValidationSplit], Field(min_length=1)]
    dropped: Dropped
    preparation: Preparation

    @property
    def stored(self) -> tuple[StoredShard, ...]:
        """Every file of tokens."""
        return (*self.train.files, *(file for split in self.validation.values() for file in split.files))


def read_record(folder: Path) -> DatasetRecord:
    """The record of a dataset's folder; UserError naming the key that is wrong."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; make one with `moewright data prepare`")
    path = folder / RECORD
    if not path.is_file():
        raise UserError(f"{folder}: has no {RECORD}; make a dataset with `moewright data prepare`")
    mapping = read_mapping(path)
    try:
        # Through JSON, where pydantic's strict mode takes a list for a tuple.
        return DatasetRecord.model_validate_json(json.dumps(mapping))
    except ValidationError as error:
        raise UserError(f"{path}: {first_complaint(error, 'dataset', DatasetRecord)}") from None


def write_record(folder: Path, record: DatasetRecord) -> None:
    """Write dataset.json."""
    write_mapping(folder / RECORD, record.model_dump(mode="json"))


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
