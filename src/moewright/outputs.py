"""Where results go: places that are checked before the work, and results that outlive the loss of their place.

A place is refused before anything is computed if it is one of the inputs, in a folder that is read (a result of the
same kind apart), somebody else's file, the same place twice, no place for a file (a folder, a device, a pipe, where
standard output goes), or one where nothing can be written. Links are followed: what they name is replaced, and they
stay links. `force` replaces files of others, never inputs, and no folder.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moewright.errors import PlaceError, RunStopped
from moewright.files import check_new_folder

NO_SPACE = os.strerror(errno.ENOSPC)
"""What the system says of a full disk. A run that ends so is interrupted: it is not itself at fault."""
_HEAD, _TAIL = 512, 64 * 2**10
"""Bytes of a file in which a mark is looked for: JSON, HTML and PNG have it first, Parquet last."""
_BLOCK = 4096
"""Bytes that a disk that is not full takes."""


@dataclass(frozen=True)
class Place:
    """What a command writes at a place that the user names."""

    kind: Literal["file", "files", "new folder", "own folder"]
    """`files`: some in a folder that may hold others. `own folder`: of a command that goes on in it and checks it."""
    marks: tuple[bytes, ...] = ()
    """What such a file has at its beginning or end. Only files that have one are replaced without `force`."""
    names: tuple[str, ...] = ()
    """Of `files`."""


NEW_FOLDER, OWN_FOLDER = Place("new folder"), Place("own folder")
PNG_MARK, PAGE_MARK = "moewright", '<meta name="generator" content="moewright">'
"""Of figures: a PNG's software, and what a page says of where it is from."""
FIGURE_MARKS = (b"Software\0" + PNG_MARK.encode(), PAGE_MARK.encode())
REPORT_MARK = '<meta name="generator" content="moewright report">'
MARKDOWN_MARK = "<!-- made by moewright report -->"
REPORT_FILE = Place("file", (REPORT_MARK.encode(), MARKDOWN_MARK.encode()))
LAW_FILE = Place("file", (b'"format": "moewright-law/', b"format: moewright-law/"))
FORECAST_FILE = Place("file", (b'"format": "moewright-forecast/', b"format: moewright-forecast/"))
COEFFICIENTS_FILE = Place(
    "file", (b"format: moewright-training-coefficients/", b'"format": "moewright-training-coefficients/')
)
RUN_TABLE_MARK, CURVES_MARK = "moewright-run-table", "moewright-learning-curves"
"""Keys in the metadata of Parquet files; text tables have no place for such."""
NEXT_MARK = "made by moewright next"
"""Of the runs to make next: a comment in a sweep's specification, a key in the metadata of a Parquet file."""
NEXT_RUNS = Place("file", (NEXT_MARK.encode(),))
RUN_TABLE, CURVES = Place("file", (RUN_TABLE_MARK.encode(),)), Place("file", (CURVES_MARK.encode(),))


@dataclass(frozen=True)
class Destination:
    """An output as the user names it."""

    where: str
    """The argument."""
    path: str | Path
    place: Place

    def paths(self) -> list[Path]:
        """What will be there."""
        return [Path(self.path) / name for name in self.place.names] or [Path(self.path)]

    def targets(self) -> list[Path]:
        """The same with links followed; what is written, and replaced."""
        return [Path(os.path.realpath(path)) for path in self.paths()]


def check_outputs(outputs: Sequence[Destination], inputs: Iterable[tuple[str, Path]], force: bool | None) -> None:
    """PlaceError for the first output that cannot be written, or must not be.

    `inputs`: argument and path of what is read, where it is a path. `force` None: the command has no such argument.
    """
    read = [(name, Path(os.path.realpath(path))) for name, path in inputs if os.path.lexists(path)]
    for number, output in enumerate(outputs):
        for before in outputs[:number]:
            if any(_collide(one, other) for one in output.targets() for other in before.targets()):
                raise PlaceError(f"{output.where}: {output.path} is in the place of {before.where}; name another")
        with _one_line(output):
            _check(output, force, read)


def check_space(path: Path, needed: int, where: str) -> None:
    """PlaceError if the disk of a place that need not exist yet has fewer free bytes than are needed."""
    room = os.statvfs(_nearest_there(path.absolute()))
    free = room.f_bavail * room.f_frsize
    if needed > free:
        raise PlaceError(f"{where}: {path} needs {needed:,} bytes, and {free:,} are free there; name another disk")


def deliver(*results: tuple[Destination, Callable[[Path], object]], force: bool | None = None) -> None:
    """Write results of work: where each goes, and what writes it to a path and raises OSError or PlaceError.

    One whose place was lost meanwhile is written to the system's temporary folder instead. Raises RunStopped in one
    line that says where it is then, after all were written.
    """
    lost = []
    for output, write in results:
        try:
            with _one_line(output):
                if output.place.kind != "new folder":  # which looks for itself, last of all
                    _check(output, force, ())
                write(Path(output.path))
        except PlaceError as reason:
            try:
                kept = Path(tempfile.mkdtemp(prefix="moewright-")) / (Path(output.path).name or output.where)
                write(kept)
            except (OSError, PlaceError) as again:
                lost.append(f"{reason}; nor could {tempfile.gettempdir()}: {again}")
            else:
                lost.append(f"{reason}; it is in {kept}")
    if lost:
        raise RunStopped("; ".join(lost))


@contextmanager
def _one_line(output: Destination) -> Iterator[None]:
    try:
        yield
    except PlaceError:  # a ValueError too
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        done = "made" if output.place.kind == "new folder" else "written"
        reason = getattr(error, "strerror", None) or str(error)
        raise PlaceError(f"{output.where}: {output.path} cannot be {done}: {reason}") from None


def _check(output: Destination, force: bool | None, read: Sequence[tuple[str, Path]]) -> None:
    if output.place.kind == "own folder":
        return
    if output.place.kind == "new folder":
        check_new_folder(Path(output.path), output.where)
        _probe(output.targets()[0].parent)
        return
    for path, target in zip(output.paths(), output.targets(), strict=True):
        _check_file(output, path, target, force, read)
    _probe(output.targets()[0].parent)


def _check_file(
    output: Destination, path: Path, target: Path, force: bool | None, read: Sequence[tuple[str, Path]]
) -> None:
    where = output.where
    if str(output.path).endswith("/") and not output.place.names:
        raise PlaceError(f"{where}: {output.path} names a folder; name a file")
    if not target.exists():
        if target.is_symlink():  # links that name each other
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return
    found = target.stat()
    if stat.S_ISDIR(found.st_mode):
        raise PlaceError(f"{where}: {path} is a folder; name a file")
    if not stat.S_ISREG(found.st_mode) or _is_standard_stream(found):
        raise PlaceError(f"{where}: {path} is no plain file but a device, a pipe or where output goes; name a file")
    is_ours = found.st_size == 0 or _has_mark(target, output.place.marks)
    for name, source in read:
        if target == source or os.path.samestat(found, source.stat()):
            raise PlaceError(f"{where}: {path} is what {name} reads; name another file")
        if source in target.parents and not is_ours:
            raise PlaceError(f"{where}: {path} exists in the folder that {name} reads; name another file")
    if not is_ours and not force:
        hint = "name another" if force is None else "name another, or replace it with --force (in Python force=True)"
        raise PlaceError(f"{where}: {path} exists and nothing in it says that such a result may replace it; {hint}")
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _collide(one: Path, other: Path) -> bool:
    return one == other or one in other.parents or other in one.parents


def _is_standard_stream(found: os.stat_result) -> bool:
    for stream in range(3):
        try:
            if os.path.samestat(found, os.fstat(stream)):
                return True
        except OSError:  # closed
            continue
    return False


def _has_mark(path: Path, marks: Sequence[bytes]) -> bool:
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(max(0, path.stat().st_size - _TAIL))
        tail = file.read()
    return any(mark in head or mark in tail for mark in marks)


def _probe(folder: Path) -> None:
    """OSError if no file can be written in a folder, which need not exist yet; leaves nothing there."""
    there = _nearest_there(folder)
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    with tempfile.TemporaryFile(dir=there) as file:  # without a name, where the file system can
        file.write(bytes(_BLOCK))
        file.flush()


def _nearest_there(path: Path) -> Path:
    """The path, or what is there of it."""
    while not os.path.lexists(path):
        path = path.parent
    return path
