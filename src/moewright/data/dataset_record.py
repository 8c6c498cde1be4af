"""What dataset.json says: which tokens a folder holds and how they were made."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from moewright.errors import UserError
from moewright.records import Items, Output, Record, Sha256, Size, Total
from moewright.sealed_records import SealedRecord

RECORD = "dataset.json"
"""The record's name in the folder of a dataset."""

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

    files: Annotated[Items[StoredShard], Field(min_length=1)]
    sources: dict[str, Amount]


class ValidationSplit(Record):
    """Held-out documents of one source."""

    files: Annotated[Items[StoredShard], Field(min_length=1)]
    amount: Amount


class Dropped(Record):
    """Documents that were read and left out."""

    duplicates: Total
    empty: Total


class Preparation(Record):
    """The settings that, with the documents, decide every byte of the folder."""

    inputs: Items[str]
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


class DatasetFacts(Record):
    """What is in a folder of tokens and how it was made."""

    vocab_size: Size
    dtype: Literal["uint16", "uint32"]
    end_of_document: Annotated[int, Field(ge=0)]
    tokenizer: StoredFile
    train: TrainSplit
    validation: Annotated[dict[str, ValidationSplit], Field(min_length=1)]
    dropped: Dropped
    preparation: Preparation


class DatasetRecord(SealedRecord, DatasetFacts):
    """All of dataset.json."""

    called: ClassVar[str] = "dataset"
    remedy: ClassVar[str] = "prepare the dataset again"
    format: Literal["moewright-data/2"] = "moewright-data/2"

    @property
    def stored(self) -> tuple[StoredShard, ...]:
        """Every file of tokens."""
        return (*self.train.files, *(file for split in self.validation.values() for file in split.files))


@DatasetRecord.upgrade(1)
def _as_it_is(values: dict[str, Any]) -> dict[str, Any]:
    """Version 1 held no digest of itself."""
    return values


class DatasetOutput(Output, DatasetFacts):
    """A folder of tokens: where it is, and what dataset.json says of it."""

    command: ClassVar[str] = "data prepare"
    out: str | None
    fingerprint: str
    """SHA-256 over all that decides the tokens."""
    format: str
    """Of dataset.json."""


def read_record(folder: Path) -> DatasetRecord:
    """The record of a dataset's folder; UserError naming the key that is wrong."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; make one with `moewright data prepare`")
    path = folder / RECORD
    if not path.is_file():
        raise UserError(f"{folder}: has no {RECORD}; make a dataset with `moewright data prepare`")
    return DatasetRecord.read(path)


def write_record(folder: Path, record: DatasetRecord) -> None:
    """Write dataset.json."""
    record.write(folder / RECORD)
