"""Tokens to files: first as documents come, then in the order of the split."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.typing import NDArray

from moewright.data.dataset_record import StoredShard
from moewright.data.shards import TOKEN_DTYPES
from moewright.data.split import DocumentSplit
from moewright.data.tokenizer import Tokenizer
from moewright.errors import UserError

# Characters encoded at once: the library spreads the documents over its threads, and holds about 130 bytes for each
# character meanwhile (measured with tokenizers 0.23 on 12 MB of English).
_BATCH = 2**20
_CHANGED = "sources: documents changed while they were read; prepare them again when nothing writes to them"


class Spool:
    """Tokens of kept documents in the order in which they were read, so that any can be fetched."""

    def __init__(self, path: Path, dtype: str, num_documents: int) -> None:
        self.lengths = np.zeros(num_documents, dtype=np.int64)
        """Tokens of each document, its separator included; 0 for those left out."""
        self._starts = np.zeros(num_documents, dtype=np.int64)
        self._path = path
        self._dtype = TOKEN_DTYPES[dtype]

    def fill(self, documents: Iterable[tuple[int, str]], tokenizer: Tokenizer, advance: Callable[[int], None]) -> None:
        """Encode documents (number, text); tell `advance` how many are done."""
        written = 0
        with self._path.open("wb") as file:
            for numbers, texts in _batches(documents):
                for number, tokens in zip(numbers, tokenizer.encode(texts), strict=True):
                    ended = np.append(tokens, tokenizer.end_of_document).astype(self._dtype)
                    file.write(ended.tobytes())
                    self._starts[number], self.lengths[number] = written, len(ended)
                    written += len(ended)
                advance(len(numbers))

    def documents(self, numbers: NDArray[np.int64]) -> Iterator[NDArray[np.unsignedinteger]]:
        """Tokens of each of these documents."""
        tokens = np.memmap(self._path, dtype=self._dtype, mode="r")
        for number in numbers:
            start = self._starts[number]
            yield tokens[start : start + self.lengths[number]]


def write_shards(
    folder: Path, prefix: str, documents: Iterable[NDArray[np.unsignedinteger]], tokens_per_shard: int
) -> tuple[StoredShard, ...]:
    """Documents one after another into files {prefix}-00000.bin and on; a document may go on in the next file."""
    with _ShardWriter(folder, prefix, tokens_per_shard) as shards:
        for document in documents:
            shards.write(document)
    return tuple(shards.done)


def kept_documents(documents: Iterable[tuple[str, str]], split: DocumentSplit) -> Iterator[tuple[int, str]]:
    """Number and text of each document that the split keeps, as they come.

    Raises UserError if they are no longer those that the split was made from.
    """
    number = -1
    for number, (_, text) in enumerate(documents):
        if number >= len(split.kept):
            break
        if split.kept[number]:
            if len(text.encode()) != split.bytes[number]:
                raise UserError(_CHANGED)
            yield number, text
    if number != len(split.kept) - 1:
        raise UserError(_CHANGED)


_MOST_SHARDS = 10**5
"""Names have five digits; a file of a few tokens each would fill a disk with nothing."""


class _ShardWriter:
    def __init__(self, folder: Path, prefix: str, tokens_per_shard: int) -> None:
        self._folder = folder
        self._prefix = prefix
        self._limit = tokens_per_shard
        self.done: list[StoredShard] = []
        self._open()

    def _open(self) -> None:
        if len(self.done) == _MOST_SHARDS:
            raise UserError(
                f"tokens-per-shard: {self._limit:,} make more than {_MOST_SHARDS:,} shards, as many as names count"
            )
        self._name = f"{self._prefix}-{len(self.done):05d}.bin"
        self._file: IO[bytes] = (self._folder / self._name).open("wb")
        self._digest = hashlib.sha256()
        self._tokens = 0

    def write(self, tokens: NDArray[np.unsignedinteger]) -> None:
        while len(tokens):
            if self._tokens == self._limit:
                self._close()
                self._open()
            part = tokens[: self._limit - self._tokens].tobytes()
            self._file.write(part)
            self._digest.update(part)
            count = len(part) // tokens.itemsize
            self._tokens += count
            tokens = tokens[count:]

    def _close(self) -> None:
        self._file.close()
        self.done.append(StoredShard(name=self._name, sha256=self._digest.hexdigest(), tokens=self._tokens))

    def __enter__(self) -> "_ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._close()
        else:
            self._file.close()


def _batches(documents: Iterable[tuple[int, str]]) -> Iterator[tuple[list[int], list[str]]]:
    numbers: list[int] = []
    texts: list[str] = []
    size = 0
    for number, text in documents:
        numbers.append(number)
        texts.append(text)
        size += len(text)
        if size >= _BATCH:
            yield numbers, texts
            numbers, texts, size = [], [], 0
    if numbers:
        yield numbers, texts
