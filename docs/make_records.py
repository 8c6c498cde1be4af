"""Writes docs/records.md and docs/schemas/ from the record classes: python docs/make_records.py [--check]."""

import ast
import inspect
import json
import pkgutil
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import Any, get_args

from pydantic import BaseModel

import moewright
from moewright.line_records import LineRecord
from moewright.records import FileRecord, Output, Record

DOCS = Path(__file__).parent
NEEDS_TORCH = ("moewright.lab",)
START = """# Records

Every file that one part of moewright writes and another reads is one class, used by both sides, and so is what each
command prints with `--json`. The tables name the class and its JSON schema.

A file says its format: `moewright-KIND/N`. N rises when the same words would mean something else. Older files are read
where this version can bring them up to date, and otherwise refused in one line that names the command which does; files
of a newer moewright are refused in one line. This page and the schemas are made by `python docs/make_records.py`.
"""


def main() -> None:
    """Write the files, or with --check exit with 1 if they are not what would be written."""
    made = pages()
    if "--check" in sys.argv[1:]:
        sys.exit(1 if made != committed() else 0)
    for path in (DOCS / "schemas").glob("*.json"):
        path.unlink()
    for name, text in made.items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(text, encoding="utf-8")


def committed() -> dict[str, str]:
    """The files as they are, by name."""
    paths = [DOCS / "records.md", *(DOCS / "schemas").glob("*.json")]
    return {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in paths if path.is_file()}


def pages() -> dict[str, str]:
    """The files as they should be, by name."""
    for module in pkgutil.walk_packages(moewright.__path__, "moewright."):
        if not module.name.startswith(NEEDS_TORCH) and module.name != "moewright.__main__":
            import_module(module.name)
    files = sorted(_concrete(FileRecord), key=lambda record: record.kind_of_file)
    lines = sorted(_concrete(LineRecord), key=lambda record: (record.__module__, record.__name__))
    outputs = sorted(_concrete(Output), key=lambda record: record.command)
    rows = {
        "Files": [(f"`{record.kind_of_file}/{record.version}`", record) for record in files],
        "Lines of files that only grow": [(f"`{_kind(record)}`", record) for record in lines],
        "What commands print with `--json`": [(f"`moewright {record.command}`", record) for record in outputs],
    }
    tables = "".join(_table(heading, found) for heading, found in rows.items() if found)
    schemas = {_schema_name(record): _json(schema_of(record)) for record in (*files, *lines, *outputs)}
    return {"records.md": f"{START}{tables}", **schemas}


def _concrete(base: type[Record]) -> Iterable[Any]:
    """All classes of a kind that stand for something: those of moewright that no other is made from."""
    for record in base.__subclasses__():
        below = list(_concrete(record))
        yield from below
        if not below and record.__module__.startswith("moewright."):
            yield record


def _table(heading: str, rows: list[tuple[str, type[Record]]]) -> str:
    lines = [
        f"| {name} | {(inspect.getdoc(record) or '').splitlines()[0]} | `{record.__module__}.{record.__name__}` | "
        f"[schema]({_schema_name(record)}) |"
        for name, record in rows
    ]
    return "\n".join(["", f"## {heading}", "", "| | what it is | class | |", "| --- | --- | --- | --- |", *lines, ""])


def _kind(record: type[LineRecord]) -> str:
    field = record.model_fields.get("event") or record.model_fields.get("kind")
    return record.__name__ if field is None else ", ".join(get_args(field.annotation))


def _schema_name(record: type[Record]) -> str:
    return f"schemas/{record.__name__}.json"


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=1, sort_keys=True) + "\n"


def schema_of(record: type[Record]) -> dict[str, Any]:
    """The JSON schema of a class, with what the sources say below each field as its description."""
    schema = record.json_schema()
    classes = {found.__name__: found for found in _parts(record)}
    for name, values in [(record.__name__, schema), *schema.get("$defs", {}).items()]:
        for field, text in _docstrings(classes[name]).items() if name in classes else ():
            if field in values.get("properties", {}):
                values["properties"][field].setdefault("description", text)
    return schema


def _parts(record: type[BaseModel]) -> set[type[BaseModel]]:
    """Every record class below the base."""
    found: set[type[BaseModel]] = {record}
    waiting: list[type[BaseModel]] = [Record]
    while waiting:
        below = [part for part in waiting.pop().__subclasses__() if part not in found]
        found.update(below)
        waiting += below
    return found


def _docstrings(record: type[BaseModel]) -> dict[str, str]:
    """The text below each field of a class and of those that it is made from."""
    texts: dict[str, str] = {}
    for part in reversed(record.__mro__):
        is_generic = "[" in part.__name__  # pydantic makes these; the class that it makes them from follows
        if is_generic or not part.__module__.startswith("moewright.") or part.__module__ == Record.__module__:
            continue
        (defined,) = ast.parse(dedent(inspect.getsource(part))).body
        assert isinstance(defined, ast.ClassDef)
        for field, text in zip(defined.body, defined.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                texts[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return texts


if __name__ == "__main__":
    main()
