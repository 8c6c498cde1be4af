"""Files of tokens seen as one long sequence, without reading them into memory."""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moewright.complaints import one_of
from moewright.errors import UserError
from moewright.files import open_regular

TOKEN_DTYPES: dict[str, np.dtype[np.unsignedinteger]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
"""What a token may be stored as; little-endian, as nanoGPT, llm.c and OLMo-core write them."""

_CHUNK = 2**18  # tokens at a time, when all are read once: 1 MB of uint32, which caches hold
_NUMPY_MAGIC = b"\x93NUMPY"
# llm.c's dev/data/data_common.py: 256 int32 of header (magic, version, number of tokens), then the tokens.
_HEADER_BYTES = 256 * 4
_LLM_C_DTYPES = {20240520: "uint16", 20240801: "uint32"}


@dataclass(frozen=True, eq=False)
class TokenShards:
    """Tokens of one or more files in their order, by memory map."""

    files: tuple[Path, ...]
    dtype: str
    """uint16 or uint32, the same for all files."""
    _maps: tuple[NDArray[np.unsignedinteger], ...]
    _ends: tuple[int, ...]
    """Tokens up to the end of each file."""

    @classmethod
    def open(cls, files: Sequence[str | Path], dtype: str | None = None) -> "TokenShards":
        """Map the files.

        A .npy file written by numpy.save and a .bin file with llm.c's header say what they hold. Bare tokens, as
        nanoGPT's .bin and OLMo-core's files (which are named .npy too), need `dtype`.

        Raises UserError for a missing, empty or truncated file, one that is not 1-D uint16 or uint32, and for files
        of different types.
        """
        if not files:
            raise UserError("shards: no files of tokens were named")
        if dtype is not None:
            one_of(dtype, "dtype", TOKEN_DTYPES)
        paths = tuple(Path(file) for file in files)
        maps = tuple(_map(path, dtype) for path in paths)
        names = [_dtype_name(tokens) for tokens in maps]
        odd = next((path for path, name in zip(paths, names, strict=True) if name != names[0]), None)
        if odd is not None:
            raise UserError(f"{odd}: {_dtype_name(maps[paths.index(odd)])} tokens, but {paths[0]} has {names[0]}")
        return cls(paths, names[0], maps, tuple(accumulate(len(tokens) for tokens in maps)))

    def __len__(self) -> int:
        return self._ends[-1]

    def read(self, start: int, stop: int) -> NDArray[np.int64]:
        """Tokens start to stop - 1, int64 (stop - start,), across files. IndexError outside of 0 .. len(self)."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"tokens {start} to {stop} of {len(self)}")
        read = np.empty(stop - start, dtype=np.int64)
        done, index = 0, bisect_right(self._ends, start)
        while done < len(read):
            first = self._ends[index] - len(self._maps[index])
            part = self._maps[index][start + done - first : stop - first]
            read[done : done + len(part)] = part
            done, index = done + len(part), index + 1
        return read

    def largest_tokens(self) -> tuple[int, ...]:
        """The largest token of each file; reads all of them, once for this and the fingerprint."""
        return self._scanned[0]

    def max_token(self) -> int:
        """The largest token of all; see `largest_tokens`."""
        return max(self.largest_tokens())

    def sampled_largest_tokens(self) -> tuple[int, ...]:
        """The largest among the first 65,536 tokens of each file: enough to tell another vocabulary or type."""
        return tuple(int(tokens[: 2**16].max()) for tokens in self._maps)

    def fingerprint(self) -> str:
        """SHA-256 (hex) of the tokens as stored, headers apart; the same however they are cut into files."""
        return self._scanned[1]

    @cached_property
    def _scanned(self) -> tuple[tuple[int, ...], str]:
        digest = hashlib.sha256()
        largest = []
        for tokens in self._maps:
            found = 0
            for at in range(0, len(tokens), _CHUNK):
                chunk = np.ascontiguousarray(tokens[at : at + _CHUNK])
                digest.update(chunk.data)
                found = max(found, int(chunk.max()))
            largest.append(found)
        return tuple(largest), digest.hexdigest()


def _map(path: Path, dtype: str | None) -> NDArray[np.unsignedinteger]:
    try:
        with open_regular(path) as file:
            head = file.read(_HEADER_BYTES)
        size = path.stat().st_size
    except UserError:  # a ValueError too
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not size:
        raise UserError(f"{path}: empty; expected tokens")
    if head.startswith(_NUMPY_MAGIC):
        return _map_numpy(path, dtype)
    found = _LLM_C_DTYPES.get(int.from_bytes(head[:4], "little"))
    if found is None and dtype is None:
        raise UserError(f"{path}: bare tokens do not say what they are; give dtype, uint16 or uint32")
    if found is None:
        return _map_raw(path, TOKEN_DTYPES[str(dtype)], 0, size)
    if dtype not in (None, found):
        raise UserError(f"{path}: dtype is {dtype}, but the file's header says {found}")
    stated = _HEADER_BYTES + int.from_bytes(head[8:12], "little") * TOKEN_DTYPES[found].itemsize
    if stated != size or len(head) < _HEADER_BYTES:
        raise UserError(f"{path}: its header promises {stated:,} bytes and it has {size:,}; is the file complete?")
    return _map_raw(path, TOKEN_DTYPES[found], _HEADER_BYTES, size)


def _map_numpy(path: Path, dtype: str | None) -> NDArray[np.unsignedinteger]:
    try:
        tokens: NDArray[np.unsignedinteger] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path}: not a complete .npy file: {error}") from None
    if tokens.dtype not in TOKEN_DTYPES.values() or tokens.ndim != 1:
        raise UserError(f"{path}: {tokens.ndim}-D {tokens.dtype}; tokens are 1-D uint16 or uint32")
    if not len(tokens):
        raise UserError(f"{path}: empty; expected tokens")
    if dtype not in (None, _dtype_name(tokens)):
        raise UserError(f"{path}: dtype is {dtype}, but the file holds {_dtype_name(tokens)}")
    return tokens


def _map_raw(path: Path, dtype: np.dtype[np.unsignedinteger], offset: int, size: int) -> NDArray[np.unsignedinteger]:
    if (size - offset) % dtype.itemsize:
        raise UserError(f"{path}: {size:,} bytes are not whole {dtype.name} tokens; is the file complete?")
    if size == offset:
        raise UserError(f"{path}: empty; expected tokens")
    return np.memmap(path, dtype=dtype, mode="r", offset=offset)


def _dtype_name(tokens: NDArray[np.unsignedinteger]) -> str:
    return tokens.dtype.name
