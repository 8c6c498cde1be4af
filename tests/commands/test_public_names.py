"""What `moewright` shows: functions, classes and packages, each under one name, and nothing that it imported."""

import ast
import inspect
import pkgutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import yaml

import moewright
from moewright import data
from moewright.commands import COMMANDS
from tests.docs.pages import ROOT

SOURCE = Path(moewright.__file__)
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(moewright.__path__, "moewright.")
    if not module.name.startswith(("moewright.exporters.templates", "moewright.__main__"))  # files for other programs
)
PACKAGES = sorted(
    ".".join(path.parent.relative_to(SOURCE.parents[1]).parts)
    for path in SOURCE.parent.glob("*/**/__init__.py")
    if "__all__" in path.read_text(encoding="utf-8")
)


def in_a_new_process(script: str) -> str:
    return subprocess.check_output([sys.executable, "-c", script], text=True).strip()


def test_dir_shows_the_public_names_only() -> None:
    shown = dir(moewright)
    assert shown == sorted({*moewright.__all__, "__version__"})
    assert {*COMMANDS.values()} < {*shown}
    for name in shown:
        value = getattr(moewright, name)
        kind = inspect.isfunction(value), inspect.isclass(value), inspect.ismodule(value), isinstance(value, str)
        assert sum(kind) == 1
        assert name.islower() != inspect.isclass(value)


def test_what_was_used_before_does_not_change_it() -> None:
    script = "import moewright; {}; print(dir(moewright) == sorted([*moewright.__all__, '__version__']))"
    used = "moewright.inspect('examples/configs/dbrx.json'); import moewright.sweeps.planner, moewright.files"
    assert in_a_new_process(script.format("pass")) == in_a_new_process(script.format(used)) == "True"


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(moewright, "inspekt")
    with pytest.raises(AttributeError, match="module 'moewright' has no attribute 'inspekt'"):
        _ = moewright.inspekt


def test_type_checkers_are_told_of_every_name() -> None:
    """Names come from `__getattr__` at run time, and from imports for type checkers: these must agree."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    told = {
        alias.asname or alias.name: None if node.module == "moewright" else (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {*told, "UserError"} == {*moewright.__all__}
    for name, where in told.items():
        found = import_module(f"moewright.{name}") if where is None else getattr(import_module(str(where[0])), where[1])
        assert getattr(moewright, name) is found


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_found_by_its_name(name: str) -> None:
    """No function, class or variable of a package hides one of its modules."""
    if name.startswith("moewright.lab"):
        pytest.importorskip("torch")
    module = import_module(name)
    parent, _, leaf = name.rpartition(".")
    assert getattr(sys.modules[parent], leaf) is module is sys.modules[name]


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_show_their_public_names_and_nothing_else(name: str) -> None:
    if name.startswith("moewright.lab"):
        pytest.importorskip("torch")
    package = import_module(name)
    assert {shown for shown in dir(package) if not shown.startswith("__")} == set(package.__all__)


def test_one_version() -> None:
    """The build reads it from the package; the file to cite says the same."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in build["project"]["dynamic"]
    assert build["tool"]["hatch"]["version"]["path"] == "src/moewright/__init__.py"
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == moewright.__version__


def test_a_command_and_what_it_calls_have_the_same_defaults() -> None:
    command, called = (inspect.signature(one).parameters for one in (moewright.prepare_data, data.prepare))
    assert {name: one.default for name, one in called.items()} == {name: one.default for name, one in command.items()}


def test_importing_the_package_loads_next_to_nothing() -> None:
    script = "import sys; before = set(sys.modules); import moewright; print(*sorted(set(sys.modules) - before))"
    loaded = {name for name in in_a_new_process(script).split() if name.startswith("moewright")}
    assert loaded == {"moewright", "moewright.commands", "moewright.errors", "moewright.foreign_text"}


def test_signatures_load_neither_pandas_nor_numpy_nor_torch() -> None:
    names = list(COMMANDS.values())
    script = (
        f"import sys, inspect, moewright; [inspect.signature(getattr(moewright, name)) for name in {names}]; "
        "import moewright.cli; moewright.cli.make_app(); "
        "print({'numpy', 'pandas', 'torch', 'matplotlib', 'scipy'} & {*sys.modules})"
    )
    assert in_a_new_process(script) == "set()"


@pytest.mark.parametrize("call", ["train('examples/train/tiny.yaml', '{out}')"])
def test_without_torch_the_names_are_there_and_say_what_to_install(call: str, tmp_path: Path) -> None:
    call = call.format(out=tmp_path / "run")
    script = (
        "import sys; sys.modules['torch'] = None; import moewright\n"
        "assert hasattr(moewright, 'train') and hasattr(moewright, 'sweep')\n"
        f"try: moewright.{call}\nexcept moewright.UserError as error: print(error)"
    )
    assert in_a_new_process(script) == 'torch is not installed; pip install "moewright[lab]"'
    assert list(tmp_path.iterdir()) == []
