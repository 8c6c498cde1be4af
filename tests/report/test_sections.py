"""The registry of sections: every line names a class of the project and a function that prints it."""

import ast
import inspect
from importlib import import_module
from pathlib import Path

import pytest

import moewright
from moewright.report import SECTIONS, show

SOURCE = Path(moewright.__file__).parent


def classes() -> list[str]:
    """The names of all classes of the project."""
    return [
        node.name
        for path in SOURCE.rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    ]


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_prints_one_class(name: str) -> None:
    assert classes().count(name) == 1
    module, function = SECTIONS[name].split(".")
    printer = getattr(import_module(f"moewright.report.{module}"), function)
    console, result = inspect.signature(printer).parameters.values()
    assert (console.name, str(result.annotation).strip("'\"").rpartition(".")[2].rstrip("'>")) == ("console", name)


def test_what_no_section_prints_is_an_error() -> None:
    with pytest.raises(TypeError, match="no section of the report prints a dict"):
        show({})


def test_it_prints_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    show(moewright.inspect("examples/configs/olmoe-1b-7b.json"))
    assert "6.919B parameters" in capsys.readouterr().out
