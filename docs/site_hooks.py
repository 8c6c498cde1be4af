"""What the site adds to the pages: files that pages link to, notebooks as pages, and the command line's own help.

mkdocs calls these functions by name; see `hooks` in mkdocs.yml.
"""

import json
import os
import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Pages whose source is a file of the root."""
LINK = re.compile(r"\]\((?P<target>(?:\.\./)+[^)#\s]+|[A-Za-z0-9_./-]+)(?P<anchor>#[^)]*)?\)")
HELP = "<!-- help of every command -->"
FUNCTIONS = "<!-- every command as a function -->"
MODULES = re.compile(r"<!-- every public module of (?P<package>[\w.]+) -->")


def on_files(files: Files, config: Any) -> Files:
    """Pages from the root, and the files outside `docs` that pages link to, so that every link leads somewhere."""
    for page, source in PAGES.items():
        files.append(
            File.generated(config, page, content=_moved((ROOT / source).read_text(encoding="utf-8"), "", page))
        )
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=notebook_page(notebook)))
    linked = set()
    for file in list(files.documentation_pages()):
        folder = posixpath.dirname(file.src_uri)
        for match in LINK.finditer(file.content_string):
            path = posixpath.normpath(posixpath.join("docs", folder, match["target"]))
            if not path.startswith("docs/") and (ROOT / path).is_file() and path not in PAGES.values():
                linked.add(path)
    for path in sorted(linked):
        files.append(File.generated(config, f"source/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links out of `docs` become links to the copies; the help of every command where a page asks for it."""
    uri = page.file.src_uri
    if uri not in PAGES:
        markdown = _moved(markdown, posixpath.dirname(uri), uri)
    if HELP in markdown:
        markdown = markdown.replace(HELP, _help())
    if FUNCTIONS in markdown:
        markdown = markdown.replace(FUNCTIONS, "\n\n".join(_functions()))
    return MODULES.sub(lambda match: "\n\n".join(f"::: {name}" for name in _modules(match["package"])), markdown)


def notebook_page(path: Path) -> str:
    """A notebook as Markdown: its text, its code, and what it holds as results."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            shown = output.get("data", {})
            if "text/html" in shown:
                parts.append(f'<div style="overflow-x: auto">{"".join(shown["text/html"])}</div>')
            else:
                text = "".join(output.get("text") or shown["text/plain"])
                parts.append(f"```text\n{text.rstrip()}\n```")
    parts.append(f"[The notebook]({path.name}), to run yourself.")
    return "\n\n".join(parts) + "\n"


def _moved(markdown: str, folder: str, page: str) -> str:
    """A page's links with those out of `docs` pointed at their copies in the site."""
    base = "docs" if page not in PAGES else ""

    def moved(match: re.Match[str]) -> str:
        target, anchor = match["target"], match["anchor"] or ""
        path = posixpath.normpath(posixpath.join(base, folder, target))
        pages = {source: name for name, source in PAGES.items()}
        if path in pages:
            new = pages[path]
        elif path.startswith("docs/"):
            new = path.removeprefix("docs/")
        elif (ROOT / path).is_file():
            new = f"source/{path}"
        else:
            return match[0]
        return f"]({posixpath.relpath(new, folder or '.')}{anchor})"

    return LINK.sub(moved, markdown)


def _functions() -> Iterator[str]:
    """The functions of the commands, under the names that users give them."""
    from moewright.commands import COMMANDS

    for name in COMMANDS.values():
        yield f"::: moewright.commands.{name}.{name}\n    options: {{heading: moewright.{name}}}"


def _modules(package: str) -> Iterator[str]:
    """A package and its modules, found as files, so that nothing needs torch."""
    folder = ROOT / "src" / Path(*package.split("."))
    yield package
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(ROOT / "src").with_suffix("").parts
        if path.name != "__init__.py" and not {"templates", "families"} & set(parts):
            yield ".".join(parts)


def _help() -> str:
    """`--help` of every command, as the terminal shows it."""
    environment = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}

    def said(*command: str) -> str:
        asked = [sys.executable, "-m", "moewright", *command, "--help"]
        return subprocess.run(asked, capture_output=True, text=True, check=True, env=environment).stdout.strip()

    from moewright.commands import COMMANDS

    parts = [f"```text\n{said()}\n```"]
    parts += [f"## moewright {name}\n\n```text\n{said(*name.split())}\n```" for name in COMMANDS]
    return "\n\n".join(parts)
