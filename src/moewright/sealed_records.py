"""Files that say when they are not what was written, and the digest by which they do."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from moewright.errors import UserError
from moewright.records import FileRecord, Sha256


class SealedRecord(FileRecord):
    """A file that holds a digest of the rest of it: what differs from what was written is refused.

    That finds accidents, files of other runs and edits by hand. Whoever makes the digest anew is believed.
    """

    digest: Sha256 | None = None
    """SHA-256 of the other values as JSON with sorted keys, but for those that people may change. None: of a version
    before there were digests."""

    changeable: ClassVar[tuple[str, ...]] = ()
    """Fields that people may change by hand."""
    remedy: ClassVar[str] = "put it back from a copy"
    """What to do about a file that was changed."""

    def to_dict(self, defaults: bool = True) -> dict[str, Any]:
        """Plain values with their digest; see `Record.to_dict`."""
        values = super().to_dict(defaults)
        return {**values, "digest": self._digest_of(values)}

    @classmethod
    def from_dict(cls, values: Any, where: str | Path = "") -> Self:
        """See `FileRecord`; a UserError too for values that are not those which were written."""
        record = super().from_dict(values, where)
        place = f"{where}: " if where else ""
        if record.digest is None and cls._version_of(values.get("format"), place) == cls.version:
            raise UserError(f"{place}digest: missing, so it is not as it was written; {cls.remedy}")
        if record.digest is not None and record.digest != cls._digest_of(values):
            raise UserError(f"{place}changed since it was written, by its digest; {cls.remedy}")
        return record

    @classmethod
    def _digest_of(cls, values: Mapping[str, Any]) -> str:
        kept = {name: value for name, value in values.items() if name not in ("digest", *cls.changeable)}
        return digest(kept)


def digest(values: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of plain values, the same for every order of keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
