"""What makes two runs the same: recipes that differ in one setting, sources that training reads and others."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import moewright
from moewright.experiment import identity
from moewright.experiment.identity import code_digest, run_id
from moewright.experiment.recipe import Recipe
from moewright.lab.training import train
from tests.lab.tiny import recipe


def make(data: dict[str, Any], **changes: Any) -> Recipe:
    return Recipe.from_dict(recipe(data, **changes))


CHANGES: list[dict[str, Any]] = [
    {"seed": 1},
    {"learning_rate": 0.011},
    {"learning_rate": {"law": "steplaw"}},
    {"precision": "bf16"},
    {"balancing": {"losses": [{"weight": 0.02}]}},
    {"dispatch": {"capacity": {"factor": 1.5}}},
    {"evaluation": {"sequences": 2}},
    {"steps": 11},
]


def test_every_setting_that_training_reads_makes_another_run(data: dict[str, Any]) -> None:
    ids = {run_id(make(data, **change), "tokens") for change in [{}, *CHANGES]}
    assert len(ids) == len(CHANGES) + 1
    assert len({run_id(make(data), *other) for other in (("a", 1), ("a", 2), ("d", 1))}) == 3


def test_what_does_not_touch_the_weights_makes_none(data: dict[str, Any], tmp_path: Path) -> None:
    one = run_id(make(data), "tokens")
    for change in ({"checkpoints": {"keep": 1}}, {"log_every_steps": 3}):
        assert run_id(make(data, **change), "tokens") == one
    elsewhere = {**data, "train": [str(tmp_path / "elsewhere.bin")]}
    assert run_id(make(elsewhere), "tokens") == one


def test_the_code_digest_follows_all_that_training_runs(data: dict[str, Any], tmp_path: Path, quick: None) -> None:
    """Every function of these packages that a run of all sorts of settings calls lies in a module that counts."""
    package = Path(moewright.__file__).parent
    called: set[Path] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(package)):
            called.add(Path(frame.f_code.co_filename).relative_to(package))

    settings = {
        "balancing": {"losses": [{"weight": 0.01}], "z_loss": 0.001, "selection_bias": {"step": 0.01}},
        "dispatch": {"capacity": {"factor": 1.2}},
        "evaluation": {"every_tokens": 256},
        "checkpoints": {"every_tokens": 256},
    }
    made = recipe(data, 4, **settings)
    sys.setprofile(note)
    try:
        train(Recipe.from_dict(made), tmp_path / "run", show=False)
    finally:
        sys.setprofile(None)
    modules = {".".join(("moewright", *path.with_suffix("").parts)).removesuffix(".__init__") for path in called}
    counting = {name for name in modules if name.startswith(identity._PACKAGES)}
    assert len(counting) > 30
    assert counting <= set(identity._sources("moewright.lab.training"))


def test_the_code_digest_follows_what_training_imports_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = dict(identity._sources("moewright.lab.training"))
    assert not any(name.startswith(("moewright.sweeps", "moewright.experiment.collecting")) for name in sources)

    def version(**changes: str) -> str:
        identity.code_digest.cache_clear()
        monkeypatch.setattr(identity, "_sources", lambda _: {**sources, **changes})
        return code_digest()

    before = version()
    assert version(**{"moewright.lab.losses": "changed"}) != before
    assert version(**{"moewright.laws.law": "changed"}) == before
    identity.code_digest.cache_clear()


def test_imports_are_found_by_lines_as_by_parsing() -> None:
    """In every source that may count, what stands for a module of the package."""

    def parsed(source: str) -> Iterator[str]:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    package = Path(identity.__file__).parents[1]
    for path in (path for room in identity._PACKAGES for path in (package / room.partition(".")[2]).rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        wanted, found = (
            {name for name in names if name.startswith("moewright.") and identity._file(name) is not None}
            for names in (parsed(source), identity._imports(source))
        )
        assert found == wanted, path
