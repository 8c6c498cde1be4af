"""Digests of a checkpoint's files, made while other things are imported: then a check costs hardly any time. No torch.

A digest counts for the bytes that are used, not for those that were there when hashing began: what the file system says
of the open file (device, inode, size, times of change) before its first byte is hashed is what it says of the path when
the digest is asked for, and, where `unchanged` says so, when its content has been used.
"""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event
from types import TracebackType

from moewright.errors import UserError
from moewright.experiment.run_folder import MODEL, OPTIMIZER, FileStamp, checkpoints, read_status
from moewright.files import HashedFile, hashed, version_of
from moewright.processors import processors

CHECKPOINT_FILES = (MODEL, OPTIMIZER)
"""That a checkpoint's own record has the digests of."""
_BLOCK_BYTES = 2**23
"""Hashed without Python's lock, which an import holds for 5 ms at a time: with 1 MiB, an eighth of that, hashing waits
more than it works."""
_MOST_THREADS = 4


class EarlyDigests:
    """Files that are hashed from now on in threads, for as long as the block lasts.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file, EarlyDigests([Path(file.name)]) as digests:
    ...     digests.stamp(Path(file.name)).bytes
    0
    """

    def __init__(self, paths: Iterable[Path] = ()):
        self._is_over = Event()
        # One processor is for what is done meanwhile: on two, two threads beside an import hold it up by a third.
        self._threads = ThreadPoolExecutor(max(1, min(_MOST_THREADS, processors().granted - 1)))
        self._begun: dict[Path, Future[HashedFile]] = {}
        for path in paths:
            self.begin(path)

    def begin(self, path: Path) -> None:
        """Hash a file, unless that has begun."""
        if path not in self._begun:
            self._begun[path] = self._threads.submit(self._hash, path)

    def stamp(self, path: Path) -> FileStamp:
        """A file as it is now; waits for its digest, or makes it, if no thread is at it. Raises OSError."""
        begun = self._begun.get(path)
        if begun is None or begun.cancel():
            self._hash_here(path)
        with suppress(OSError):  # so it was when hashing began; now counts
            if self.unchanged(path):
                return self._stamp_of(path)
        self._hash_here(path)
        return self._stamp_of(path)

    def unchanged(self, path: Path) -> bool:
        """Whether a file is still the one that was hashed. Raises OSError."""
        return self._begun[path].result().version == version_of(path)

    def _hash_here(self, path: Path) -> None:
        done = self._begun[path] = Future()
        try:
            done.set_result(self._hash(path))
        except OSError as error:
            done.set_exception(error)

    def _stamp_of(self, path: Path) -> FileStamp:
        version, digest = self._begun[path].result()
        return FileStamp(bytes=version.size, sha256=digest)

    def _hash(self, path: Path) -> HashedFile:
        return hashed(path, block_bytes=_BLOCK_BYTES, stopped=self._is_over.is_set)

    def __enter__(self) -> "EarlyDigests":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_over.set()
        self._threads.shutdown(cancel_futures=True)


def of_newest_checkpoint(folder: str | Path) -> EarlyDigests:
    """Those of the checkpoint that a run folder's run would go on from; none where there is no such run.

    Which files count is decided later, by whoever holds the folder's lock: what is wrong here is complained of there.
    """
    paths: list[Path] = []
    with suppress(OSError, ValueError, UserError):
        status, found = read_status(Path(folder)), checkpoints(Path(folder))
        if found and (status is None or status.state != "finished"):
            paths = [found[-1] / name for name in CHECKPOINT_FILES]
    return EarlyDigests(paths)
