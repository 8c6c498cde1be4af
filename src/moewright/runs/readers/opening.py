"""Logs as bytes and lines, packed by gzip or not."""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from moewright.errors import UserError
from moewright.files import open_regular

GZIP = b"\x1f\x8b"
HEAD_BYTES = 65536
"""Bytes by which a file's format is told."""
_LARGEST = 4 * 2**30
"""Bytes of one log."""


def _open(path: Path) -> IO[bytes]:
    stream = open_regular(path)
    if stream.read(2) == GZIP:
        stream.close()
        return gzip.open(path, "rb")  # type: ignore[return-value]
    stream.seek(0)
    return stream


def read_bytes(path: Path, largest: int = _LARGEST) -> bytes:
    """The bytes of a file. Raises UserError if there are too many, or gzip's own end is missing."""
    with _open(path) as stream:
        try:
            data = stream.read(largest + 1)
        except (EOFError, zlib.error):
            raise UserError(f"{path}: the gzip file is cut off") from None
    if len(data) > largest:
        raise UserError(f"{path}: more than {largest:,} bytes are too many for one log")
    return data


def read_head(path: Path) -> bytes:
    """How a file begins; nothing of one that cannot be unpacked."""
    try:
        with _open(path) as stream:
            return stream.read(HEAD_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return b""


def log_lines(path: Path) -> Iterator[str]:
    """The lines of a text, without their ends; what is not UTF-8 shows as a replacement character."""
    with io.TextIOWrapper(_open(path), encoding="utf-8-sig", errors="replace") as lines:
        try:
            for line in lines:
                yield line.rstrip("\r\n")
        except (EOFError, zlib.error):
            return  # a torn end loses only itself
