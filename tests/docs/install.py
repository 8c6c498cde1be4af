"""The README followed by somebody new: a copy of what git tracks, a new environment, every block in order.

    python -m tests.docs.install

Takes a few minutes and a package index. The block of the test command is left out: it is what runs the suite. After
each block that installs: what all installed packages weigh, compiled sources included, and the heaviest of them;
without pip and setuptools, which an environment begins with.
"""

import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
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
            if "pip install" in block.text and not done.returncode:
                print(weights(Path(folder) / ".venv"), flush=True)
            if done.returncode:
                print(f"{block.text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}", file=sys.stderr)
                return 1
    return 0


def weights(environment: Path) -> str:
    """A line: MiB of an environment's packages, in all and of the heaviest."""
    packages: Counter[str] = Counter()
    (place,) = environment.glob("lib/python*/site-packages")
    for path in place.rglob("*"):
        if path.is_file() and not path.is_symlink():
            packages[path.relative_to(place).parts[0].removesuffix(".libs")] += path.stat().st_size
    for name in [each for each in packages if each.partition("-")[0] in ("pip", "setuptools", "_distutils_hack")]:
        del packages[name]
    heaviest = ", ".join(f"{name} {size / 2**20:.0f}" for name, size in packages.most_common(5))
    return f"          {packages.total() / 2**20:.0f} MiB of packages: {heaviest}"


if __name__ == "__main__":
    sys.exit(main())
