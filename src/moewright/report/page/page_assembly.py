"""One page out of blocks: chapters in the order of the argument, all scripts, styles and values inside the file."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from moewright.foreign_text import shell_words, to_html, to_markdown, visible
from moewright.outputs import MARKDOWN_MARK, REPORT_MARK
from moewright.progress import track
from moewright.report.page import HTML_SECTIONS, JOINT_SECTIONS, PAGE_SECTIONS
from moewright.report.page.page_blocks import CHAPTERS, ORIGIN_KINDS, PageBlock, data_html
from moewright.report.page.page_sources import PageSource, SourceKind

ASSETS = Path(__file__).parent / "assets"
PAGE_ASSETS = ("page.css", "page.js")
"""Of every page."""
REFRESH_SECONDS = 5
"""Between two readings of a page whose runs are under way."""


@dataclass(frozen=True)
class Page:
    """What stands in a report, before it is written as one format or the other."""

    title: str
    blocks: tuple[PageBlock, ...]
    """In the order of the page."""
    sources: tuple[PageSource, ...]
    command: str
    """The command line that makes the page."""
    is_under_way: bool = False
    """Whether the page reads itself again: runs behind it are under way, and somebody writes it anew."""


def make_blocks(sources: Sequence[PageSource], is_html: bool) -> tuple[PageBlock, ...]:
    """The blocks of all sources, in the order of the chapters. Raises UserError for what a section cannot show."""
    found: list[PageBlock] = []
    makers: list[tuple[str, Collection[SourceKind]]] = [
        (maker, (kind,))
        for kind, of_kind in PAGE_SECTIONS.items()
        for maker in (*of_kind, *(HTML_SECTIONS.get(kind, ()) if is_html else ()))
    ]
    makers += JOINT_SECTIONS.items()
    shown = [(maker, [source for source in sources if source.kind in kinds]) for maker, kinds in makers]
    wanted = [(maker, taken) for maker, taken in shown if taken]
    for maker, taken in track("making the page", wanted, len(wanted), "parts", is_even=False):
        module, function = maker.split(".")
        found += getattr(import_module(f"moewright.report.page.sections.{module}"), function)(taken)
    order = list(CHAPTERS)
    return tuple(sorted(found, key=lambda block: order.index(block.chapter)))


def page_command(paths: Iterable[str | Path], options: Mapping[str, str]) -> str:
    """`moewright report` with its arguments, to be typed again."""
    words: list[str | Path] = ["moewright", "report", *map(Path, paths)]
    for name, value in options.items():
        words += [f"--{name}", value]
    return shell_words(*words)


# HTML


def page_html(page: Page) -> str:
    """The whole file."""
    assets = list(dict.fromkeys((*PAGE_ASSETS, *(name for block in page.blocks for name in block.assets))))
    styles = "".join(f"<style>{_asset(name)}</style>\n" for name in assets if name.endswith(".css"))
    scripts = "".join(f"<script>{_asset(name)}</script>\n" for name in assets if name.endswith(".js"))
    data = "".join(data_html(name, values) for block in page.blocks for name, values in block.data.items())
    refresh = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">\n' if page.is_under_way else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n{REPORT_MARK}\n'
        # Whatever a text in the page should come to be taken for, nothing is fetched.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'; img-src data:\">\n"
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n{refresh}'
        '<link rel="icon" href="data:,">\n'
        f"<title>{to_html(page.title)}</title>\n{styles}</head>\n<body>\n"
        f'<a class="skip" href="#content">Skip to the content</a>\n{_head_html(page)}'
        f'<div class="page">\n{_contents_html(page)}<main id="content" tabindex="-1">\n{_chapters_html(page)}'
        f"{_colophon_html(page)}</main>\n</div>\n"
        '<div id="origin" role="tooltip" hidden></div>\n<div id="told" role="status" class="unseen"></div>\n'
        f"{data}{scripts}</body>\n</html>\n"
    )


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _head_html(page: Page) -> str:
    kinds = "".join(
        f'<li><span class="kind" data-mark="{kind}">{kind}</span> <span class="meaning">{to_html(text)}</span></li>'
        for kind, text in ORIGIN_KINDS.items()
    )
    live = (
        '<p class="live" role="status">Runs are under way; the page reads itself again.</p>'
        if page.is_under_way
        else ""
    )
    return (
        f'<header class="top"><div class="title"><p class="brand">moewright report</p>'
        f"<h1>{to_html(page.title)}</h1>{live}"
        '</div><div class="tools"><button type="button" id="origins" aria-pressed="false">Mark origins</button>'
        '<button type="button" id="theme">Dark</button></div>'
        f'<ul class="kinds" aria-label="Where numbers are from">{kinds}</ul></header>\n'
    )


def _contents_html(page: Page) -> str:
    chapters = "".join(
        f'<li><a href="#{chapter}">{to_html(title)}</a></li>' for chapter, title in _chapters(page).items()
    )
    return f'<nav aria-label="Contents"><ol>{chapters}<li><a href="#colophon">Where it is from</a></li></ol></nav>\n'


def _chapters(page: Page) -> dict[str, str]:
    there = {block.chapter for block in page.blocks}
    return {chapter: title for chapter, title in CHAPTERS.items() if chapter in there}


def _chapters_html(page: Page) -> str:
    text = ""
    for chapter, title in _chapters(page).items():
        blocks = "".join(
            f'<article id="{block.name}" aria-labelledby="{block.name}-title">'
            f'<h3 id="{block.name}-title">{to_html(block.title)}</h3>\n{block.html}</article>\n'
            for block in page.blocks
            if block.chapter == chapter
        )
        text += f'<section id="{chapter}" aria-labelledby="{chapter}-title"><h2 id="{chapter}-title">{title}</h2>\n'
        text += f"{blocks}</section>\n"
    return text


def _colophon_html(page: Page) -> str:
    is_made = any(source.command for source in page.sources)
    rows = "".join(
        f'<tr><th scope="row">{to_html(source.given)}</th><td>{to_html(_kind_words(source))}</td>'
        f"<td><code>{to_html(source.sha256 or '-')}</code>{_hashed_html(source)}</td>"
        + (f"<td>{f'<code>{to_html(source.command)}</code>' if source.command else '-'}</td>" if is_made else "")
        + "</tr>\n"
        for source in page.sources
    )
    return (
        '<section id="colophon" aria-labelledby="colophon-title"><h2 id="colophon-title">Where it is from</h2>\n'
        "<article>"
        f"<p>Made by moewright {to_html(version('moewright'))} with</p>"
        f'<pre id="page-command" tabindex="0">{to_html(page.command)}</pre>'
        '<button type="button" class="copy" data-copy="page-command">Copy the command</button>'
        '<div class="scroll" role="region" tabindex="0" aria-label="Sources"><table class="sources">'
        "<caption>What it was made of</caption><thead><tr>"
        '<th scope="col">path</th><th scope="col">read as</th><th scope="col">SHA-256</th>'
        + ('<th scope="col">made by</th>' if is_made else "")
        + f"</tr></thead><tbody>{rows}</tbody></table></div></article></section>\n"
    )


def _hashed_html(source: PageSource) -> str:
    return f"<br>of {to_html(source.hashed)}" if source.hashed else ""


def _hash_words(source: PageSource) -> str:
    return f"{source.sha256 or '-'}{f' of {source.hashed}' if source.hashed else ''}"


def _kind_words(source: PageSource) -> str:
    return KIND_WORDS[source.kind]


KIND_WORDS = {
    "design": "designs",
    "model": "a model",
    "law": "a fitted law",
    "table": "a run table",
    "runs": "runs of a folder",
    "plan": "a plan",
    "next": "runs to make next",
    "sweep": "a sweep to make",
}


# Markdown


def page_markdown(page: Page) -> str:
    """The same for a pull request."""
    text = f"{MARKDOWN_MARK}\n\n# {to_markdown(page.title)}\n"
    for chapter, title in _chapters(page).items():
        text += f"\n## {title}\n"
        for block in page.blocks:
            if block.chapter == chapter:
                text += f"\n### {to_markdown(block.title)}\n\n{block.markdown.rstrip()}\n"
    text += f"\n## Where it is from\n\nMade by moewright {to_markdown(version('moewright'))} with\n\n"
    text += f"    {visible(page.command)}\n\n"
    is_made = any(source.command for source in page.sources)
    names = ("path", "read as", "SHA-256", *(["made by"] if is_made else []))
    text += f"| {' | '.join(names)} |\n| {' | '.join([':--'] * len(names))} |\n"
    for source in page.sources:
        cells = [source.given, _kind_words(source), _hash_words(source)]
        cells += [source.command or "-"] if is_made else []
        text += f"| {' | '.join(map(to_markdown, cells))} |\n"
    return text
