"""Which documents are kept, which are held out, and in what order: by a hash of each document and nothing else."""

import hashlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moewright.errors import UserError
from moewright.quantities import brief


@dataclass(frozen=True)
class DocumentSplit:
    """What becomes of every document read, which are numbered as they come."""

    labels: tuple[str, ...]
    """Sources, sorted."""
    label: NDArray[np.int64]
    """Which source each document has; (documents,)."""
    bytes: NDArray[np.int64]
    """UTF-8 bytes of each document; (documents,)."""
    kept: NDArray[np.bool_]
    """Neither empty nor a duplicate; (documents,)."""
    train: NDArray[np.int64]
    """Documents to train on, in their new order."""
    validation: dict[str, NDArray[np.int64]]
    """Held-out documents of each source, in their new order."""
    duplicates: int
    empty: int


def split_documents(documents: Iterable[tuple[str, str]], seed: int, validation_share: float) -> DocumentSplit:
    """Read all documents (label, text) once and decide.

    Documents are put in the order of a 128-bit hash of seed and text. Of equal texts one is kept, under the label that
    sorts first. From each source the first documents of that order are held out until they have `validation_share` of
    its bytes, at least one and never all. So the order in which documents come decides nothing.

    Raises UserError if there are no documents, or a source has fewer than two of its own.
    """
    key = seed.to_bytes(hashlib.blake2b.SALT_SIZE, "little")
    names: dict[str, int] = {}
    label, sizes, hashes = array("q"), array("q"), array("Q")
    for name, text in documents:
        data = text.encode()
        label.append(names.setdefault(name, len(names)))
        sizes.append(len(data) if text.strip() else 0)
        digest = hashlib.blake2b(data, digest_size=16, salt=key).digest()
        hashes.extend((int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")))
    if not any(sizes):
        raise UserError("sources: no documents with text in them")
    labels = tuple(sorted(names))
    place = {name: index for index, name in enumerate(labels)}
    rank = np.array([place[name] for name in names])
    label_of, bytes_of = rank[np.asarray(label)], np.asarray(sizes)
    high, low = np.asarray(hashes).reshape(-1, 2).T
    order = np.lexsort((label_of, low, high))
    filled = order[bytes_of[order] > 0]
    first = np.ones(len(filled), dtype=np.bool_)
    first[1:] = (high[filled[1:]] != high[filled[:-1]]) | (low[filled[1:]] != low[filled[:-1]])
    chosen = filled[first]
    kept = np.zeros(len(bytes_of), dtype=np.bool_)
    kept[chosen] = True
    is_held = np.zeros_like(kept)
    validation = {}
    for index, name in enumerate(labels):
        own = chosen[label_of[chosen] == index]
        validation[name] = _held_out(own, bytes_of[own], validation_share, name)
        is_held[validation[name]] = True
    return DocumentSplit(
        labels=labels,
        label=label_of,
        bytes=bytes_of,
        kept=kept,
        train=chosen[~is_held[chosen]],
        validation=validation,
        duplicates=len(filled) - len(chosen),
        empty=len(order) - len(filled),
    )


def _held_out(own: NDArray[np.int64], sizes: NDArray[np.int64], share: float, name: str) -> NDArray[np.int64]:
    if len(own) < 2:
        raise UserError(
            f"source {brief(name)}: validation would be empty: whole documents are held out, and it has {len(own)} of "
            "its own; split it with --document-separator, or join it to a source of more documents"
        )
    before = np.cumsum(sizes) - sizes
    held: NDArray[np.int64] = own[:-1][before[:-1] < share * sizes.sum()]
    return held
