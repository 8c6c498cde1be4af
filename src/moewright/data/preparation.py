"""Text to a folder of token shards."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moewright.complaints import check_integer, check_number
from moewright.data.dataset import Dataset, open_dataset
from moewright.data.dataset_record import (
    Amount,
    DatasetRecord,
    Dropped,
    Preparation,
    StoredFile,
    StoredShard,
    TrainSplit,
    ValidationSplit,
    write_record,
)
from moewright.data.sources import TextSource, find_source
from moewright.data.split import DocumentSplit, split_documents
from moewright.data.tokenizer import END_OF_TEXT, Tokenizer, check_vocab_size, load_tokenizer, train_tokenizer
from moewright.data.writing import Spool, kept_documents, write_shards
from moewright.errors import UserError
from moewright.files import new_folder, sha256_of
from moewright.outputs import check_space
from moewright.progress import progress_task, track
from moewright.quantities import LARGEST_SEED, brief

_TOKENIZER = "tokenizer.json"
# Half: beyond that more would be held out than trained on.
_LARGEST_SHARE = 0.5


def prepare(
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    tokenizer: str | Path | None = None,
    vocab_size: int | None = None,
    text_key: str | None = None,
    source_key: str | None = None,
    document_separator: str | None = None,
    end_of_document: str | None = None,
    validation_share: float = 0.01,
    seed: int = 0,
    tokens_per_shard: int = 100_000_000,
) -> Dataset:
    """Documents of files and folders, encoded, shuffled and split into a new folder, whole or not at all.

    `tokenizer` is a Hugging Face tokenizer.json; instead, `vocab_size` trains a byte-level BPE on the training
    documents. `text_key` ("text") and `source_key` name columns of JSON lines, Parquet and saved datasets; without
    `source_key` each file or folder named is a source of its own. Text files are split at `document_separator`
    ("<|endoftext|>"). `end_of_document` names the tokenizer's token if it is none of the usual ones.

    Exact duplicates are dropped. The text of the documents, their labels, `seed` and the settings decide every byte
    of the shards; the order of the sources and of the documents in them does not.

    Raises UserError for every bad input, and when the folder cannot be written.
    """
    if (tokenizer is None) == (vocab_size is None):
        raise UserError("tokenizer: give either a tokenizer.json or the vocab-size of one to train")
    if end_of_document is not None and tokenizer is None:
        raise UserError(f"end-of-document: goes with --tokenizer; one trained here ends documents with {END_OF_TEXT}")
    check_number(validation_share, "validation-share", above=0, at_most=_LARGEST_SHARE)
    check_number(seed, "seed", at_least=0)
    check_integer(seed, "seed", 0, LARGEST_SEED)
    check_integer(tokens_per_shard, "tokens-per-shard", 1, 2**53)
    documents = _Documents(sources, text_key, source_key, document_separator)
    if vocab_size is not None:
        check_vocab_size(vocab_size)
    loaded = load_tokenizer(Path(tokenizer), end_of_document) if tokenizer is not None else None
    preparation = Preparation(
        inputs=tuple(sorted(source.path.resolve().name for source in documents.sources)),
        text_key=documents.text_key,
        source_key=source_key,
        document_separator=documents.separator,
        seed=seed,
        validation_share=validation_share,
        tokens_per_shard=tokens_per_shard,
        tokenizer_trained=loaded is None,
        moewright=version("moewright"),
    )
    with _one_line_for_a_full_disk(Path(out)), new_folder(Path(out)) as folder:
        split = split_documents(track("reading", documents, unit="documents"), seed, validation_share)
        if loaded is None:
            assert vocab_size is not None
            loaded = train_tokenizer(_training_texts(documents, split), vocab_size)
        loaded.save(folder / _TOKENIZER)
        write_record(folder, _encode(documents, split, loaded, folder, Path(out), preparation))
    return open_dataset(out)


class _Documents:
    """The documents of all sources, read anew by each loop."""

    def __init__(
        self, paths: Sequence[str | Path], text_key: str | None, source_key: str | None, separator: str | None
    ) -> None:
        self.sources: list[TextSource] = [find_source(Path(path)) for path in paths]
        if not self.sources:
            raise UserError("sources: name at least one file or folder of documents")
        kinds = {source.kind for source in self.sources}
        key = ("text-key", text_key) if text_key is not None else ("source-key", source_key)
        if key[1] is not None and kinds == {"text"}:
            raise UserError(f"{key[0]}: {brief(key[1])} names a column, which text files do not have")
        if separator is not None and "text" not in kinds:
            raise UserError("document-separator: splits text files, and there is none among the sources")
        if separator == "":
            raise UserError("document-separator: must not be empty")
        names = [source.name for source in self.sources if source_key is None or source.kind == "text"]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"sources: two are called {brief(twice)}, and names label validation sets; rename one")
        self.text_key = "text" if text_key is None else text_key
        self.source_key = source_key
        self.separator = END_OF_TEXT if separator is None else separator

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for source in self.sources:
            yield from source.documents(self.text_key, self.source_key, self.separator)


def _training_texts(documents: _Documents, split: DocumentSplit) -> Iterator[str]:
    is_train = np.zeros(len(split.kept), dtype=np.bool_)
    is_train[split.train] = True
    kept = kept_documents(documents, split)
    for document, text in track("training the tokenizer", kept, int(split.kept.sum()), "documents"):
        if is_train[document]:
            yield text


def _encode(
    documents: _Documents,
    split: DocumentSplit,
    tokenizer: Tokenizer,
    folder: Path,
    out: Path,
    preparation: Preparation,
) -> DatasetRecord:
    """Fill `folder`, which becomes `out`."""
    spooled = folder / ".tokens"
    spool = Spool(spooled, tokenizer.dtype, len(split.kept))
    with progress_task("encoding", int(split.kept.sum()), "documents") as task:
        spool.fill(kept_documents(documents, split), tokenizer, task.advance)

    check_space(out, spooled.stat().st_size, "out")  # the shards hold the same tokens once more

    def amount(numbers: NDArray[np.int64]) -> Amount:
        return Amount(
            documents=len(numbers),
            bytes=int(split.bytes[numbers].sum()),
            tokens=int(spool.lengths[numbers].sum()),
        )

    def shards(prefix: str, numbers: NDArray[np.int64]) -> tuple[StoredShard, ...]:
        return write_shards(folder, prefix, spool.documents(numbers), preparation.tokens_per_shard)

    record = DatasetRecord(
        vocab_size=tokenizer.vocab_size,
        dtype=tokenizer.dtype,
        end_of_document=tokenizer.end_of_document,
        tokenizer=StoredFile(name=_TOKENIZER, sha256=sha256_of(folder / _TOKENIZER)),
        train=TrainSplit(
            files=shards("train", split.train),
            sources={
                name: amount(split.train[split.label[split.train] == index]) for index, name in enumerate(split.labels)
            },
        ),
        validation={
            name: ValidationSplit(
                files=shards(f"validation-{index:03d}-{_file_name(name)}", numbers), amount=amount(numbers)
            )
            for index, (name, numbers) in enumerate(split.validation.items())
        },
        dropped=Dropped(duplicates=split.duplicates, empty=split.empty),
        preparation=preparation,
    )
    spooled.unlink()
    return record


def _file_name(label: str) -> str:
    """The label as far as any file system takes it; the number before it keeps names apart."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", label)[:40]


@contextmanager
def _one_line_for_a_full_disk(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"out: {out} could not be written, and nothing was kept: {error.strerror or error}") from None
