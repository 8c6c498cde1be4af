"""What makes two runs the same run: the resolved recipe, the tokens, and the code that trains. No torch."""

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import moewright
from moewright.experiment.changes import RESUMABLE
from moewright.experiment.recipe import Recipe
from moewright.experiment.schedule import peak_learning_rate

_TRAINING = "moewright.lab.training"
_PACKAGES = ("moewright.architecture", "moewright.lab")

_ID_DIGITS = 12
"""48 bits: among a million runs, two share an id with a chance of 0.2 %."""


def run_id(recipe: Recipe, data_fingerprint: str, code: str) -> str:
    """12 hex digits. Where the data lies, how often is logged and when checkpoints are written does not matter."""
    values = {key: value for key, value in recipe.to_dict().items() if key not in RESUMABLE}
    peak = peak_learning_rate(recipe)  # a law's advice may change with the law
    return digest({"recipe": values, "peak": peak, "data": data_fingerprint, "code": code})[:_ID_DIGITS]


def digest(values: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of plain values, the same for every order of keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@cache
def code_version() -> str:
    """SHA-256 (hex) over the sources that decide what a run computes.

    Those are the modules of `architecture` and `lab` that training imports, directly or through others. So a change to
    sweeps, tables or exports leaves every run what it was.
    """
    whole = hashlib.sha256()
    for name, source in sorted(_sources(_TRAINING).items()):
        if name.startswith(_PACKAGES):
            whole.update(f"{name}\0{source}\0".encode())
    return whole.hexdigest()


def _sources(module: str) -> dict[str, str]:
    """The sources of a module and of all that it imports of moewright, by module name."""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if name in found or path is None:
            continue
        found[name] = path.read_text(encoding="utf-8")
        parents = [name.rsplit(".", depth)[0] for depth in range(1, name.count("."))]
        imported = [*parents, *_imports(found[name])]
        waiting += [one for one in imported if one.startswith("moewright.")]
    return found


def _imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file(module: str) -> Path | None:
    """The source of a module of this package; None for a name inside a module."""
    base = Path(moewright.__file__).parent.joinpath(*module.split(".")[1:])
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)
