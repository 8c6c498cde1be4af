"""Pages of figures: whole by themselves, the same for the same figures, and without names that clash inside."""

import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

from moewright.report.figure_page import Drawing, PageTable, drawing_style, write_page, write_png


def drawing(name: str, title: str = "Loss & size") -> Drawing:
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([1, 2, 3], [3.0, 2.5, 2.4], marker="o", label="law <a>")
    axes.pcolormesh([[0.0, 1.0], [2.0, 3.0]])
    axes.set_title(title)
    axes.legend()
    return Drawing(name, title, "What <it> says.", figure)


def page(path: Path) -> str:
    with drawing_style():
        table = PageTable(("", "E"), [("1", "<8>")])
        write_page(path, "Two <plots>", ["80 GB & 2T"], [drawing("first"), drawing("second")], table)
    return path.read_text(encoding="utf-8")


def test_a_page_is_whole_and_needs_nothing_else(tmp_path: Path) -> None:
    text = page(tmp_path / "page.html")
    drawn = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(drawn) == 2
    for svg in drawn:
        words = [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
        assert "Loss & size" in words  # words are text, not outlines
        assert "law <a>" in words
    rest = re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL).partition("</head>")[2]
    ElementTree.fromstring(rest.removesuffix("</html>\n"))  # every user's word is escaped, every tag is closed
    assert not re.search(r"<script|@import|url\((?!#)|(src|href)=.(?!#|data:)", text)


def test_names_in_one_drawing_are_not_those_of_the_next(tmp_path: Path) -> None:
    text = page(tmp_path / "page.html")
    names = [
        set(re.findall(r'<(?:clipPath|path|image) id="([mp][0-9a-f]{9,}|image[0-9a-f]+)"', svg))
        for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    ]
    assert all(names)
    assert not names[0] & names[1]


def test_the_same_figures_are_the_same_page(tmp_path: Path) -> None:
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path"}):  # a user's own matplotlibrc
        changed = page(tmp_path / "b.html")
    assert page(tmp_path / "a.html") == changed


def test_a_picture_is_written_beside(tmp_path: Path) -> None:
    with drawing_style():
        path = write_png(tmp_path, drawing("first"))
    assert path == tmp_path / "first.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [each.name for each in tmp_path.iterdir()] == ["first.png"]
