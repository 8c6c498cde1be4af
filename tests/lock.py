"""Every package of the test command by version and hash: makes `requirements-dev.txt` anew from `constraints.txt`.

    python -m tests.lock

asks pip what it would install of the extra `dev`, of torch's CPU build and of what builds moewright, within
constraints.txt, and writes name, version and SHA-256 of each wheel. Nothing is installed, but pip may download wheels
for their metadata, some hundred MB. Run it on the platform of CI, Linux x86-64 with CPython 3.11, and with an index
that has torch's CPU build.

torch itself is left out: PyTorch's index and PyPI have other builds under one version, and PyPI's brings libraries of
CUDA with it, so that no list of hashes holds for both (docs/decisions.md).
"""

import hashlib
import json
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from tests.matrix import ROOT, requirements_of

WRITTEN = ROOT / "requirements-dev.txt"
CONSTRAINTS = ROOT / "constraints.txt"
EDITABLE = "editables"
"""What hatchling asks for at `pip install -e`, beside what pyproject.toml says."""
HEAD = """\
# Made by `python -m tests.lock` from constraints.txt: what the extra dev and the build install, but for torch.
# The wheels are those for Linux x86-64, CPython 3.11. How to use it: CONTRIBUTING.md.
"""


@dataclass(frozen=True)
class Wheel:
    """A wheel that pip chose; the name as PEP 503 compares it, the SHA-256 in hexadecimal digits."""

    name: str
    version: str
    sha256: str


def main() -> int:
    """Ask pip, and write the file; 1 on another platform than CI's."""
    here = (sys.implementation.name, sys.version_info[:2], sys.platform, platform.machine())
    if here != ("cpython", (3, 11), "linux", "x86_64"):
        print("the file is for Linux x86-64, CPython 3.11: run this there", file=sys.stderr)
        return 1
    wheels = [each for each in chosen() if each.name != "torch"]
    WRITTEN.write_text(HEAD + "".join(sorted(map(entry, wheels))), encoding="utf-8")
    print(f"{WRITTEN.name}: {len(wheels)} packages")
    return 0


def entry(wheel: Wheel) -> str:
    """A wheel's line in the file."""
    return f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n"


def chosen() -> list[Wheel]:
    """What pip would install for the extra dev and for the build, with all that these need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    torch = f"torch=={pinned(CONSTRAINTS)['torch']}+cpu"
    wanted = [*requirements_of("dev"), *project["build-system"]["requires"], EDITABLE, torch]
    with tempfile.TemporaryDirectory(prefix="moewright-lock-") as folder:
        path = Path(folder) / "report.json"
        command = [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"),
            *("--only-binary=:all:", "--report", str(path), "-c", str(CONSTRAINTS), *wanted),
        ]
        subprocess.run(command, check=True)
        return read_report(path)


def read_report(path: Path) -> list[Wheel]:
    """The wheels of pip's installation report (its version 1)."""
    items: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["install"]
    return [
        Wheel(normal(item["metadata"]["name"]), item["metadata"]["version"], sha256_of(item["download_info"]))
        for item in items
    ]


def sha256_of(source: dict[str, Any]) -> str:
    """Of a wheel, as the index says; of one in a local folder, of its bytes."""
    stated = source["archive_info"].get("hashes", {}).get("sha256")
    if stated is not None:
        return str(stated)
    place = urlparse(source["url"])
    assert place.scheme == "file", f"the index says no SHA-256 of {source['url']}"
    return hashlib.sha256(Path(unquote(place.path)).read_bytes()).hexdigest()


def pinned(path: Path) -> dict[str, str]:
    """The versions that a file of requirements pins, by normal name."""
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {normal(name): version for name, version in found}


def normal(name: str) -> str:
    """A project's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main())
