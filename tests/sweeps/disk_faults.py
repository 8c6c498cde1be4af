"""Faults of a disk in the processes of a sweep: a write, fsync, rename or creation fails, one at a time, on demand.

The faults are made by `disk_faults.c`, which is compiled here and preloaded, so that they reach Python, the libraries
below it and any trainer's own processes alike.
"""

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path


@dataclass(frozen=True)
class DiskFault:
    """The next call of a kind fails."""

    call: str
    """write, fsync, rename, create or mkdir."""
    error: str
    """ENOSPC or EIO."""
    process: str
    """In whom: worker or submitter."""
    how: str = "whole"
    """Of a write: nothing is written; half is, and then it fails; or it says that only half was written."""

    def __str__(self) -> str:
        """In the words of the table."""
        return f"{self.error} on {self.call} in a {self.process}"


FAULTS = (
    *(DiskFault("write", error, who, how) for how in ("whole", "half", "short") for error, who in
      product(("ENOSPC", "EIO"), ("worker", "submitter"))),
    *(DiskFault(call, error, who) for call in ("rename", "create") for error, who in
      product(("ENOSPC", "EIO"), ("worker", "submitter"))),
    *(DiskFault("fsync", error, "worker") for error in ("ENOSPC", "EIO") for _ in range(2)),
)  # fmt: skip
"""In turn: every call, both errors, both processes."""


class DiskFaults:
    """Orders faults in processes that were started with `environment`."""

    def __init__(self, folder: Path, under: Path):
        """`folder`: a new one for the library and the orders; `under`: the files whose disk is bad."""
        folder.mkdir(parents=True)
        self._folder = folder
        library = folder / "disk_faults.so"
        source = Path(__file__).with_suffix(".c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
        self.environment = {
            "LD_PRELOAD": str(library),
            "DISK_FAULTS_CONTROL": str(folder),
            "DISK_FAULTS_UNDER": f"{under}/",
        }

    @contextmanager
    def full(self) -> Iterator[None]:
        """Within the block the disk is full."""
        (self._folder / "full").touch()
        try:
            yield
        finally:
            (self._folder / "full").unlink()

    def fail_at(self, number: int, error: str, how: str) -> None:
        """Count calls anew; the one of that number fails `once`, all from it on (`on`), or it is a `kill`. 0: none."""
        (self._folder / "count").unlink(missing_ok=True)
        (self._folder / "nth").write_text(f"{number or 10**9} {getattr(errno, error)} {how}")

    def counted(self) -> int:
        """Calls since `fail_at`."""
        count = self._folder / "count"
        return count.stat().st_size if count.exists() else 0

    @staticmethod
    def can_be_made() -> bool:
        """Whether there is a compiler."""
        return shutil.which("cc") is not None

    def order(self, fault: DiskFault, text: str) -> None:
        """The next such call fails in a process whose command line has the text."""
        for name in ("taken", "said"):
            (self._folder / name).unlink(missing_ok=True)
        written = self._folder / "order.new"
        written.write_text(f"{fault.call} {getattr(errno, fault.error)} {fault.how} {text}")
        written.rename(self._folder / "order")

    def happened(self) -> tuple[int, str] | None:
        """The process that the last order hit, and the file; None while it waits."""
        if not (self._folder / "taken").exists():
            return None
        said = self._folder / "said"
        end = time.monotonic() + 5
        while not (said.exists() and said.read_text()) and time.monotonic() < end:
            time.sleep(0.01)  # it may have been killed between the two
        process, _, path = (said.read_text() if said.exists() else "0 ?").partition(" ")
        return int(process), path

    def withdraw(self) -> bool:
        """The order stands no longer; False if it was carried out meanwhile."""
        try:
            os.unlink(self._folder / "order")
        except FileNotFoundError:
            return False
        return True
