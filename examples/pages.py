"""Pages of docs whose tables a script writes."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, one line per row; numbers are written as they are given."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def write(page: Path, tables: dict[str, str]) -> None:
    """Replace what stands between `<!-- name -->` and `<!-- end -->` in the page."""
    text = page.read_text(encoding="utf-8")
    for name, inner in tables.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        found = marked.search(text)
        if not found:
            raise SystemExit(f"{page}: no place for the table {name}")
        text = f"{text[: found.start()]}{found[1]}\n{inner}\n\n{found[2]}{text[found.end() :]}"
        print(f"\n## {name}\n\n{inner}")
    page.write_text(text, encoding="utf-8")
