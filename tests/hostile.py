"""Texts of others that each medium would obey, and what no medium may hold afterwards."""

import html.parser
import random
import re

ESC = "\x1b"
TEXTS = [
    # rich
    "[/red]", "[bold]", "[red on blue]x[/]", "[link=file:///etc/passwd]x[/link]", "\\[b]", "\\", ":smile:",
    "[@click=x]y[/]",
    # terminals: colours, titles, links, the clipboard, 8-bit controls, overwriting
    f"{ESC}[31mred{ESC}[0m", f"{ESC}]0;title\x07", f"{ESC}]8;;http://evil.example{ESC}\\link{ESC}]8;;{ESC}\\",
    f"{ESC}]52;c;ZXZpbA=={ESC}\\", f"{ESC}[2J{ESC}[H", "\x9b31mred", "\x90q\x9c", "a\rb", "a\x08b", "\x07", "\x7f",
    "\x00",
    # lines and blanks
    "a\nb", "a\r\nmoewright: done", "a\u2028b", "a\u2029b", "a\x0bb", "a\x0cb", "a\x85b", "a\tb", "\u00a0", " a ",
    # what is not seen, or seen elsewhere
    "\u202eabc", "a\u2066b\u2069", "\u200b", "a\u200db", "\ufeff", "\u00ad", "a\ufe0fb", "\u3164", "\U000e0041",
    "\U000e0100", "\u034f", "\ud800", "\udcff", "a\U0001f600b", "Ａ＝１",
    # HTML
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\" onmouseover=\"alert(1)",
    "'><svg onload=alert(1)>",
    "&lt;b&gt;", "</title><script>", "<!--", "]]>", "<a href='javascript:alert(1)'>x</a>", "javascript:alert(1)",
    # Markdown
    "[a](javascript:alert(1))", "![a](http://evil.example/x.png)", "a | b | c", "`code`", "```", "# heading",
    "- item",
    "1. item", "> quote", "**bold**", "_a_", "<http://evil.example>", "[a]: javascript:b", "{: onclick=alert(1)}",
    "---",
    "===", "~~a~~", "    code", "\\|", "+ x",
    # TeX
    "$\\frac", "$x$", "$$", "\\$", "^_", "%", "#&_{}", "$\\input{/etc/passwd}$",
    # spreadsheets
    '=HYPERLINK("http://evil.example")', "+1+1", "-2+3", "@SUM(1)", "=cmd|' /C calc'!A0", "\t=1", "\r=1", "'=1",
    "''", "＝1",
    '"', ",", ";", "a\",b",
    # shells
    "$(id)", "`id`", "${HOME}", "a b", "'", "a;id", "a&&id", "*", "~", "-rf", "--help", "!x", "a'b\"c", "$'x'",
    "{a,b}", "#x",
    # formats, and what is long
    "%s%n", "{0}", "{x.__class__}", "__proto__", "null", "é", "日本語", "עברית", "x" * 5000, "[" * 3000, "é" * 2000,
]  # fmt: skip
"""Of every kind: markup, control characters, directions, HTML, Markdown, TeX, formulas, shells, lengths."""


def random_texts(count: int, seed: int) -> list[str]:
    """Pieces of them beside each other and beside any other characters; few repeat."""
    generator = random.Random(seed)

    def piece() -> str:
        if generator.random() < 0.5:
            return generator.choice(TEXTS)[:20]
        return "".join(chr(generator.choice((generator.randrange(0x100), generator.randrange(0x3000)))) for _ in "123")

    return ["".join(piece() for _ in range(generator.randrange(1, 5))) for _ in range(count)]


_OBEYED = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufe00-\ufe0f\u3164\ud800-\udfff"
    "\U000e0000-\U000e0fff]"
)


def obeyed(text: str) -> list[str]:
    """Characters that a terminal obeys, or that nobody sees; line ends are none of them."""
    return _OBEYED.findall(text)


class _Finder(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "base", "form", "link"):
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            is_link = name in ("href", "src", "xlink:href", "action")
            if name.startswith("on") or (is_link and not re.match("[#.]|data:image/png", value or "")):
                self.found.append(f"{name}={value}")


def active_parts(page: str) -> list[str]:
    """Scripts, handlers and links of an HTML page, by html.parser."""
    finder = _Finder()
    finder.feed(page)
    finder.close()
    return finder.found


def is_formula(cell: str) -> bool:
    """Whether a spreadsheet computes a cell; a number is none."""
    is_number = re.fullmatch(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?", cell)
    return is_number is None and re.match("[=+\\-@\t\r\n＝＋－＠]", cell) is not None
