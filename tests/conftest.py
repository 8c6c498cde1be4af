"""Shared by all tests: they run from the project's root, where examples/ is."""

from pathlib import Path

import pytest

pytest_plugins = ["tests.lab_fixtures"]


@pytest.fixture(autouse=True)
def _project_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
