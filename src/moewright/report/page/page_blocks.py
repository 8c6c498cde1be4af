"""What a page is made of: blocks in chapters, tables, single numbers, plots; each as HTML and as Markdown.

Texts that others wrote go through `to_html` and `to_markdown` here, so sections hand over plain texts.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from moewright.foreign_text import to_html, to_markdown
from moewright.quantities import format_count

Chapter = Literal["answer", "models", "baseline", "why", "certainty", "costs", "runs", "next"]
CHAPTERS: Mapping[Chapter, str] = {
    "answer": "The answer",
    "models": "The models",
    "baseline": "Beside what exists",
    "why": "Why",
    "certainty": "How sure",
    "costs": "What it costs",
    "runs": "The runs behind it",
    "next": "What to run next",
}
"""In the order of the argument, with their headings."""

FIRST_ROWS = 60
"""Of a table that are seen at first, as in `assets/page.js`."""
_HAS_A_LETTER = 999.5  # what three digits make 1,000
_BIG, _LARGEST_WITH_A_LETTER = 1e5, 1e15
OriginKind = Literal["exact", "modelled", "assumed", "measured"]
ORIGIN_KINDS: Mapping[OriginKind, str] = {
    "exact": "counted, no model in it",
    "modelled": "by a law or a model of a machine",
    "assumed": "taken as given, unmeasured",
    "measured": "read from runs or files",
}


@dataclass(frozen=True)
class Origin:
    """Where a number is from; what a page shows when it is pointed at."""

    kind: OriginKind
    source: str
    """A paper, a law, a file of devices, a run."""
    convention: str = ""
    """How it is counted, in a few words."""
    docs: str = ""
    """Page of the documentation that explains the formula, such as `accounting.md`."""


@dataclass(frozen=True)
class PageNumber:
    """A number, or a text in a number's place, as it is shown; with its value for sorting, and its origin."""

    text: str
    value: float | None = None
    origin: Origin | None = None
    """None: that of its row, or of its column."""
    mark: str = ""
    """A word that is shown beside it, such as `outlier`."""


@dataclass(frozen=True)
class PageColumn:
    """A column of a table. The first one of a table names its rows."""

    name: str
    unit: str = ""
    origin: Origin | None = None
    is_text: bool = False
    is_extra: bool = False
    """Shown when all columns are asked for."""
    is_more_better: bool = False
    """The first click on its heading puts the largest first."""


@dataclass(frozen=True)
class PageGrid:
    """A table that sorts and filters."""

    name: str
    """Of the element: letters, digits and dashes, once in a page."""
    caption: str
    columns: Sequence[PageColumn]
    rows: Sequence[Sequence[PageNumber]]
    origins: Sequence[Origin | None] = ()
    """Of whole rows; empty: rows have none of their own."""
    classes: Sequence[str] = ()
    """Of whole rows, for their looks: `held-out`, `suspicious`, `chosen`."""
    sorts: bool = True
    filters: bool = False


@dataclass(frozen=True)
class PageBlock:
    """A piece of a page under a heading of its own."""

    chapter: Chapter
    name: str
    """Of the element: letters, digits and dashes, once in a page."""
    title: str
    html: str
    markdown: str
    data: Mapping[str, Any] = field(default_factory=dict)
    """Plain values for scripts, by name: letters, digits and dashes, once in a page."""
    assets: Sequence[str] = ()
    """Names of files in `assets/` that it needs beside the page's own, in the order of loading."""


def spoken(name: str) -> str:
    """A column or a variable as people say it.

    >>> spoken("train_tokens")
    'train tokens'
    """
    return name.replace("_", " ")


def number_text(value: float, digits: int = 4) -> str:
    """A number with sensible digits; large ones with a letter.

    >>> number_text(39_175_564_800), number_text(0.31416), number_text(128), number_text(float("nan"))
    ('39.18B', '0.3142', '128', '-')
    """
    number = float(value)
    if not math.isfinite(number):
        return "-"
    if _BIG <= abs(number) < _LARGEST_WITH_A_LETTER:
        return format_count(number, digits)
    if number.is_integer() and abs(number) < _BIG:
        return f"{int(number):,}"
    return f"{number:,.{digits}g}"


def range_text(ends: tuple[float, float]) -> str:
    """Both ends of a range with three digits; large ones with a letter. `rangeText` of `assets/page.js` does the same.

    Zeros at the end stay where either end has a fraction.

    >>> range_text((0.39, 0.893)), range_text((11, 17)), range_text((493.4, 1512.2)), range_text((4780, 2.1e6))
    ('0.390 to 0.893', '11 to 17', '493 to 1.51K', '4.78K to 2.10M')
    """
    has_fraction = any("." in f"{end:.3g}" for end in ends if end < _HAS_A_LETTER)
    return " to ".join(
        format_count(end, 3)
        if end >= _HAS_A_LETTER
        else (f"{end:#.3g}" if has_fraction else f"{end:.3g}").removesuffix(".")
        for end in dict.fromkeys(ends)  # one where they are the same
    )


def origin_attributes(origin: Origin | None) -> str:
    """What the page's script shows when the element is pointed at."""
    if origin is None:
        return ""
    parts = {"kind": origin.kind, "source": origin.source, "convention": origin.convention, "docs": origin.docs}
    return "".join(f' data-{name}="{to_html(text)}"' for name, text in parts.items() if text)


def number_html(number: PageNumber) -> str:
    """A number outside of tables, that can be pointed at and focused."""
    if number.origin is None:
        return to_html(number.text)
    return f'<span class="number" tabindex="0"{origin_attributes(number.origin)}>{to_html(number.text)}</span>'


def facts_html(facts: Sequence[tuple[str, PageNumber]]) -> str:
    """The few numbers that matter, large."""
    items = "".join(
        f"<div><dt>{to_html(label)}</dt><dd>{number_html(number)}{_mark_html(number)}</dd></div>"
        for label, number in facts
    )
    return f'<dl class="facts">{items}</dl>\n'


def facts_markdown(facts: Sequence[tuple[str, PageNumber]]) -> str:
    """The same as a list."""
    lines = (f"- {to_markdown(label)}: **{to_markdown(number.text)}**" for label, number in facts)
    return "\n".join(lines) + "\n"


def paragraphs_html(*texts: str) -> str:
    """Each text as a paragraph."""
    return "".join(f"<p>{to_html(text)}</p>\n" for text in texts if text)


def paragraphs_markdown(*texts: str) -> str:
    """The same in Markdown."""
    return "\n\n".join(to_markdown(text) for text in texts if text) + "\n"


def list_html(texts: Sequence[str]) -> str:
    """Texts as a list."""
    return "<ul>" + "".join(f"<li>{to_html(text)}</li>" for text in texts) + "</ul>\n" if texts else ""


def list_markdown(texts: Sequence[str]) -> str:
    """The same in Markdown."""
    return "".join(f"- {to_markdown(text)}\n" for text in texts)


def grid_html(grid: PageGrid) -> str:
    """The table with its caption, headings that sort, and a field that filters.

    Rows after the first are values for the script, which makes elements of those that are to be seen.
    """
    head = "".join(_heading_html(column, grid.sorts) for column in grid.columns)
    first = FIRST_ROWS if not grid.origins else len(grid.rows)
    body = "".join(_row_html(grid, place) for place in range(min(first, len(grid.rows))))
    later = [_row_values(grid, place) for place in range(first, len(grid.rows))]
    extra = any(column.is_extra for column in grid.columns)
    attributes = f'id="{grid.name}" class="grid"' + (' data-extra="yes"' if extra else "")
    attributes += ' data-filter="yes"' if grid.filters else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{grid.name}-caption"><table {attributes}>'
        f'<caption id="{grid.name}-caption">{to_html(grid.caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>\n"
        + (data_html(f"{grid.name}-rows", later) if later else "")
    )


def _row_values(grid: PageGrid, place: int) -> list[Any]:
    """The row's classes, then each cell: its text, or text, value and mark."""
    cells: list[Any] = [grid.classes[place] if grid.classes else ""]
    for cell in grid.rows[place]:
        assert cell.origin is None, "rows that come later have no origins of their own"
        value = None if cell.value is None else float(f"{cell.value:.12g}")
        cells.append(cell.text if value is None and not cell.mark else [cell.text, value, *filter(None, [cell.mark])])
    return cells


def _heading_html(column: PageColumn, sorts: bool) -> str:
    unit = f' <span class="unit">{to_html(column.unit)}</span>' if column.unit else ""
    text = f"{to_html(column.name)}{unit}"
    classes = " ".join(name for name, on in (("text", column.is_text), ("extra", column.is_extra)) if on)
    inner = f'<button type="button" class="sort">{text}</button>' if sorts and column.name else text
    told = f' class="{classes}"' if classes else ""
    told += ' data-first="descending"' if column.is_more_better else ""
    return f'<th scope="col"{told}{origin_attributes(column.origin)}>{inner}</th>'


def _row_html(grid: PageGrid, place: int) -> str:
    origin = grid.origins[place] if grid.origins else None
    kind = grid.classes[place] if grid.classes else ""
    cells = []
    for number, (column, cell) in enumerate(zip(grid.columns, grid.rows[place], strict=True)):
        tag, scope = ("th", ' scope="row"') if not number else ("td", "")
        classes = " ".join(
            name for name, on in (("text", column.is_text or not number), ("extra", column.is_extra)) if on
        )
        told = f' class="{classes}"' if classes else ""
        value = "" if cell.value is None else f' data-value="{cell.value:.12g}"'
        own = origin_attributes(cell.origin or (origin if not number else None))
        cells.append(f"<{tag}{scope}{told}{value}{own}>{to_html(cell.text)}{_mark_html(cell)}</{tag}>")
    told = f' class="{kind}"' if kind else ""
    return f"<tr{told}>{''.join(cells)}</tr>\n"


def _mark_html(number: PageNumber) -> str:
    return f' <span class="mark">{to_html(number.mark)}</span>' if number.mark else ""


def grid_markdown(grid: PageGrid, most: int = 50) -> str:
    """The same for a pull request: the first rows, without the extra columns."""
    shown = [place for place, column in enumerate(grid.columns) if not column.is_extra]
    names = [f"{grid.columns[place].name} {grid.columns[place].unit}".strip() for place in shown]
    lines = [names, [":--" if grid.columns[place].is_text or not place else "--:" for place in shown]]
    text = f"| {' | '.join(map(to_markdown, lines[0]))} |\n| {' | '.join(lines[1])} |\n"
    for row in grid.rows[:most]:
        cells = (f"{row[place].text} {f'({row[place].mark})' if row[place].mark else ''}" for place in shown)
        text += f"| {' | '.join(map(to_markdown, cells))} |\n"
    rest = len(grid.rows) - most
    return text + (f"\nand {rest:,} more rows\n" if rest > 0 else "")


def plot_html(name: str, caption: str, description: str, origin: Origin) -> str:
    """The place of a plot, whose values are the block's data of that name.

    `description` is what a screen reader says in the picture's place; the caption stands below it. The origin is that
    of all its values.
    """
    return (
        f'<figure class="plot" data-plot="{name}"><div class="canvas" role="img" tabindex="0" '
        f'aria-label="{to_html(description)}"{origin_attributes(origin)}></div>'
        f"<figcaption>{to_html(caption)}</figcaption></figure>\n"
    )


def copied_html(label: str, name: str, text: str) -> str:
    """A text to be copied, line by line as it is: folded away, with a button."""
    lines = "\n".join(to_html(line) for line in text.rstrip("\n").split("\n"))
    return (
        f'<details class="copied"><summary>{to_html(label)}</summary>'
        f'<pre id="{name}" tabindex="0">{lines}</pre></details>'
        f'<button type="button" class="copy" data-copy="{name}">Copy {to_html(label)}</button>\n'
    )


def data_html(name: str, values: Any) -> str:
    """Values for scripts, in an element that no text in them can end.

    >>> data_html("a", "</script>")
    '<script type="application/json" id="data-a">"\\\\u003c/script\\\\u003e"</script>\\n'
    """
    text = json.dumps(values, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return f'<script type="application/json" id="data-{to_html(name)}">{text}</script>\n'
