"""The table of `moewright data prepare`."""

from rich.table import Table

from moewright.data.dataset import Dataset
from moewright.data.dataset_record import Amount
from moewright.quantities import format_bytes, format_count
from moewright.screen import Screen


def print_dataset(console: Screen, dataset: Dataset) -> None:
    """What each source gave to training and validation, and what was left out, of a prepared dataset."""
    record = dataset.record
    assert record is not None, "only of a prepared dataset is known how it came about"
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("Source", "Split"):
        table.add_column(name, overflow="fold")
    for name in ("documents", "text", "tokens", "bytes/token"):
        table.add_column(name, justify="right")
    amounts = [
        *((name, "train", amount) for name, amount in record.train.sources.items()),
        *((name, "validation", split.amount) for name, split in record.validation.items()),
    ]
    for name, split, amount in sorted(amounts, key=lambda row: row[:2]):
        table.add_row(name, split, *_cells(amount))
    for split in ("train", "validation"):
        table.add_row("all", split, *_cells(_sum([amount for _, of, amount in amounts if of == split])), style="bold")
    console.print(table)
    console.print()
    origin = "trained on the training documents" if record.preparation.tokenizer_trained else "as given"
    console.print(
        f"{record.vocab_size:,} tokens in the vocabulary, {origin}; stored as {record.dtype}; "
        f"token {record.end_of_document} ends a document"
    )
    console.print(f"dropped: {record.dropped.duplicates:,} exact duplicates, {record.dropped.empty:,} empty documents")
    console.print(f"fingerprint {dataset.fingerprint[:16]}")


def _cells(amount: Amount) -> tuple[str, str, str, str]:
    ratio = f"{amount.bytes / amount.tokens:.3f}" if amount.tokens else ""
    return f"{amount.documents:,}", format_bytes(amount.bytes), format_count(amount.tokens), ratio


def _sum(amounts: list[Amount]) -> Amount:
    return Amount(
        documents=sum(amount.documents for amount in amounts),
        bytes=sum(amount.bytes for amount in amounts),
        tokens=sum(amount.tokens for amount in amounts),
    )
