"""What the headers of safetensors and GGUF files say: each tensor's name, format, shape and bytes, without the weights.

A header is read through a function of offset and length, so it may lie on a disk or behind HTTP. Nothing in a header is
believed: lengths, offsets, shapes and types are checked before anything of that size is read or made.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard
from urllib.error import URLError
from urllib.request import Request, urlopen

from moewright.architecture.gguf_types import GGUF_TYPES
from moewright.errors import UserError
from moewright.files import file_size
from moewright.plain_values import UnfitTextError, parse_json
from moewright.quantities import brief

RangeReader = Callable[[int, int], bytes]
"""(offset, length) -> so many bytes from there; fewer where the file ends."""

# safetensors' own limit is 100 MB; the longest published header is some 10 MB (all experts of a layer in one file).
LARGEST_SAFETENSORS_HEADER = 16 * 2**20
# A tokenizer of 250,000 words with its merges takes some 15 MB.
LARGEST_GGUF_HEADER = 64 * 2**20
_MOST_TENSORS = 200_000
_LONGEST_NAME = 1_000
_MOST_LISTED = 1_000

SAFETENSORS_BITS: dict[str, int] = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}
"""Bits of an element (huggingface/safetensors 0.8, safetensors/src/tensor.rs)."""


class HeaderTensor(NamedTuple):
    """One tensor of a file."""

    name: str
    dtype: str
    """As the file calls it: BF16, F8_E4M3, Q4_K."""
    shape: tuple[int, ...]
    """Outputs before inputs."""
    start: int
    """The byte of the file at which its data begin."""
    bytes: int

    @property
    def elements(self) -> int:
        """Of the shape; of packed integers more parameters may be in one."""
        return math.prod(self.shape)


@contextmanager
def file_ranges(path: Path) -> Iterator[tuple[RangeReader, int]]:
    """A reader of a file's ranges, and the file's bytes. UserError where it cannot be read."""
    try:
        size = file_size(path)
        with path.open("rb") as file:

            def read(offset: int, length: int) -> bytes:
                file.seek(offset)
                return file.read(length)

            yield read, size
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


@contextmanager
def http_ranges(url: str, headers: dict[str, str] | None = None) -> Iterator[tuple[RangeReader, int]]:
    """A reader of the ranges of what an address names, and its bytes, for servers that answer range requests.

    `headers` go with every request, such as a token. UserError where the server cannot be reached or sends whole files.
    """

    def ask(offset: int, length: int) -> tuple[bytes, int]:
        asked = {**(headers or {}), "Range": f"bytes={offset}-{offset + length - 1}"}
        try:
            with urlopen(Request(url, headers=asked), timeout=30) as answer:
                total = whole_length(answer.status, answer.headers.get("Content-Range", ""), offset, url)
                return answer.read(length), total
        except UserError:
            raise
        except (URLError, OSError, ValueError) as error:
            raise UserError(f"{url}: cannot be read: {getattr(error, 'reason', error)}") from None

    _, size = ask(0, 1)
    yield lambda offset, length: ask(offset, length)[0] if length and offset < size else b"", size


def whole_length(status: int, content_range: str, offset: int, name: str) -> int:
    """Bytes of the file that an answer to a range request is a part of (RFC 9110, section 14.4).

    UserError where the answer is no such part: all of the file, a part from elsewhere, or of a file of unknown length.
    """
    if status != 206:
        raise UserError(f"{name}: the server does not answer range requests (status {status})")
    part = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})", content_range)
    if part is None or int(part[1]) != offset:
        raise UserError(f"{name}: the server does not say which part of how long a file it sends")
    return int(part[2])


Ranges = AbstractContextManager[tuple[RangeReader, int]]


def read_header(ranges: Ranges, name: str) -> list[HeaderTensor]:
    """The tensors of a file by its ending, `.gguf` or safetensors. Raises UserError that names the file."""
    reader = read_gguf_header if name.lower().endswith(".gguf") else read_safetensors_header
    with ranges as (read, size):
        return reader(read, size, name)


# safetensors: 8 bytes of length, JSON, data


def read_safetensors_header(read: RangeReader, size: int, name: str) -> list[HeaderTensor]:
    """The tensors of a safetensors file of `size` bytes. Raises UserError for whatever is no such file."""
    start = read(0, 8)
    if len(start) < 8:
        raise UserError(f"{name}: {size:,} bytes are too few for a safetensors file; is it complete?")
    (length,) = struct.unpack("<Q", start)
    if length > size - 8:
        raise UserError(f"{name}: the header is said to have {length:,} bytes, the file has {size:,}; is it complete?")
    if length > LARGEST_SAFETENSORS_HEADER:
        raise UserError(f"{name}: a header of {length:,} bytes is more than the {LARGEST_SAFETENSORS_HEADER:,} read")
    text = read(8, length)
    if len(text) < length:
        raise UserError(f"{name}: the file ends within its header; is it complete?")
    try:
        values = parse_json(text.decode("utf-8"))
    except UnicodeDecodeError:
        raise UserError(f"{name}: the header is not UTF-8 text; is it a safetensors file?") from None
    except UnfitTextError as error:
        raise UserError(f"{name}: header: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{name}: the header is no mapping; is it a safetensors file?")
    values.pop("__metadata__", None)
    if len(values) > _MOST_TENSORS:
        raise UserError(f"{name}: {len(values):,} tensors are more than the {_MOST_TENSORS:,} read")
    data = 8 + length
    tensors = [_safetensors_tensor(key, value, data, name) for key, value in values.items()]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.bytes))
    end = data
    for tensor in tensors:
        if tensor.start != end:
            what = "overlap" if tensor.start < end else "leave a hole"
            raise UserError(f"{name}: the data of {brief(tensor.name)} and of the tensor before it {what}")
        end += tensor.bytes
    if end != size:
        raise UserError(f"{name}: tensors end at byte {end:,}, the file at {size:,}; is it complete?")
    return tensors


def _safetensors_tensor(key: str, value: object, data: int, name: str) -> HeaderTensor:
    """What an entry says; its offsets count from where the file's data begin."""
    place = f"{name}: {brief(key)}"
    if not isinstance(value, dict):
        raise UserError(f"{place}: expected a mapping, found {brief(value)}")
    dtype, shape, offsets = value.get("dtype"), value.get("shape"), value.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in SAFETENSORS_BITS:
        raise UserError(f"{place}: dtype {brief(dtype)} is not one that safetensors files have")
    if not _whole_numbers(shape) or len(shape) > 10:
        raise UserError(f"{place}: shape {brief(shape)} is not a list of whole numbers")
    if not _whole_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise UserError(f"{place}: data_offsets {brief(offsets)} are not where something begins and ends")
    begin, end = offsets
    bits = math.prod(shape) * SAFETENSORS_BITS[dtype]
    if bits != 8 * (end - begin):
        raise UserError(f"{place}: {dtype} of shape {brief(shape)} does not take the {end - begin:,} bytes that it has")
    return HeaderTensor(key, dtype, tuple(shape), data + begin, end - begin)


def _whole_numbers(values: object) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62 for value in values
    )


# GGUF (ggml-org/ggml, docs/gguf.md): magic, version, counts, keys and values, tensors, data


_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


class _Stream:
    """Bytes in order, fetched in larger pieces."""

    PIECE = 2**20

    def __init__(self, read: RangeReader, size: int, name: str) -> None:
        self._read, self._size, self._name = read, size, name
        self._buffer, self._begin, self.at = b"", 0, 0

    def take(self, length: int) -> bytes:
        if length > self._size - self.at:
            raise UserError(f"{self._name}: the file ends within its header; is it complete?")
        if self.at + length > LARGEST_GGUF_HEADER:
            raise UserError(f"{self._name}: a header of more than {LARGEST_GGUF_HEADER:,} bytes is not read")
        start = self.at - self._begin
        if start + length > len(self._buffer):
            self._buffer = self._read(self.at, max(length, self.PIECE))
            self._begin, start = self.at, 0
            if len(self._buffer) < length:
                raise UserError(f"{self._name}: the file ends within its header; is it complete?")
        self.at += length
        return self._buffer[start : start + length]

    def number(self, letter: str) -> int:
        value = struct.unpack(f"<{letter}", self.take(struct.calcsize(f"<{letter}")))[0]
        return int(value) if letter not in "fd" else 0

    def text(self, longest: int = LARGEST_GGUF_HEADER) -> str:
        length = self.number("Q")
        if length > longest:
            raise UserError(f"{self._name}: a name of {length:,} bytes is too long for a GGUF file")
        return self.take(length).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """A scalar, a text, or a list of scalars; None for longer lists and lists of texts, which are passed over."""
        if kind in _SCALARS:
            letter = _SCALARS[kind]
            return struct.unpack(f"<{letter}", self.take(struct.calcsize(f"<{letter}")))[0]
        if kind == _STRING:
            text = self.take(self.number("Q")).decode("utf-8", "replace")
            return text if len(text) <= _LONGEST_NAME else None
        if kind != _ARRAY:
            raise UserError(f"{self._name}: a value of type {kind} is not one that GGUF files have")
        inner, count = self.number("I"), self.number("Q")
        if inner in _SCALARS and count <= _MOST_LISTED:
            return [self.value(inner) for _ in range(count)]
        self._skip_items(inner, count, 0)
        return None

    def skip(self, kind: int, depth: int = 0) -> None:
        """Pass over a value."""
        if kind in _SCALARS:
            self.take(struct.calcsize(f"<{_SCALARS[kind]}"))
        elif kind == _STRING:
            self.take(self.number("Q"))
        elif kind == _ARRAY and depth < 4:
            inner, count = self.number("I"), self.number("Q")
            self._skip_items(inner, count, depth)
        else:
            raise UserError(f"{self._name}: a value of type {kind} is not one that GGUF files have")

    def _skip_items(self, kind: int, count: int, depth: int) -> None:
        if kind in _SCALARS:
            self.take(count * struct.calcsize(f"<{_SCALARS[kind]}"))
        else:
            for _ in range(count):  # every one takes at least its length, so the file's end ends it
                self.skip(kind, depth + 1)


class GgufHeader(NamedTuple):
    """What the header of a GGUF file says."""

    metadata: dict[str, Any]
    """Scalars, short texts and lists of up to a thousand scalars by key; of what is longer None."""
    tensors: list[HeaderTensor]


def read_gguf_header(read: RangeReader, size: int, name: str) -> list[HeaderTensor]:
    """The tensors of a GGUF file of `size` bytes. Raises UserError for whatever is no such file."""
    return read_gguf(read, size, name).tensors


def read_gguf(read: RangeReader, size: int, name: str) -> GgufHeader:
    """Keys and tensors of a GGUF file of `size` bytes. Raises UserError for whatever is no such file."""
    stream = _Stream(read, size, name)
    if size < 24 or stream.take(4) != b"GGUF":
        raise UserError(f"{name}: does not begin as a GGUF file does")
    version = stream.number("I")
    if version not in (2, 3):
        raise UserError(f"{name}: version {version} of GGUF is not understood (2 and 3 are)")
    tensors, keys = stream.number("Q"), stream.number("Q")
    if tensors > _MOST_TENSORS or keys > _MOST_TENSORS:
        raise UserError(f"{name}: {tensors:,} tensors and {keys:,} keys are more than the {_MOST_TENSORS:,} read")
    metadata: dict[str, Any] = {}
    for _ in range(keys):
        key = stream.text(_LONGEST_NAME)
        metadata[key] = stream.value(stream.number("I"))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 2**20:
        raise UserError(f"{name}: general.alignment: {alignment} is not understood")
    by_offset = [_gguf_tensor(stream, name) for _ in range(tensors)]
    end = data = -(-stream.at // alignment) * alignment
    found = [tensor._replace(start=data + tensor.start) for tensor in by_offset]
    for tensor in sorted(found, key=lambda tensor: (tensor.start, tensor.bytes)):
        if tensor.start < end:
            raise UserError(f"{name}: the data of {brief(tensor.name)} and of the tensor before it overlap")
        end = tensor.start + tensor.bytes
    if end > size:
        raise UserError(f"{name}: tensors end at byte {end:,}, the file at {size:,}; is it complete?")
    return GgufHeader(metadata, found)


def _gguf_tensor(stream: _Stream, name: str) -> HeaderTensor:
    """The next tensor; its start counts from where the file's data begin, which is known after the last."""
    key = stream.text(_LONGEST_NAME)
    axes = stream.number("I")
    if axes > 8:
        raise UserError(f"{name}: {brief(key)}: {axes} axes are more than GGUF files have")
    shape = tuple(stream.number("Q") for _ in range(axes))[::-1]
    kind, offset = stream.number("I"), stream.number("Q")
    stored = next((stored for stored in GGUF_TYPES.values() if stored.number == kind), None)
    if stored is None:
        raise UserError(f"{name}: {brief(key)}: type {kind} is not one that GGUF files have")
    if any(side >= 2**62 for side in shape) or (shape and shape[-1] % stored.block):
        raise UserError(f"{name}: {brief(key)}: shape {brief(list(shape))} does not fit {stored.name}")
    size = math.prod(shape) // stored.block * stored.block_bytes
    return HeaderTensor(key, stored.name, shape, offset, size)
