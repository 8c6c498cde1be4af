"""The house as docs/architecture.md draws it: every room is there, no name means two things, no circle, one lab.

Which way imports go is in pyproject.toml, and `lint-imports` checks it in CI.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

SOURCES = ROOT / "src" / "moewright"
PAGE = ROOT / "docs" / "architecture.md"


def modules() -> Iterator[tuple[str, Path]]:
    """Every module by its dotted name, but for files that are copied into exports."""
    for path in sorted(SOURCES.rglob("*.py")):
        if "templates" not in path.parts:
            parts = path.relative_to(SOURCES.parent).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__"), path


def imports(name: str, path: Path, known: set[str]) -> set[str]:
    """The modules that one imports, inside functions and for types too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in known}
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & known
            if not inner <= known:
                found.add(node.module)
    return found - {name}


def chosen_by_name(name: str, path: Path, known: set[str]) -> set[str]:
    """The modules that one may load by a name that it is given: `import_module(f"moewright.laws.published.{name}")`."""
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    own = {"__name__": name, "__package__": package}
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "import_module":
            [place] = node.args
            if not isinstance(place, ast.JoinedStr):
                continue  # packages of others
            *parts, last = place.values
            assert isinstance(last, ast.FormattedValue), f"{name}: {ast.unparse(node)}"
            prefix = "".join(
                str(part.value) if isinstance(part, ast.Constant) else own[ast.unparse(part).strip("{}f'\"")]
                for part in parts
            )
            found |= {other for other in known if other.rpartition(".")[0] == prefix.rstrip(".")}
    return found - {name}


def test_no_circle() -> None:
    """Not by imports inside functions or for types either, nor by modules that a table names."""
    known = dict(modules())
    graph = {
        name: imports(name, path, set(known)) | chosen_by_name(name, path, set(known)) for name, path in known.items()
    }
    # `moewright` itself only hands names on, when they are asked for.
    graph.pop("moewright")
    try:
        tuple(TopologicalSorter({name: some - {"moewright"} for name, some in graph.items()}).static_order())
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_nothing_stands_on_the_roof() -> None:
    known = dict(modules())
    above = [name for name, path in known.items() if "moewright" in imports(name, path, set(known))]
    assert set(above) <= {"moewright.cli", "moewright.__main__"}


def test_every_room_is_drawn() -> None:
    page = PAGE.read_text(encoding="utf-8")
    missing = [name for name, path in modules() if path.stem not in ("__init__", "__main__") and path.name not in page]
    families = [name for name in missing if ".families." in name or ".published." in name or ".importers." in name]
    assert not set(missing) - set(families)
    packages = [path.parent.name for _, path in modules() if path.stem == "__init__" and path.parent != SOURCES]
    assert not [name for name in packages if f"{name}/" not in page]


def test_names_lead_to_their_code() -> None:
    """Each file of the page's table is there, and holds the name that follows it."""
    table = PAGE.read_text(encoding="utf-8").partition("## From a name to its code")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 10
    for row in rows:
        for path, name in re.findall(r"`([\w/]+\.(?:py|yaml))`(?: `(\w+)`)?", " ".join(row[2:])):
            file = (ROOT if path.startswith("tests/") else SOURCES) / path
            assert re.search(rf"\b{name}\b", file.read_text(encoding="utf-8")), f"{path} {name}"


def test_the_contracts_name_every_room() -> None:
    """Of the import-linter's lists: a new module that stood in neither could import what it likes."""
    rooms = {name for name, _ in modules() if name.count(".") == 1}
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    contracts = {contract["name"]: contract for contract in linter["contracts"]}
    floors = " | ".join(contracts["Rooms stand on the rooms below them"]["layers"])
    assert sorted(floors.replace("(", "").replace(")", "").split(" | ")) == sorted(rooms)
    assert {*contracts["Only the lab imports torch"]["source_modules"]} == rooms - {"moewright.lab"}


SAME_MEANING: dict[str, str] = {
    **dict.fromkeys(
        ("ACTIVATIONS", "activate", "causal_attention", "expert_ffn", "head_loss", "linear", "rms_norm", "rotate"),
        "lab/fast/ has a twin of each operation of lab/model/operations.py",
    ),
    **dict.fromkeys(("FAMILIES",), "what each file of hf/families/ has"),
    **dict.fromkeys(("FORM", "LAW", "optimum"), "what each file of laws/published/ has"),
    **dict.fromkeys(("CONFIG", "NAME", "VERSION", "export", "read", "write"), "what each file of exporters/ has"),
    **dict.fromkeys(("FORMAT", "claims", "claims_folder", "read_folder"), "what each file of runs/readers/ has"),
    **dict.fromkeys(("sweep", "train"), "a command, and the function that does it"),
    "load": "a run table or a law from its file, by the package's name: runs.load, laws.load",
    "prepare": "a run table or token shards made ready, by the package's name: runs.prepare, data.prepare",
    "calibrate": "numbers moved to what was measured: a step's coefficients by the command, a forecast's in sweeps",
    "main": "what a program runs",
}
"""Names that stand in several modules, each with the reason why it means one thing there."""


def definitions(path: Path) -> Iterator[str]:
    """The public classes, functions, type aliases and constants of a module, those under `if` and `try` too."""
    waiting: list[ast.stmt] = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If | ast.Try):
            waiting += [
                *node.body,
                *node.orelse,
                *(inner for one in getattr(node, "handlers", ()) for inner in one.body),
            ]
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from (name.id for name in ast.walk(target) if isinstance(name, ast.Name))


def twice(root: Path) -> dict[str, list[str]]:
    """Public names that several modules below a folder define, and names of files that are there more than once."""
    places: dict[str, set[str]] = defaultdict(set)
    files: dict[str, list[str]] = defaultdict(list)
    for path in sorted(root.rglob("*.py")):
        if "templates" in path.parts:  # copied into exports
            continue
        name = path.relative_to(root).as_posix()
        if path.stem not in ("__init__", "__main__"):
            files[path.stem].append(name)
        for defined in definitions(path):
            if not defined.startswith("_"):
                places[defined].add(name)
    named = {name: sorted(some) for name, some in places.items() if len(some) > 1}
    return {**{f"{stem}.py": some for stem, some in files.items() if len(some) > 1}, **named}


def test_a_name_means_one_thing() -> None:
    """A command's file has the name of its function, and shows a command that may have the name of a family or law."""
    found = twice(SOURCES)
    assert {name: some for name, some in found.items() if name not in SAME_MEANING} == {}
    assert [name for name in SAME_MEANING if name not in found] == []


@pytest.mark.parametrize(
    "text",
    [
        "class Problem: ...",
        "Problem = dict[str, int]",
        "Problem: int = 3",
        "def Problem(): ...",
        "if True:\n    Problem = 1",
        "try:\n    import a\nexcept ImportError:\n    Problem = None",
        "Problem, other = 1, 2",
    ],
)
def test_a_second_meaning_is_seen(text: str, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("class Problem:\n    def method(self): ...\n")
    (tmp_path / "two.py").write_text(text + "\n\n\nclass Kept:\n    def method(self): ...\n")
    assert twice(tmp_path) == {"Problem": ["one.py", "two.py"]}


def test_everything_but_the_lab_imports_without_torch() -> None:
    names = [name for name, _ in modules() if not name.startswith("moewright.lab") and not name.endswith("__main__")]
    program = (
        "import importlib, sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'submitit', 'tokenizers', 'safetensors'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
