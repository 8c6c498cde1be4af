"""Files: JSON and YAML mappings in, complete files or nothing out, and files of lines that only grow."""

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from moewright.errors import PlaceError, UserError
from moewright.foreign_text import to_json
from moewright.plain_values import UnfitTextError, dump_yaml, kind_of, parse_json, parse_loosely, parse_yaml

# A config.json is a few kB (the largest public ones, with per-layer lists, under 1 MB).
LARGEST_FILE = 32 * 2**20


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a .json, .yaml or .yml file.

    Raises UserError, naming the file and the place in it, for whatever is not one.
    """
    text = read_text(path)
    try:
        loaded = parse_yaml(text) if path.suffix.lower() in (".yaml", ".yml") else parse_json(text)
    except UnfitTextError as error:
        raise UserError(f"{path}: {error}") from None
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: expected a mapping of keys to values, found {kind_of(loaded)}")
    return loaded


def write_mapping(path: Path, mapping: dict[str, Any]) -> None:
    """Write a mapping as JSON, or as YAML if the name ends so."""
    if path.suffix.lower() in (".yaml", ".yml"):
        write_text(path, dump_yaml(mapping))
    else:
        write_text(path, to_json(json.dumps(mapping, indent=2, ensure_ascii=False)) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write to a temporary file beside the target, then rename: a reader sees the old file or the whole new one."""
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class AppendOnlyFile:
    """JSON lines that are only ever appended. Each is written at once, so a killed process leaves whole lines behind.

    A line that a full disk cut short is closed off before the next one; `read_objects` skips it. What was written
    outlasts the machine's power after `sync`, not before: a step shall not wait for the disk.
    """

    def __init__(self, path: Path):
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self.size = os.fstat(self._file).st_size
        """Bytes of all lines so far."""
        self._digest = hashlib.sha256()
        with open_regular(path) as file:
            while block := file.read(2**20):
                self._digest.update(block)
        if self.size and os.pread(self._file, 1, self.size - 1) != b"\n":
            self._append(b"\n")

    @property
    def sha256(self) -> str:
        """Of all lines so far, in hex."""
        return self._digest.hexdigest()

    def write(self, values: Mapping[str, Any]) -> None:
        """Append a line; numbers that are not finite become null."""
        self._append((json.dumps(finite(values), allow_nan=False) + "\n").encode())

    def _append(self, line: bytes) -> None:
        written = os.write(self._file, line)
        self.size += written
        self._digest.update(line[:written])
        if written != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        """Put the lines on the disk, for what is written elsewhere and relies on them. Raises OSError."""
        os.fsync(self._file)
        sync(self._path.parent)

    def close(self) -> None:
        """No more lines."""
        os.close(self._file)


def read_objects(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of an append-only file, one a line, without lines that were cut short. Raises OSError, and
    UserError for a device or a pipe."""
    with TextIOWrapper(open_regular(path), encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                values = parse_loosely(line)
            except ValueError:
                continue
            if isinstance(values, dict):
                yield values


def finite(value: Any) -> Any:
    """Plain values with null for each number that is not finite, which JSON has no word for."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def sha256_of(path: Path, size: int | None = None) -> str:
    """SHA-256 (hex) of a file's bytes, or of the first `size` of them. Raises as `hashed` does."""
    return hashed(path, size).sha256


def hashed(
    path: Path, size: int | None = None, *, block_bytes: int = 2**20, stopped: Callable[[], bool] = lambda: False
) -> "HashedFile":
    """The digest of a file's bytes, or of the first `size` of them, with what the file was before its first byte.

    Both are of one open file, whatever the path leads to meanwhile. `stopped` is asked after each block. Raises
    OSError, and InterruptedError, which is one, where it says so; UserError for a device or a pipe.
    """
    file_size(path)
    whole = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        version = version_of(file.fileno())
        block = memoryview(bytearray(block_bytes))
        while count := file.readinto(block if size is None else block[: min(size, len(block))]):
            whole.update(block[:count])
            size = None if size is None else size - count
            if stopped():
                raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR), str(path))
    return HashedFile(version, whole.hexdigest())


class FileVersion(NamedTuple):
    """What a file system says of a file, which is different once its bytes were written to."""

    device: int
    inode: int
    size: int
    bytes_changed: int
    """In nanoseconds, as is the next."""
    inode_changed: int


class HashedFile(NamedTuple):
    """A file's digest, and which file it was."""

    version: FileVersion
    sha256: str


def version_of(file: Path | int) -> FileVersion:
    """Of the file that a path leads to now, or of an open one by its descriptor. Raises OSError."""
    found = os.stat(file)
    return FileVersion(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def sync(path: Path) -> None:
    """Put a file, or the names in a folder, on the disk, so that they outlast the machine's power. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A file that appears complete or not at all: yields one beside it, renamed when the block ends well.

    A link stays one: what it names is replaced. The file is on the disk before it has its name, and the name when the
    block is left. Raises OSError.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        temporary.touch(0o644, exist_ok=False)
        yield temporary
        temporary.chmod(0o644)  # whatever the writer made of it
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except BaseException:
        _surely(lambda: temporary.unlink(missing_ok=True))
        raise


def check_new_folder(folder: Path, where: str = "out") -> None:
    """PlaceError if a folder cannot be made under this name, as far as can be said before; raises OSError too."""
    if not folder.exists():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise PlaceError(f"{where}: {folder} exists and is not an empty folder; name a new one")
    if folder.is_mount() or folder.samefile("."):  # an empty folder is replaced, which these cannot be
        raise PlaceError(f"{where}: {folder} is in use as a folder of its own; name a new one in it")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder that appears complete or not at all: yields a place beside it, renamed when the block ends well.

    Raises PlaceError if the folder exists and is not empty, or cannot be made; of two that make the same one, one does.
    """
    target = Path(os.path.realpath(folder))
    partial = _beside(target)
    try:
        try:
            check_new_folder(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir()
        except PlaceError:  # a ValueError too
            raise
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise _not_made(folder, error) from None
        yield partial
        _sync_all(partial)
        partial.chmod(0o755)
        try:
            os.replace(partial, target)
        except OSError as error:  # somebody else's is there by now
            raise _not_made(folder, error) from None
        sync(target.parent)
    except BaseException:
        _surely(lambda: shutil.rmtree(partial, ignore_errors=True))
        raise


@contextmanager
def renamed_at_the_end(partial: Path, folder: Path) -> Iterator[None]:
    """Fill a temporary folder: when the block ends well it is put on the disk and gets its name; else it is removed."""
    try:
        yield
        _sync_all(partial)
        partial.chmod(0o755)  # mkdtemp makes it private
        os.replace(partial, folder)
        sync(folder.parent)
    except BaseException:
        _surely(lambda: shutil.rmtree(partial, ignore_errors=True))
        raise


def _beside(path: Path) -> Path:
    """A name for what will be renamed to the path: hidden, no other's, and short enough whatever the path's is."""
    return path.with_name(f".{path.name[:40]}.{os.urandom(6).hex()}")


def _surely(clean: Callable[[], object]) -> None:
    """Clean up, also if a second signal comes meanwhile."""
    try:
        clean()
    except Exception:  # the disk's; what brought us here is told
        return
    except BaseException:
        clean()
        raise


def _sync_all(folder: Path) -> None:
    for place, _, names in os.walk(folder):
        for name in names:
            sync(Path(place, name))
        sync(Path(place))


def _not_made(folder: Path, error: Exception) -> PlaceError:
    return PlaceError(f"out: {folder} cannot be made: {getattr(error, 'strerror', None) or error}")


def read_text(path: Path, largest: int = LARGEST_FILE) -> str:
    """The text of a file of at most so many bytes. UserError for whatever is none: devices and pipes, which may never
    end, and other encodings."""
    try:
        size = file_size(path)
        if size > largest:
            raise UserError(f"{path}: {size:,} bytes are more than the {largest:,} that such a file may have")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text") from None
    except UserError:  # a ValueError too
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: cannot be read: {reason}") from None


def file_identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of what a path leads to: the same for all paths to it. None where there is nothing."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # a NUL in it
        return None
    return found.st_dev, found.st_ino


def open_regular(path: Path) -> BinaryIO:
    """A regular file, open for reading. Raises UserError and OSError as `file_size` does."""
    file_size(path)
    return open(path, "rb")


def file_size(path: Path) -> int:
    """Bytes of a regular file. UserError for a device or a pipe, where reading may never end; OSError for a folder and
    where there is nothing."""
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path}: not a regular file but a device or a pipe; save its content to a file first")
    return found.st_size
