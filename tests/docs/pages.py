"""The pages that people read, taken at their word: their command blocks as a session in a folder of its own.

Blocks of `bash` and `python` run in the order of the page, in the form printed, in a copy of what its reader has:
examples, docs, and a `.venv`. Installing is left out here, since the suite itself runs in an environment
made by the README's test command; `python -m tests.docs.install` follows the README with a new one.

A block that cannot run here says why in a comment above it: `<!-- not run: it needs a Slurm cluster -->`.
"""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
READERS_FILES = ("CHANGELOG.md", "README.md", "constraints.txt", "docs", "examples", "pyproject.toml", "src", "tests")
_FENCE = re.compile(
    r"(?:<!-- (?P<note>[^\n]*?) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_INSTALLS = re.compile(r"^(python3 -m venv|\S*pip install)\b")
SHORTER = (
    ("repeat: 4", "1"),
    ("train_tokens: 1M", "250K"),
    ("sequence_length: 256", "64"),
    ("batch_tokens: 8192", "2048"),
)
"""What makes a sixteenth of the first run of examples: as many steps of as many shorter sequences, and one layer."""
_PROMISE = re.compile(r"^print\(.*\)  # (?P<said>.+)$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int
    not_run: str | None
    """Why it is not run; None if it is."""


def all_pages() -> list[Path]:
    """Every Markdown file of the project, relative to its root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(Path(name) for name in listed.stdout.split() if (ROOT / name).is_file())


def blocks_of(page: Path) -> Iterator[Block]:
    """The commands of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        if match["language"] in ("bash", "python"):
            note = match["note"] or ""
            why = note.removeprefix("not run: ") if note.startswith("not run: ") else None
            if note == "tests":
                why = "it is this suite"
            yield Block(match["language"], match["text"], text[: match.start()].count("\n") + 1, why)


class Session:
    """A reader's folder, and what was typed in it so far. `shorter` cuts the runs of examples/train/tiny.yaml."""

    def __init__(self, folder: Path, shorter: bool = False) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "__main__"}
        for name in READERS_FILES:
            source = ROOT / name
            if name in ("src", "tests"):
                (folder / name).symlink_to(source)
            elif source.is_dir():
                shutil.copytree(source, folder / name)
            else:
                shutil.copy(source, folder / name)
        (folder / ".venv").symlink_to(sys.prefix)
        if shorter:
            recipe = folder / "examples" / "train" / "tiny.yaml"
            text = recipe.read_text(encoding="utf-8")
            for setting, value in SHORTER:
                assert setting in text
                text = text.replace(setting, f"{setting.split()[0]} {value}")
            recipe.write_text(text, encoding="utf-8")

    def run(self, block: Block) -> None:
        """Run a block; AssertionError with what it printed if it fails."""
        if block.language == "bash":
            self._run_commands(without_installing(block.text))
        else:
            self._run_statements(block.text)

    def _run_commands(self, commands: str) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"

    def _run_statements(self, statements: str) -> None:
        printed = io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(printed):
            exec(compile(statements, "page", "exec"), self.names)
        said = [match["said"] for match in map(_PROMISE.match, statements.splitlines()) if match]
        lines = printed.getvalue().splitlines()
        assert all(promise in lines for promise in said), f"promised {said}, printed {lines}"


def without_installing(commands: str) -> str:
    """The commands of a block but for those that make an environment or install into it."""
    lines = []
    for line in commands.splitlines():
        parts = [part for part in line.split(" && ") if not _INSTALLS.match(part.strip())]
        lines.append(" && ".join(parts))
    return "\n".join(lines)


def environment() -> Mapping[str, str]:
    """What a shell has after activating the environment that runs the suite."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT / "src"),
    }
