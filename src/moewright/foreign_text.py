"""Text that others wrote, on its way out: one function for each medium.

Keys, names, paths, units and values come from files and arguments. Each medium obeys some characters: a terminal escape
sequences and directions of writing, Markdown and HTML tags and links, a drawing `$`, a spreadsheet `=`, a shell blanks.
Whoever writes such text to a medium passes it through that medium's function, and nobody quotes by hand:

| medium | function |
| --- | --- |
| a terminal, rich's texts and tables | `visible`; `screen.Screen` calls it for all that is printed |
| a line of error | `one_line`; `UserError` calls it |
| files of JSON and YAML | `to_json`, `to_yaml`, for the whole document |
| Markdown | `to_markdown` |
| HTML | `to_html` |
| figures | `to_figure` |
| CSV | `to_csv_cell`, and back with `from_csv_cell` |
| a shell | `shell_words` |
"""

import re
from collections.abc import Callable
from pathlib import Path

LONGEST_LINE = 1000
"""Characters of a line of error: what comes first says where, what comes last what to do."""
LONGEST_LABEL = 80
"""Characters of a text in a figure, whose width follows its title's."""

# Printable to Python and yet seen by nobody: fillers and variation selectors (Unicode 16, Default_Ignorable_Code_Point,
# as far as `str.isprintable` does not know it), and the empty pattern of Braille.
# Patterns are made where one is first needed: this module is loaded with the package.
_UNSEEN = "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"


def visible(text: object) -> str:
    """One line in which every character is one that is seen, and none that a terminal obeys.

    Control characters, line ends, directions of writing, zero widths, odd blanks and halves of surrogate pairs are
    written as Python's escapes.

    >>> visible("a\\x1b[31mb\\u202e\\n")
    'a\\\\x1b[31mb\\\\u202e\\\\n'
    """
    found = str(text)
    if not found.isprintable():
        found = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in found)
    return found if found.isascii() else re.sub(_UNSEEN, lambda each: ascii(each[0])[1:-1], found)


def shortened(text: str, most: int) -> str:
    """The text if it has at most so many characters, else its beginning and its end.

    >>> shortened("0123456789", 7)
    '01...89'
    """
    tail = (most - 3) // 2
    return text if len(text) <= most else f"{text[: most - 3 - tail]}...{text[len(text) - tail :]}"


def one_line(text: object) -> str:
    """`visible` text, and not too long for a line of error."""
    return shortened(visible(text), LONGEST_LINE)


def to_json(document: str) -> str:
    r"""A JSON document with escapes for what `visible` would escape; it reads back to the same values.

    >>> to_json('["\u202e"]')
    '["\\u202e"]'
    """
    import json  # this module is loaded with the package

    return _with_escapes(document, lambda each: json.dumps(each)[1:-1])


def to_yaml(document: str) -> str:
    """The same for a YAML document whose texts that need it (`needs_escapes`) stand in double quotes."""
    return _with_escapes(document, lambda each: f"\\U{ord(each):08x}" if ord(each) > 0xFFFF else f"\\u{ord(each):04x}")


def needs_escapes(text: str) -> bool:
    """Whether a text has a character, line ends apart, that is written as an escape."""
    return any(visible(line) != line for line in text.split("\n"))


def _with_escapes(document: str, escape: Callable[[str], str]) -> str:
    if not needs_escapes(document):
        return document
    return "".join(each if each == "\n" or visible(each) == each else escape(each) for each in document)


# Characters that begin something in Markdown wherever they stand; as numbers of HTML they begin nothing, in CommonMark
# (section 2.5), in GitHub's tables and mathematics, and in Python-Markdown with its attribute lists.
_MARKS = r"[\\`*\[\]{}<>&|~$#!^]|(?<![^\W_])_|_(?![^\W_])"
_LINE_BEGINS = r"[-=:]|\+(?=\s|$)|[0-9]+(?=[.)](?:\s|$))"


def to_markdown(text: object) -> str:
    """Text that Markdown shows as it is: no link, tag, emphasis or code, no new cell or line, no list or heading.

    >>> to_markdown("[a](javascript:b) | <i>")
    '&#91;a&#93;(javascript:b) &#124; &#60;i&#62;'
    >>> [to_markdown(text) for text in ("39.18B", "+17%", "1. first", "+ more")]
    ['39.18B', '+17%', '1&#46; first', '&#43; more']
    """
    shown = visible(text).strip(" ")
    shown = re.sub(_MARKS, lambda each: f"&#{ord(each[0])};", shown)
    begins = re.match(_LINE_BEGINS, shown)
    if begins is None:
        return shown
    if begins[0].isdigit():
        return f"{begins[0]}&#{ord(shown[begins.end()])};{shown[begins.end() + 1 :]}"
    return f"&#{ord(begins[0])};{shown[1:]}"


def to_html(text: object) -> str:
    """Text for the inside of an element, or of a value in double quotes.

    >>> to_html('<i a="b">')
    '&lt;i a=&quot;b&quot;&gt;'
    """
    import html

    return html.escape(visible(text), quote=True)


def to_figure(text: object) -> str:
    """Text that matplotlib draws as it is, `$` included, and at most a label long.

    >>> to_figure("$x$")
    '\\\\$x\\\\$'
    """
    return shortened(visible(text), LONGEST_LABEL).replace("$", r"\$")


# What spreadsheets take for a formula, in full width too, however many quotes were put before it.
_FORMULA = "'*[=+\\-@\uff1d\uff0b\uff0d\uff20]"
_PLAIN_NUMBER = r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?"


def to_csv_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: with a quote before the sign; numbers stay as they are.

    >>> to_csv_cell("=1+1"), to_csv_cell("-0.5")
    ("'=1+1", '-0.5')
    """
    shown = visible(text)
    return f"'{shown}" if re.match(_FORMULA, shown) and not re.fullmatch(_PLAIN_NUMBER, shown) else shown


def from_csv_cell(text: str) -> str:
    """The text that `to_csv_cell` was given, as far as it was visible.

    >>> from_csv_cell("'=1+1")
    '=1+1'
    """
    return text[1:] if text.startswith("'") and re.match(_FORMULA, text) else text


def shell_words(*words: str | Path) -> str:
    """Arguments as one line of bash that gives exactly them back; a path is none of its options.

    Raises ValueError for what no argument can be: a NUL, half of a surrogate pair.

    >>> shell_words("moewright", "runs", Path("-my runs"))
    "moewright runs './-my runs'"
    """
    return " ".join(map(_shell_word, words))


def _shell_word(word: str | Path) -> str:
    import shlex

    text = f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word)
    if "\0" in text:
        raise ValueError("a NUL byte is in no argument of a command")
    if visible(text) == text:
        return shlex.quote(text)
    try:
        octets = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is in no argument of a command") from None
    return "$'" + "".join(_shell_octet(octet) for octet in octets) + "'"


def _shell_octet(octet: int) -> str:
    letter = chr(octet)
    return letter if letter.isascii() and letter.isprintable() and letter not in "'\\" else f"\\x{octet:02x}"
