"""The tutorial notebooks run, and hold what comes out of them."""

import json
import math
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from tests.docs.notebooks import all_notebooks, read_notebook, run_cells
from tests.docs.pages import ROOT

NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


def told(outputs: list[dict[str, Any]]) -> tuple[str, list[float]]:
    """What outputs say: their words, and the numbers in them."""
    text = json.dumps([each.get("text", each.get("data")) for each in outputs])
    numbers = [float(number.replace(",", "")) for number in NUMBER.findall(text)]
    return re.sub(r"[ -]+", " ", NUMBER.sub("0", text)), numbers


@pytest.mark.parametrize("path", all_notebooks(), ids=lambda path: path.stem)
def test_it_runs_to_what_it_holds(path: Path) -> None:
    """Words to the letter, numbers within what another processor's rounding may move."""
    kept, found = read_notebook(path), read_notebook(path)
    run_cells(found, path.parent)
    for before, after in zip(kept["cells"], found["cells"], strict=True):
        if before["cell_type"] == "code":
            (words, numbers), (words_now, numbers_now) = told(before["outputs"]), told(after["outputs"])
            assert words_now == words
            assert all(
                math.isclose(*pair, rel_tol=0.03, abs_tol=1e-3) for pair in zip(numbers, numbers_now, strict=True)
            )


def test_there_are_three_of_them_without_places_of_a_machine() -> None:
    assert len(all_notebooks()) == 3
    for path in all_notebooks():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(home|root|tmp|work|usr|Users)\b", text)
        assert all(cell["outputs"] for cell in read_notebook(path)["cells"] if cell["cell_type"] == "code")
        assert f"notebooks/{path.stem}.md" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_the_site_shows_text_code_and_results() -> None:
    pytest.importorskip("mkdocs")
    spec = spec_from_file_location("site_hooks", ROOT / "docs" / "site_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = module_from_spec(spec)
    spec.loader.exec_module(hooks)
    page = hooks.notebook_page(ROOT / "docs" / "notebooks" / "design_a_model.ipynb")
    assert page.startswith("# Design a model\n")
    assert "```python\nimport moewright" in page
    assert "```text\nBuild" in page
    assert "<table>" in page
