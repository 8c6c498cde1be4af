"""Tokens to train and validate on: a prepared folder, or anyone's own shards."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from moewright.complaints import check_integer, check_number, list_names
from moewright.data.dataset_record import (
    DatasetFacts,
    DatasetOutput,
    DatasetRecord,
    StoredShard,
    read_record,
)
from moewright.data.shards import TOKEN_DTYPES, TokenShards
from moewright.display import ShownTable
from moewright.errors import UserError
from moewright.files import file_identity, sha256_of
from moewright.quantities import brief
from moewright.records import LARGEST_SIZE


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(ShownTable):
    """Training tokens and validation sets of one vocabulary."""

    train: TokenShards
    validation: dict[str, TokenShards]
    """By source; at least one."""
    vocab_size: int
    end_of_document: int | None
    """The token that ends every document, where known."""
    bytes_per_token: dict[str, float]
    """UTF-8 bytes of text per token of a validation set, separators counted as tokens of no bytes, where known.

    Bits per byte = loss in nats per token / ln 2 / bytes per token.
    """
    tokenizer: Path | None
    """A Hugging Face tokenizer.json, where known."""
    record: DatasetRecord | None
    """What dataset.json says; None for other people's files."""
    folder: Path | None = None
    """Of a prepared dataset."""

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright data prepare --json`."""
        where = None if self.folder is None else str(self.folder)
        if self.record is None:
            return {"out": where, "fingerprint": self.fingerprint}
        facts = {name: getattr(self.record, name) for name in DatasetFacts.model_fields}
        return DatasetOutput(out=where, fingerprint=self.fingerprint, format=self.record.format, **facts).to_dict()

    def _facts(self) -> dict[str, Any]:
        return {
            "folder": self.folder,
            "vocab_size": self.vocab_size,
            "train_tokens": len(self.train),
            "validation_tokens": sum(map(len, self.validation.values())),
        }

    def _rows(self) -> list[dict[str, Any]]:
        held_out = [
            {"split": "validation", "source": name, "tokens": len(set_)} for name, set_ in self.validation.items()
        ]
        return [{"split": "train", "source": "all", "tokens": len(self.train)}, *held_out]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over all that decides the tokens: vocabulary, end of document, tokenizer, and every token.

        Instant for a prepared folder. Other people's files are read once.
        """
        stored = self.record
        if stored is None:
            train = [self.train.fingerprint()]
            validation = {name: [shards.fingerprint()] for name, shards in self.validation.items()}
        else:
            train = [file.sha256 for file in stored.train.files]
            validation = {name: [file.sha256 for file in split.files] for name, split in stored.validation.items()}
        parts = {
            "vocab_size": self.vocab_size,
            "dtype": self.train.dtype,
            "end_of_document": self.end_of_document,
            "tokenizer": stored.tokenizer.sha256 if stored is not None else None,
            "train": train,
            "validation": validation,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def open_dataset(folder: str | Path, check_tokens: bool = False) -> Dataset:
    """The dataset that `moewright data prepare` wrote.

    Files must have the stated lengths, the tokenizer its stated hash, and the first tokens of each file must be of the
    vocabulary. With `check_tokens` every file is read and must have its stated hash.

    Raises UserError naming the file that does not.
    """
    folder = Path(folder)
    record = read_record(folder)
    for file in record.stored:
        _check_length(folder / file.name, file, record.dtype)
    tokenizer = folder / record.tokenizer.name
    if not tokenizer.is_file() or sha256_of(tokenizer) != record.tokenizer.sha256:
        raise UserError(f"{tokenizer}: missing or changed since the tokens were written; prepare the dataset again")
    if check_tokens:
        changed = next((file for file in record.stored if sha256_of(folder / file.name) != file.sha256), None)
        if changed is not None:
            raise UserError(f"{folder / changed.name}: changed since it was written; prepare the dataset again")
    dataset = Dataset(
        train=TokenShards.open([folder / file.name for file in record.train.files], record.dtype),
        validation={
            name: TokenShards.open([folder / file.name for file in split.files], record.dtype)
            for name, split in record.validation.items()
        },
        vocab_size=record.vocab_size,
        end_of_document=record.end_of_document,
        bytes_per_token={name: split.amount.bytes / split.amount.tokens for name, split in record.validation.items()},
        tokenizer=tokenizer,
        record=record,
        folder=folder,
    )
    _check_vocabulary(dataset, check_tokens)
    return dataset


def open_files(
    train: Sequence[str | Path],
    validation: Mapping[str, Sequence[str | Path]],
    vocab_size: int,
    dtype: str | None = None,
    end_of_document: int | None = None,
    bytes_per_token: Mapping[str, float] | None = None,
    check_tokens: bool = False,
) -> Dataset:
    """A dataset of your own shards, in any format that TokenShards.open reads.

    `bytes_per_token` (UTF-8 bytes of text per token, by validation set) gives bits per byte. With `check_tokens` every
    token is compared with the vocabulary, otherwise the first of each file.

    Raises UserError for bad files, a vocabulary that the tokens exceed, and no validation files.

    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, count in (("train", 90), ("held_out", 10)):
    ...         np.save(f"{folder}/{name}.npy", np.arange(count, dtype=np.uint16) % 50)
    ...     tokens = open_files([f"{folder}/train.npy"], {"own": [f"{folder}/held_out.npy"]}, vocab_size=50)
    >>> len(tokens.train), len(tokens.validation["own"])
    (90, 10)
    """
    check_number(vocab_size, "vocab_size", at_least=1, at_most=LARGEST_SIZE)
    if end_of_document is not None:
        check_integer(end_of_document, "end_of_document", 0, vocab_size - 1)
    empty = next((name for name, files in validation.items() if not files), None)
    if not validation or empty is not None:
        where = f"validation set {brief(empty)}" if validation else "validation"
        raise UserError(f"{where}: no files; name shards that training does not see, or set some of your own aside")
    unknown = next((name for name in bytes_per_token or {} if name not in validation), None)
    if unknown is not None:
        raise UserError(
            f"bytes_per_token: {brief(unknown)} is no validation set; they are {list_names(list(validation))}"
        )
    _check_distinct(train, validation)
    dataset = Dataset(
        train=TokenShards.open(train, dtype),
        validation={name: TokenShards.open(files, dtype) for name, files in validation.items()},
        vocab_size=vocab_size,
        end_of_document=end_of_document,
        bytes_per_token=dict(bytes_per_token or {}),
        tokenizer=None,
        record=None,
    )
    _check_vocabulary(dataset, check_tokens)
    return dataset


def _check_distinct(train: Sequence[str | Path], validation: Mapping[str, Sequence[str | Path]]) -> None:
    """UserError for a file that is there twice, by whatever paths: a loss on what was trained would tell nothing."""
    seen: dict[tuple[int, int], str] = {}
    sets = {"train": train, **{f"validation set {brief(name)}": files for name, files in validation.items()}}
    for name, files in sets.items():
        for file in files:
            identity = file_identity(Path(file))
            before = None if identity is None else seen.get(identity)
            if before is not None:
                where = f"twice in {name}" if before == name else f"in {before} and in {name}"
                raise UserError(f"{file}: the same shard stands {where}; name it once")
            if identity is not None:
                seen[identity] = name


def _check_length(path: Path, file: StoredShard, dtype: str) -> None:
    if not path.is_file():
        raise UserError(f"{path}: missing; prepare the dataset again")
    expected, found = file.tokens * TOKEN_DTYPES[dtype].itemsize, path.stat().st_size
    if found != expected:
        raise UserError(f"{path}: {found:,} bytes instead of {expected:,}; prepare the dataset again")


def _check_vocabulary(dataset: Dataset, every_token: bool) -> None:
    for shards in (dataset.train, *dataset.validation.values()):
        largest = shards.largest_tokens() if every_token else shards.sampled_largest_tokens()
        for path, token in zip(shards.files, largest, strict=True):
            if token >= dataset.vocab_size:
                raise UserError(
                    f"{path}: has token {token:,}, but the vocabulary is {dataset.vocab_size:,} tokens; "
                    "was it written with another tokenizer, or as another dtype?"
                )
