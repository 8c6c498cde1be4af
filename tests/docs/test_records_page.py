"""The page of records and the schemas beside it are what the classes say."""

import json
from importlib.metadata import version
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES: dict[str, Any] = run_path(str(ROOT / "docs" / "make_records.py"))
PINNED = f"pydantic=={version('pydantic')}" in (ROOT / "constraints.txt").read_text().split()


@pytest.mark.skipif(not PINNED, reason="schemas are written with the pinned pydantic")
def test_the_committed_schemas_are_current() -> None:
    assert PAGES["committed"]() == PAGES["pages"](), "run python docs/make_records.py"


def test_every_format_in_the_sources_has_a_schema() -> None:
    schemas = [json.loads(text) for name, text in PAGES["committed"]().items() if name.endswith(".json")]
    formats = {schema["properties"].get("format", {}).get("const") for schema in schemas}
    assert {"moewright-architecture/1", "moewright-recipe/1", "moewright-devices/1"} <= formats
    for name in ("examples/train/tiny.yaml", "examples/sweeps/tiny.yaml", "examples/small_mixtures/space.yaml"):
        (said,) = [
            line.split(": ")[1]
            for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
            if line.startswith("format: ")
        ]
        assert said in formats
