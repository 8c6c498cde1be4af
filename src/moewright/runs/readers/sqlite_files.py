"""SQLite files of loggers, opened so that nothing is written, not even beside them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from moewright.errors import UserError

_MAGIC = b"SQLite format 3\0"


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The database, for reading. Raises UserError for one that SQLite finds damaged."""
    # With a log of writes beside it the file alone is not the whole database.
    unchanging = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    place = f"file:{quote(str(path.resolve()))}?mode=ro{unchanging}"
    try:
        with closing(sqlite3.connect(place, uri=True)) as base:
            yield base
    except sqlite3.Error as error:
        raise UserError(f"{path}: {error}") from None


def has_tables(path: Path, head: bytes, *names: str) -> bool:
    """Whether the file is a SQLite database with all these tables."""
    if not head.startswith(_MAGIC):
        return False
    try:
        with opened(path) as base:
            found = {row[0] for row in base.execute("select name from sqlite_master where type = 'table'")}
    except UserError:
        return False
    return found.issuperset(names)
