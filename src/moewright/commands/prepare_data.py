"""`moewright data prepare`: text to token shards."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from moewright.commands.checking import as_list, command, writes
from moewright.outputs import NEW_FOLDER

if TYPE_CHECKING:
    from moewright.data import Dataset


@command
@writes(out=NEW_FOLDER)
def prepare_data(
    sources: str | Path | Iterable[str | Path],
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
    """Make token shards: text is encoded, shuffled, freed of duplicates, and split for training and validation.

    The text of the documents, their labels, `seed` and the settings decide every byte of the shards; the order of the
    sources and of the documents in them does not.

    Args:
        sources: Text, JSON lines or Parquet files, folders of them, or a saved HF dataset.
        out: New folder for the token shards; it appears complete or not at all.
        tokenizer: Hugging Face tokenizer.json.
        vocab_size: Instead of it: tokens of a BPE to train on the text.
        text_key: Column with the text. [default: text]
        source_key: Column with the source of each text. [default: a source per file or folder]
        document_separator: What divides documents in text files. [default: <|endoftext|>]
        end_of_document: The tokenizer's token that ends a document. [default: one of the usual ones]
        validation_share: Share of each source's bytes to hold out.
        seed: Of the order and of the held-out documents.
        tokens_per_shard: Most tokens in one file.

    Raises:
        UserError: For every bad input, and when the folder cannot be written.
    """
    from moewright.data.preparation import prepare

    return prepare(
        as_list(sources),
        out,
        tokenizer=tokenizer,
        vocab_size=vocab_size,
        text_key=text_key,
        source_key=source_key,
        document_separator=document_separator,
        end_of_document=end_of_document,
        validation_share=validation_share,
        seed=seed,
        tokens_per_shard=tokens_per_shard,
    )
