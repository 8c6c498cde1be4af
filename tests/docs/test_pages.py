"""Every command that README and docs print, run as it is printed."""

import importlib
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Session, all_pages, blocks_of

PAGES = [page for page in all_pages() if any(block.not_run is None for block in blocks_of(page))]
MOST_LEFT_OUT = 13
"""Blocks that say why they are not run here; a new one wants a second thought."""


SLOW = (
    "docs/how-to/from_64_h100s.md",
    "docs/how-to/sweep.md",
    "docs/how-to/runs.md",
    "docs/how-to/train.md",
    "docs/run_table.md",
    "docs/sweeps.md",
)
"""Pages that train the runs of README and docs/training.md over again, or start many processes: `pytest -m slow`, and
there as long as they say. On the other pages the first run of examples is cut to a sixteenth."""


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=str(page), marks=[pytest.mark.slow] * (str(page) in SLOW)) for page in PAGES]
)
def test_its_commands_run(page: Path, tmp_path: Path) -> None:
    if find_spec("torch") is None and re.search(
        r"moewright (train|sweep)|lab", (ROOT / page).read_text(encoding="utf-8")
    ):
        pytest.skip("needs torch")
    session = Session(tmp_path, shorter=str(page) not in SLOW)
    for block in blocks_of(page):
        if block.not_run is None:
            session.run(block)


def test_little_is_left_out() -> None:
    left_out = [(page, block.line, block.not_run) for page in all_pages() for block in blocks_of(page) if block.not_run]
    assert len(left_out) <= MOST_LEFT_OUT, left_out
    assert all(len(why or "") > 8 for _, _, why in left_out), left_out


def test_no_command_hides_in_another_fence() -> None:
    """A block without a language is a listing or output; a bare command in it would never run."""
    for page in all_pages():
        text = (ROOT / page).read_text(encoding="utf-8")
        for match in re.finditer(r"^```(text)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            first = match[2].splitlines()[0] if match[2] else ""
            assert not re.match(r"(\.venv/bin/|moewright |python )", first), f"{page}: {first}"


def test_commands_in_running_text_name_what_exists() -> None:
    """`pytest tests/...`, `python -m ...`, `python file.py`, paths and dotted names of moewright, in any page."""
    wrong = []
    for page in all_pages():
        text = (ROOT / page).read_text(encoding="utf-8")
        for code in re.findall(r"`([^`\n]+)`", text):
            for path in re.findall(r"\b((?:tests|examples|docs|src)/[\w./-]+[\w/])", code):
                if not (ROOT / path).exists():
                    wrong.append(f"{page}: {path}")
            for module in re.findall(r"python -m ((?:tests|examples|moewright)[\w.]*)", code):
                base = ROOT / ("src" if module.startswith("moewright") else "") / module.replace(".", "/")
                if not (base.is_dir() or base.with_suffix(".py").is_file()):
                    wrong.append(f"{page}: {module}")
            for name in re.findall(r"\b(moewright(?:\.\w+)+)", code):
                if not _exists(name):
                    wrong.append(f"{page}: {name}")
    assert not wrong, "\n".join(wrong)


def _exists(name: str) -> bool:
    """Whether a dotted name is a module of moewright or something in one."""
    found: object = importlib.import_module("moewright")
    walked = "moewright"
    for part in name.split(".")[1:]:
        walked = f"{walked}.{part}"
        if not hasattr(found, part):
            try:
                importlib.import_module(walked)
            except ModuleNotFoundError as error:
                return error.name == "torch"
        found = getattr(found, part)
    return True
