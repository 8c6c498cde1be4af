"""The tutorial notebooks: their cells run as a notebook runs them, and what comes out is what they hold.

`python -m tests.docs.notebooks` runs all and writes their outputs anew; `tests/docs/test_notebooks.py` compares.
"""

import ast
import contextlib
import io
import json
from pathlib import Path
from typing import Any

from tests.docs.pages import ROOT

NOTEBOOKS = ROOT / "docs" / "notebooks"


def all_notebooks() -> list[Path]:
    """The files, sorted."""
    return sorted(NOTEBOOKS.glob("*.ipynb"))


def read_notebook(path: Path) -> dict[str, Any]:
    """A notebook as nbformat 4 has it."""
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def run_cells(notebook: dict[str, Any], folder: Path) -> None:
    """Run the code cells one after another in `folder`, as Jupyter does, and set their outputs."""
    names: dict[str, Any] = {"__name__": "__main__"}
    count = 0
    with contextlib.chdir(folder):
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                count += 1
                cell["execution_count"], cell["outputs"] = count, _run("".join(cell["source"]), names, count)


def _run(source: str, names: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """What a cell prints, then the value of its last line if that is an expression."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    printed = io.StringIO()
    value = None
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": printed.getvalue().splitlines(True)})
    if value is not None:
        shown = {"text/plain": repr(value).splitlines(True)}
        if hasattr(value, "_repr_html_"):
            shown["text/html"] = value._repr_html_().splitlines(True)
        outputs.append({"data": shown, "execution_count": count, "metadata": {}, "output_type": "execute_result"})
    return outputs


def main() -> None:
    """Run all, and write what comes out."""
    for path in all_notebooks():
        notebook = read_notebook(path)
        run_cells(notebook, path.parent)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
