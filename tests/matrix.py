"""The test command on other interpreters, and with the oldest dependencies that pyproject.toml allows.

    python -m tests.matrix                    # 3.11, 3.12, 3.13, and 3.11 with the lowest versions; no torch
    python -m tests.matrix 3.12 lowest        # some of them
    python -m tests.matrix --torch 3.11       # with the extra `dev`, as in CI; elsewhere torch may take gigabytes
    python -m tests.matrix 3.13 --keep DIR --tests tests/runs tests/docs   # a part, in an environment that stays in DIR

Each row is a fresh virtual environment outside the tree, with what pip finds today, or for `lowest` with every direct
dependency at its lower bound. Its tests run folder by folder, with a line for each. Without torch, tests that need it
are skipped. Interpreters are found on PATH, in pyenv, or by `uv python find`. Exit 1 if anything fails.
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
NO_TESTS = 5
"""What pytest ends with where everything that it found is left out, as without torch."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows that are named, print a line for each of their folders, and say whether all passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=[*PYTHONS, LOWEST], metavar="ROW", help="3.12, ... or lowest")
    parser.add_argument("--torch", action="store_true", help="install the extra dev instead of test")
    parser.add_argument("--workers", default="2", help="processes of pytest")
    parser.add_argument("--tests", nargs="+", metavar="PATH", help="only these folders or files")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where environments stay, to be used again")
    chosen = parser.parse_args(arguments)
    parts = [[path] for path in chosen.tests] if chosen.tests else parts_of_the_suite()
    passed = True
    for row in chosen.rows:
        with tempfile.TemporaryDirectory(prefix="moewright-matrix-") as temporary:
            passed &= run_row(
                row, "dev" if chosen.torch else "test", parts, chosen.workers, chosen.keep or Path(temporary)
            )
    return 0 if passed else 1


def parts_of_the_suite() -> list[list[str]]:
    """The folders of tests one by one, then the files beside them."""
    tests = ROOT / "tests"
    folders = sorted(folder for folder in tests.iterdir() if any(folder.rglob("test_*.py")))
    return [*([str(folder)] for folder in folders), sorted(map(str, tests.glob("test_*.py")))]


def run_row(row: str, extra: str, parts: list[list[str]], workers: str, environments: Path) -> bool:
    """Make an environment and run parts of the suite in it; whether all passed."""
    interpreter = find_python(PYTHONS[0] if row == LOWEST else row)
    if interpreter is None:
        print(f"{row:8s} FAILED  no such Python on this machine", flush=True)
        return False
    python = environments.resolve() / row / "bin" / "python"
    constraints = environments / f"{row}.txt"
    environments.mkdir(parents=True, exist_ok=True)
    constraints.write_text("\n".join(lowest_versions(extra)) if row == LOWEST else "", encoding="utf-8")
    made = python.exists() or _run(row, "environment", [interpreter, "-m", "venv", str(python.parents[1])])
    install = [str(python), "-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", str(ROOT)]
    dependencies = [str(python), "-m", "pip", "install", "-q", "-c", str(constraints), f"{ROOT}[{extra}]"]
    if not (made and _run(row, "dependencies", dependencies) and _run(row, "moewright", install)):
        return False
    options = ["-n", workers, "--dist", "worksteal", "-p", "no:cacheprovider"]
    outcomes = [_run(row, _name(paths), [str(python), "-m", "pytest", *options, *paths]) for paths in parts]
    return all(outcomes)


def _name(paths: list[str]) -> str:
    path = Path(paths[0]).resolve()
    return (path if len(paths) == 1 else path.parent).relative_to(ROOT).as_posix()


def _run(row: str, what: str, command: list[str]) -> bool:
    start = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines() or [""]
    passed = done.returncode in (0, NO_TESTS)
    last = next((line for line in reversed(lines) if " passed" in line or " skipped" in line), lines[-1])
    word = "passed" if passed else "FAILED"
    print(f"{row:8s} {word}  {time.monotonic() - start:5.0f} s  {what}  {last}", flush=True)
    failures = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    if not passed:
        print("\n".join(failures[:20] or lines[-20:]), file=sys.stderr, flush=True)
    return passed


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
