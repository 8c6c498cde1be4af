"""The terminal as sections of the report see it: a rich console that obeys nothing in the texts that it prints.

rich reads `[red]` in texts as a style and passes escape sequences on. Here a text is what it says, in one line, whether
printed, in a cell or in a title. What the report styles itself is a `styled` template, which takes texts of others in
the place of its braces.
"""

from typing import Any

from rich.console import Console
from rich.text import Span, Text

from moewright.foreign_text import visible

_PRIVATE = 0xE000
"""Of Unicode's private use: no template has such a character, and `visible` none either."""


class Screen(Console):
    """A console to which texts are texts: no markup, no highlighting, no emoji by name, no control characters.

    `explain`: all that is behind an answer is wanted, not only what fits on one screen of 24 lines.
    """

    def __init__(self, *, explain: bool = False, **settings: Any) -> None:
        self.explain = explain
        super().__init__(**{**settings, "markup": False, "highlight": False, "emoji": False})

    def render_str(self, text: str, **settings: Any) -> Text:
        """What rich makes of every text that it is given: printed, in a cell, in a title."""
        return super().render_str(visible(text), **{**settings, "markup": False, "highlight": False, "emoji": False})

    def whole_line(self, text: str) -> None:
        """Print one line that is not wrapped: what people copy, and what programs look for."""
        self.print(text, soft_wrap=True)

    def point_to(self, more: str) -> None:
        """Say what `--explain` would show, where the answer leaves it out."""
        self.print(f"--explain: {more}", style="dim")

    def document(self, text: str) -> None:
        """Print lines as they are, each with nothing that a terminal obeys."""
        lines = Text("\n".join(visible(line) for line in text.split("\n")))
        self.print(lines, no_wrap=True, overflow="ignore", crop=False, end="")


def styled(template: str, *texts: object) -> Text:
    """Our own words with rich's markup, and others' texts in the place of each pair of braces.

    >>> styled("[bold]{}[/bold]: {}", "[red]", 3).plain
    '[red]: 3'
    """
    marks = [chr(_PRIVATE + place) for place in range(len(texts))]
    marked = Text.from_markup(template.format(*marks), emoji=False)
    ends = sorted({end for mark in marks for place in [marked.plain.index(mark)] for end in (place, place + 1)})
    whole = Text()
    for piece in marked.divide(ends):
        if piece.plain in marks:
            shown = visible(texts[marks.index(piece.plain)])
            piece = Text(shown, spans=[Span(0, len(shown), span.style) for span in piece.spans])
        whole.append_text(piece)
    return whole


def lines(*texts: str | Text) -> Text:
    """Several lines, for a cell or a title."""
    return Text("\n").join(text if isinstance(text, Text) else Text(visible(text)) for text in texts)
