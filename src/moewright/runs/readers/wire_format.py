"""Protobuf's wire format and the two framings that loggers put around it, as far as logs need them."""

import struct
import zlib
from collections.abc import Iterator

_BLOCK = 32768
"""Bytes of a block in the log of LevelDB, which W&B's files follow."""
HEADER = struct.Struct("<IHB")
LENGTH = struct.Struct("<Q")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


class TornFileError(ValueError):
    """The file ends, or goes wrong, here; what came before is sound."""


def varint(data: bytes, place: int) -> tuple[int, int]:
    """A variable-length integer and the place after it."""
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise TornFileError("a number is cut off")
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: integers as they are, all else as bytes (fixed ones little-endian)."""
    place, size = 0, len(data)
    while place < size:
        tag, place = varint(data, place)
        kind = tag & 7
        if kind == 0:
            value, place = varint(data, place)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, place = varint(data, place)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise TornFileError(f"a field of unknown kind {kind}")
        if place + length > size:
            raise TornFileError("a field is cut off")
        yield tag >> 3, data[place : place + length]
        place += length


def messages(data: bytes, wanted: int) -> Iterator[bytes]:
    """The fields of one number that hold bytes."""
    return (value for number, value in fields(data) if number == wanted and isinstance(value, bytes))


def text(data: bytes, wanted: int) -> str:
    """The last field of that number as text; empty where there is none."""
    found = ""
    for value in messages(data, wanted):
        found = value.decode("utf-8", "replace")
    return found


def leveldb_records(data: bytes, place: int) -> Iterator[bytes]:
    """The records of a log of LevelDB's kind from a place in it on. Raises TornFileError after the last sound one."""
    parts: list[bytes] = []
    size = len(data)
    while place < size:
        left = _BLOCK - place % _BLOCK
        if left < HEADER.size:
            place += left
            continue
        if place + HEADER.size > size:
            raise TornFileError(f"ends inside a record at byte {place:,}")
        checksum, length, kind = HEADER.unpack_from(data, place)
        if (checksum, length, kind) == (0, 0, 0):  # the rest of a block that was given its size before it was filled
            place += left
            continue
        body = data[place + HEADER.size : place + HEADER.size + length]
        if len(body) < length or kind not in (_FULL, _FIRST, _MIDDLE, _LAST):
            raise TornFileError(f"ends inside a record at byte {place:,}")
        if zlib.crc32(body, zlib.crc32(bytes((kind,)))) != checksum:
            raise TornFileError(f"a checksum fails at byte {place:,}")
        place += HEADER.size + length
        if kind in (_FULL, _FIRST):
            parts = []
        parts.append(body)
        if kind in (_FULL, _LAST):
            yield b"".join(parts)
            parts = []
    if parts:
        raise TornFileError("ends inside a record")


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_CRC32C = _crc_table()


def masked_crc32c(data: bytes) -> int:
    """The checksum of TFRecord files: CRC-32C (Castagnoli), rotated and shifted.

    >>> hex(masked_crc32c(b"123456789"))
    '0xc78ab0e5'
    """
    crc, table = 0xFFFFFFFF, _CRC32C
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def tfrecords(data: bytes) -> Iterator[bytes]:
    """The records of a TFRecord file. Raises TornFileError after the last sound one."""
    place, size = 0, len(data)
    while place < size:
        if place + 12 > size:
            raise TornFileError(f"ends inside a record at byte {place:,}")
        (length,) = LENGTH.unpack_from(data, place)
        if masked_crc32c(data[place : place + 8]) != int.from_bytes(data[place + 8 : place + 12], "little"):
            raise TornFileError(f"a checksum fails at byte {place:,}")
        end = place + 12 + length
        if end + 4 > size:
            raise TornFileError(f"ends inside a record at byte {place:,}")
        body = data[place + 12 : end]
        if masked_crc32c(body) != int.from_bytes(data[end : end + 4], "little"):
            raise TornFileError(f"a checksum fails at byte {place:,}")
        yield body
        place = end + 4
