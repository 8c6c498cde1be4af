"""Shared by all tests: they run from the root, where examples/ is; without torch, what needs it is skipped."""

import os
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings, strategies

from moewright.experiment.product_backends import OVERRIDE

OPTIONAL = ("torch", "transformers", "tokenizers", "safetensors", "setproctitle", "submitit")
"""Of the extras `lab` and `dev`: without one of them a test module that imports it is skipped, and says so."""

# How long a case takes depends on who else computes: no test fails for it.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

# Of two backends of matrix products that are equally fast either may be chosen, and they round in another order: so one
# is stated here. Processes that tests start inherit it.
os.environ[OVERRIDE] = "torch"

pytest_plugins = ["tests.lab_fixtures"] if find_spec("torch") else []


@pytest.fixture(autouse=True, scope="session")
def _table_of_characters() -> None:
    """Hypothesis makes one when text is first drawn, which takes seconds where none is stored: no test is called slow
    for it."""
    strategies.text().validate()


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is noted in the user's cache goes into a temporary folder, also by processes that tests start. matplotlib's
    list of fonts, which takes seconds to make, stays where it was."""
    stated = os.environ.get("XDG_CACHE_HOME", "")
    users = Path(stated) if stated else Path.home() / ".cache"
    with pytest.MonkeyPatch.context() as patch:
        if "MPLCONFIGDIR" not in os.environ:
            patch.setenv("MPLCONFIGDIR", str(users / "matplotlib"))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _project_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.outcome == "failed" and isinstance(collector, pytest.Module):
        said = str(report.longrepr)
        for name in OPTIONAL:
            if find_spec(name) is None and f"No module named '{name}'" in said:
                report.outcome = "skipped"
                report.longrepr = (str(collector.path), 0, f"needs {name}")
    return report
