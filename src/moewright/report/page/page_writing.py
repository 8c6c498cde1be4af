"""From paths to a written page; again and again while runs behind it are under way."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from moewright.errors import UserError
from moewright.files import write_text
from moewright.report.page.page_assembly import Page, make_blocks, page_command, page_html, page_markdown
from moewright.report.page.page_sources import PageSource, read_sources
from moewright.report.page.written_page import PageFormat, PageSourceRecord, WrittenPage

WATCH_SECONDS = 5.0
SILENT_LOOKS = 2
"""In a row, at none of which anybody is at a run: nobody works on what is pending. One may fall between two runs."""

Deliver = Callable[[Callable[[Path], object]], None]
"""Takes what writes the page to a path, and sees that it gets its place."""


def write_report(
    paths: Sequence[str], out: str, format: PageFormat, title: str | None, watch: bool, deliver_page: Deliver
) -> WrittenPage:
    """Read, write, and with `watch` go on until no run of a folder is under way, or nobody is at one. UserError."""

    def write(page: Page) -> WrittenPage:
        text = page_html(page) if format == "html" else page_markdown(page)
        deliver_page(lambda path: write_text(path, text))
        return _answer(page, out, format, text)

    silent = 0
    written: Page | None = None
    try:
        while True:
            sources = read_sources(paths)
            folders = [source for source in sources if source.kind == "runs"]
            if watch and not folders:
                raise UserError("watch: none of the paths is a folder of runs or of a sweep; leave it out")
            states = {state for source in folders for state in source.value.states}
            silent = 0 if "running" in states else silent + 1
            page = Page(
                title=title or title_of(sources),
                blocks=make_blocks(sources, format == "html"),
                sources=sources,
                command=page_command(paths, _options(out, format, title)),
                is_under_way=watch and silent < SILENT_LOOKS and _are_under_way(states),
            )
            answer = write(page)
            written = page
            if not page.is_under_way:
                return answer
            time.sleep(WATCH_SECONDS)
    except BaseException:  # Ctrl-C too: nobody writes the page any more, so it must not wait for that
        if written is not None and written.is_under_way:
            write(replace(written, is_under_way=False))
        raise


def _are_under_way(states: Collection[str]) -> bool:
    from moewright.experiment.states import UNDER_WAY

    return not {*UNDER_WAY}.isdisjoint(states)


def title_of(sources: Sequence[PageSource]) -> str:
    """A heading made of what is shown."""
    if designs := [source for source in sources if source.kind == "design"]:
        found = designs[0].value.designs[designs[0].value.recommended.index]
        return f"{found.sizes.num_experts} experts of {found.sizes.expert_size}, top-{found.sizes.top_k}"
    if models := [source.value.name for source in sources if source.kind == "model"]:
        return " and ".join((", ".join(models[:-1]), models[-1])) if len(models) > 1 else models[0]
    if laws := [source.value.name for source in sources if source.kind == "law"]:
        return f"{laws[0]}, fitted"
    words = {
        "runs": "Runs of",
        "table": "Runs of",
        "plan": "Layouts of",
        "next": "What to run next by",
        "sweep": "Runs of",
    }
    return f"{words[sources[0].kind]} {Path(sources[0].given).name}"


def _options(out: str, format: PageFormat, title: str | None) -> dict[str, str]:
    return {"out": out, **({"format": format} if format != "html" else {}), **({"title": title} if title else {})}


def _answer(page: Page, out: str, format: PageFormat, text: str) -> WrittenPage:
    return WrittenPage(
        out=out,
        format=format,
        title=page.title,
        bytes=len(text.encode()),
        sections=tuple(block.title for block in page.blocks),
        sources=tuple(
            PageSourceRecord(path=source.given, kind=source.kind, sha256=source.sha256) for source in page.sources
        ),
    )
