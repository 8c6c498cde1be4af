"""The examples in docstrings, run from the project's root."""

import doctest
import importlib
import pkgutil

import pytest

import moewright

MODULES = [
    module.name
    for module in pkgutil.walk_packages(moewright.__path__, "moewright.")
    if not module.name.endswith("__main__") and ".templates" not in module.name
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if name.startswith("moewright.lab") and error.name in ("torch", "safetensors", "tokenizers"):
            pytest.skip(f"needs {error.name}")
        raise
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(module, optionflags=options).failed == 0
