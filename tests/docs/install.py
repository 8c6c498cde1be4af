"""The README followed by somebody new: a copy of what git tracks, a new environment, every block in order.

    python -m tests.docs.install

Takes a few minutes and a package index. The block of the test command is left out: it is what runs the suite.
"""

import subprocess
import sys
import tarfile
import tempfile
import time
from io import BytesIO
from pathlib import Path

from tests.docs.pages import ROOT, blocks_of


def main() -> int:
    """Run the README's bash blocks verbatim; print each with its seconds."""
    with tempfile.TemporaryDirectory(prefix="moewright-readme-") as folder:
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        for block in blocks_of(Path("README.md")):
            if block.language != "bash" or block.not_run is not None:
                continue
            start = time.monotonic()
            command = ["bash", "-euo", "pipefail", "-c", block.text]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            print(f"{time.monotonic() - start:6.1f} s  README.md:{block.line}", flush=True)
            if done.returncode:
                print(f"{block.text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
