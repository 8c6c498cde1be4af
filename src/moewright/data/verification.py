"""Whether a dataset's shards hold the bytes that its record states: all of them once, and later samples of them.

All are read when a dataset is first used on a machine since that was started. Where that went well, what the file
system says of each file then (device, inode, size, times of change) is noted in the system's temporary folder, with the
digests of a few places drawn at random. As long as the file system says the same, those places are read again and no
others: bytes that change elsewhere, and without a change of the file's times, are found after the machine's next start.
"""

import hashlib
import os
import random
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Literal

from moewright.data.dataset import Dataset
from moewright.data.dataset_record import StoredShard
from moewright.errors import UserError
from moewright.files import FileVersion, hashed, open_regular, version_of
from moewright.records import FileRecord, Items, Record, Sha256, Total

PLACES, PLACE_BYTES = 16, 2**16
"""How many places of a shard are read again, and how many bytes there."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Another text after each start of the machine."""
_THREADS = 4


class SampledPlace(Record):
    """Some bytes of a shard."""

    start: Total
    sha256: Sha256


class VerifiedShard(FileRecord):
    """A note in the system's temporary folder: all bytes of a shard were read, and were right."""

    format: Literal["moewright-verified/1"] = "moewright-verified/1"
    path: str
    sha256: Sha256
    seen: Items[int]
    """Device, inode, size in bytes, and when bytes and inode last changed, in nanoseconds."""
    places: Items[SampledPlace]


def check_shards(dataset: Dataset) -> None:
    """UserError, naming the file, unless the shards of a prepared dataset are those that were prepared."""
    folder, record = dataset.folder, dataset.record
    if folder is None or record is None:
        return

    def check(file: StoredShard) -> None:
        _check(folder / file.name, file.sha256)

    with ThreadPoolExecutor(_THREADS) as threads:
        for _ in threads.map(check, record.stored):  # raises what a check raised
            pass


def _check(path: Path, sha256: str) -> None:
    path = Path(os.path.realpath(path))
    try:
        note = _note(path)
        known = None if note is None else _read(note)
        if known is not None and (known.path, known.sha256, known.seen) == (str(path), sha256, version_of(path)):
            seen, places = _sample(path, [place.start for place in known.places])
            if seen == known.seen and places == known.places:
                return
        seen, digest = hashed(path)
        is_right = digest == sha256
        if is_right and note is not None:
            last = max(seen.size - PLACE_BYTES, 0)
            sampled, places = _sample(path, sorted(random.randint(0, last) for _ in range(PLACES)))
            if sampled == seen:
                with suppress(OSError):  # it is only checked whole again
                    VerifiedShard(path=str(path), sha256=sha256, seen=seen, places=places).write(note)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not is_right:
        raise UserError(
            f"{path}: not the tokens that were prepared, by their digest; put it back from a copy, or prepare the "
            "dataset again"
        )


def _sample(path: Path, starts: list[int]) -> tuple[FileVersion, tuple[SampledPlace, ...]]:
    """Places of a file, and which file it was."""
    with open_regular(path) as file:
        version = version_of(file.fileno())
        return version, tuple(
            SampledPlace(start=start, sha256=hashlib.sha256(os.pread(file.fileno(), PLACE_BYTES, start)).hexdigest())
            for start in starts
        )


def _note(path: Path) -> Path | None:
    """Where a shard is noted until this machine starts again; None where that is not known, or is another user's."""
    try:
        boot = _BOOT.read_text().strip()
        folder = Path(tempfile.gettempdir(), f"moewright-verified-{os.getuid()}")
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return None
    except OSError:
        return None
    return folder / f"{hashlib.sha256(f'{boot} {path}'.encode()).hexdigest()}.json"


def _read(note: Path) -> VerifiedShard | None:
    try:
        return VerifiedShard.read(note)
    except UserError:  # there is none, or it is damaged
        return None
