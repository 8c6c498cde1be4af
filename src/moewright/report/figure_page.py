"""Figures as files: each as PNG, and all together as one page of HTML that needs no other file and no network.

matplotlib draws both. The page holds the drawings as SVG with their words as text, so that they are sharp at any size
and can be searched.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moewright.files import replaced, write_text
from moewright.foreign_text import to_html
from moewright.outputs import PAGE_MARK, PNG_MARK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, apart for colour-blind readers too (jfly.uni-koeln.de/color).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DOTS_PER_INCH = 120


@dataclass(frozen=True)
class Drawing:
    """A figure with its words. The title is drawn in the figure; the caption stands below it in the page."""

    name: str
    """Of the PNG file, without its end."""
    title: str
    caption: str
    figure: "Figure"


@dataclass(frozen=True)
class PageTable:
    """A table of words at the top of a page; the first column is aligned to the left, numbers to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@contextmanager
def drawing_style() -> Iterator[None]:
    """Settings under which figures are made and written, whatever the user's own matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "axes.axisbelow": True,
                "axes.edgecolor": "0.4",
                "axes.grid": True,
                "axes.spines.right": False,
                "axes.spines.top": False,
                "axes.titlesize": "medium",
                "figure.titlesize": "medium",
                "grid.color": "0.92",
                "legend.frameon": False,
                "svg.fonttype": "none",  # words stay words; the page names the fonts
                "svg.hashsalt": "moewright",  # the same figure is the same file
                "xtick.color": "0.3",
                "ytick.color": "0.3",
            }
        )
        yield


def write_png(folder: Path, drawing: Drawing) -> Path:
    """NAME.png in a folder; it appears complete or not at all."""
    path = folder / f"{drawing.name}.png"
    with replaced(path) as temporary:
        drawing.figure.savefig(temporary, dpi=DOTS_PER_INCH, format="png", metadata={"Software": PNG_MARK})
    return path


def write_page(
    path: Path, title: str, facts: Sequence[str], drawings: Sequence[Drawing], table: PageTable | None = None
) -> Path:
    """One HTML file: the title, the facts as lines, a table, and every drawing with its caption."""
    lines = "".join(f"<p>{to_html(fact)}</p>\n" for fact in facts)
    figures = "".join(_figure(drawing) for drawing in drawings)
    write_text(
        path,
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n{PAGE_MARK}\n'
        f"<title>{to_html(title)}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{to_html(title)}</h1>\n{lines}</header>\n"
        f"{_table(table) if table else ''}{figures}</body>\n</html>\n",
    )
    return path


def _figure(drawing: Drawing) -> str:
    import matplotlib

    text = io.StringIO()
    # The salt keeps the names inside one drawing apart from those of the next.
    with matplotlib.rc_context({"svg.hashsalt": f"moewright {drawing.name}"}):
        drawing.figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    # No wider than a half more than in print: the words of small drawings would shout.
    widest = f"{1.5 * drawing.figure.get_figwidth():.1f}in"
    words = f'<svg role="img" aria-label="{to_html(drawing.title)}" style="max-width: {widest}"'
    svg = svg[svg.index("<svg") :].replace("<svg", words, 1)
    return f'<figure id="{drawing.name}">\n{svg}<figcaption>{to_html(drawing.caption)}</figcaption>\n</figure>\n'


def _table(table: PageTable) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{to_html(cell)}</{tag}>" for cell in cells) + "</tr>\n"

    body = "".join(row(cells, "td") for cells in table.rows)
    head = row(table.columns, "th")
    return f'<div class="table"><table>\n<thead>{head}</thead>\n<tbody>{body}</tbody>\n</table></div>\n'


_STYLE = """
body { max-width: 60rem; margin: 0 auto; padding: 2rem 1rem 4rem; color: #222; background: #f6f7f8;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .6rem; }
header p { margin: .15rem 0; color: #444; }
figure, .table { margin: 1.5rem 0 0; padding: 1rem 1.25rem; background: #fff; border: 1px solid #e3e5e8;
  border-radius: 8px; }
figcaption { color: #444; font-size: .92rem; max-width: 48rem; margin: .6rem auto 0; }
svg { display: block; width: 100%; height: auto; margin: 0 auto; }
svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif !important; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #eceef0; }
th { color: #444; font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
tbody tr:last-child td { border-bottom: 0; }
@media print { body { background: #fff; } figure { break-inside: avoid; } }
"""
