"""The test command on other interpreters, and with the oldest dependencies that pyproject.toml allows.

    python -m tests.matrix                    # 3.11, 3.12, 3.13, and 3.11 with the lowest versions; no torch
    python -m tests.matrix 3.12 lowest        # some of them
    python -m tests.matrix --torch 3.11       # with the extra `dev`, as in CI; elsewhere torch may take gigabytes

Each row is a fresh virtual environment outside the tree, with what pip finds today, or for `lowest` with every direct
dependency at its lower bound. Without torch, tests that need it are skipped. Interpreters are found on PATH, in pyenv,
or by `uv python find`. Exit 1 if any row fails.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
LOWEST = "lowest"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows that are named, print a line for each, and say whether all passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=[*PYTHONS, LOWEST], metavar="ROW", help="3.12, ... or lowest")
    parser.add_argument("--torch", action="store_true", help="install the extra dev instead of test")
    parser.add_argument("--workers", default="2", help="processes of pytest")
    chosen = parser.parse_args(arguments)
    passed = True
    for row in chosen.rows:
        start = time.monotonic()
        outcome, last = run_row(row, "dev" if chosen.torch else "test", chosen.workers)
        passed &= outcome == 0
        word = "passed" if outcome == 0 else "FAILED"
        print(f"{row:8s} {word}  {time.monotonic() - start:5.0f} s  {last}", flush=True)
    return 0 if passed else 1


def run_row(row: str, extra: str, workers: str) -> tuple[int, str]:
    """Exit status and last line of the suite in an environment of its own."""
    interpreter = find_python(PYTHONS[0] if row == LOWEST else row)
    if interpreter is None:
        return 1, f"no Python {row} on this machine"
    with tempfile.TemporaryDirectory(prefix="moewright-matrix-") as folder:
        python = Path(folder) / "venv" / "bin" / "python"
        constraints = Path(folder) / "lowest.txt"
        constraints.write_text("\n".join(lowest_versions(extra)) if row == LOWEST else "", encoding="utf-8")
        wanted = f"{ROOT}[{extra}]"
        steps: list[list[str]] = [
            [interpreter, "-m", "venv", str(python.parents[1])],
            [str(python), "-m", "pip", "install", "-q", "-c", str(constraints), wanted],
            [
                str(python),
                "-m",
                "pytest",
                "-n",
                workers,
                "--dist",
                "worksteal",
                "-p",
                "no:cacheprovider",
                str(ROOT / "tests"),
            ],
        ]
        for step in steps:
            done = subprocess.run(step, cwd=ROOT, capture_output=True, text=True, check=False)
            lines = (done.stdout + done.stderr).strip().splitlines() or [""]
            if done.returncode:
                failures = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
                print("\n".join(failures[:20]), file=sys.stderr)
                return done.returncode, lines[-1]
        return 0, next((line for line in reversed(lines) if " passed" in line), lines[-1])


def find_python(version: str) -> str | None:
    """An interpreter of a minor version that starts."""
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"), reverse=True)
    named = [shutil.which(f"python{version}"), *map(str, pyenv)]
    if shutil.which("uv"):
        found = subprocess.run(["uv", "python", "find", version], capture_output=True, text=True, check=False)
        named.append(found.stdout.strip())
    for path in named:
        if path and _says(path) == version:
            return path
    return None


def _says(path: str) -> str:
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([path, "-c", program], capture_output=True, text=True, check=False).stdout.strip()


def requirements_of(extra: str) -> list[str]:
    """pyproject's dependencies and those of one extra, with the extras that it names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    waiting, requirements = [extra], list(project["dependencies"])
    while waiting:
        for requirement in extras[waiting.pop()]:
            own = re.fullmatch(r"moewright\[(.+)\]", requirement)
            if own:
                waiting += own.group(1).split(",")
            else:
                requirements.append(requirement)
    return requirements


def lowest_versions(extra: str) -> list[str]:
    """The lower bounds of what an extra requires, as pins."""
    pins = []
    for requirement in requirements_of(extra):
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[.*?\])?.*?>=\s*([0-9.]+)", requirement)
        assert match, f"pyproject.toml: {requirement} has no lower bound"
        pins.append(f"{match.group(1)}=={match.group(2)}")
    return pins


if __name__ == "__main__":
    sys.exit(main())
