"""One door a medium: what real parsers make of hostile texts behind each, and that no place of output goes without."""

import ast
import csv
import io
import json
import re
import shlex
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from rich.table import Table

import moewright
from moewright.errors import UserError
from moewright.foreign_text import (
    LONGEST_LINE,
    from_csv_cell,
    one_line,
    shell_words,
    to_csv_cell,
    to_figure,
    to_html,
    to_json,
    to_markdown,
    to_yaml,
    visible,
)
from moewright.plain_values import UnfitTextError, dump_yaml, parse_json, parse_yaml
from moewright.runs.table_files import read_frame, write_frame
from moewright.screen import Screen, lines, styled
from tests.hostile import TEXTS, active_parts, is_formula, obeyed, random_texts

SOURCES = sorted(Path(moewright.__file__).parent.rglob("*.py"))
SOME = [*TEXTS, *random_texts(100, seed=0)]
"""What every door is tried with."""


def of_each_text(check: Callable[[str], None]) -> Callable[[], None]:
    """A test of every text; of those that fail, the first is named."""

    def test() -> None:
        for text in SOME:
            try:
                check(text)
            except AssertionError as error:
                raise AssertionError(f"{text[:80]!a}: {error}") from None

    return test


def test_there_are_texts_of_every_kind() -> None:
    assert len(TEXTS) == len({*TEXTS}) > 120
    assert len([text for text in TEXTS if obeyed(text)]) > 30


# Each door


@of_each_text
def test_what_is_visible_is_one_line_that_no_terminal_obeys(text: str) -> None:
    shown = visible(text)
    assert not obeyed(shown)
    assert shown.isprintable()
    assert visible(shown) == shown
    assert len(one_line(text)) <= LONGEST_LINE
    assert str(UserError(f"{text}: {text}")) == one_line(f"{text}: {text}")


@of_each_text
def test_a_screen_prints_texts_as_they_are(text: str) -> None:
    width = 40 + 8 * len(visible(text))
    table = Table(title=text, caption=text)
    table.add_column(text)
    table.add_row(text)
    table.add_row(styled("[bold]{}[/bold]{}", text, text))
    table.add_row(lines(text, text))
    screen = Screen(file=io.StringIO(), width=width, color_system=None)
    screen.print(text, table, styled("a {} [red]{}[/red]", text, text))
    screen.whole_line(text)
    screen.document(f"{text}\n")
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert not obeyed(shown)
    assert shown.count(visible(text).strip()) >= 10


@of_each_text
def test_markdown_shows_texts_as_they_are(text: str) -> None:
    from xml.etree import ElementTree

    markdown = pytest.importorskip("markdown")

    text = text[:200]  # the parser takes its time
    shown = to_markdown(text)
    page = (
        f"# {shown}\n\n{shown}\n\nBy {shown}.\n\n- {shown}\n- {shown}\n\n"
        f"| a | b |\n| --- | --- |\n| {shown} | {shown} |\n| 1 | {shown} |\n"
    )
    made = markdown.markdown(page, extensions=["tables", "attr_list", "fenced_code", "footnotes", "def_list", "toc"])
    assert not active_parts(made)
    root = ElementTree.fromstring(f"<div>{made}</div>")
    wanted = visible(text).strip(" ")
    assert [element.tag for element in root] == ["h1", *(["p"] * (2 if wanted else 1)), "ul", "table"]
    assert [len(row) for row in root.iter("tr")] == [2, 2, 2]
    found = ["".join(cell.itertext()) for cell in [*root.iter("td"), *root.iter("li")]]
    assert found == [wanted, wanted, "1", wanted, wanted, wanted]


@of_each_text
def test_html_shows_texts_as_they_are(text: str) -> None:
    from xml.etree import ElementTree

    page = f'<p title="{to_html(text)}">{to_html(text)}</p>'
    assert not active_parts(page)
    assert not obeyed(page)
    element = ElementTree.fromstring(page)
    assert element.get("title") == (element.text or "") == visible(text)


@pytest.mark.parametrize("start", range(0, len(TEXTS), 20))
def test_figures_draw_texts_as_they_are(start: int) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 2))
    some = TEXTS[start : start + 20]
    drawn = [figure.text(0, 0, to_figure(text)) for text in some]
    figure.suptitle(to_figure("".join(some)))
    for end in ("png", "svg"):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")
            figure.savefig(io.BytesIO(), format=end)
    for text, made in zip(some, drawn, strict=True):
        assert made._preprocess_math(made.get_text())[1] in (False, "TeX")  # type: ignore[attr-defined]
        assert made._preprocess_math(made.get_text())[0] == to_figure(text).replace(r"\$", "$")  # type: ignore[attr-defined]


def test_csv_holds_no_formula_and_gives_texts_back() -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([[to_csv_cell(text)] for text in SOME])
    rows = list(csv.reader(io.StringIO(buffer.getvalue(), newline="")))
    cells = [row[0] if row else "" for row in rows]
    assert not [cell for cell in cells if is_formula(cell) or obeyed(cell)]
    assert [from_csv_cell(cell) for cell in cells] == [visible(text) for text in SOME]


@of_each_text
def test_files_of_json_and_yaml_give_texts_back(text: str) -> None:
    values = {"a": [text, {visible(text): text}]}
    document = to_json(json.dumps(values, ensure_ascii=False))
    assert not obeyed(document)
    if re.search("[\ud800-\udfff]", text):
        with pytest.raises(UnfitTextError, match="half of a surrogate pair"):
            parse_json(document)
        return
    assert parse_json(document) == values
    document = dump_yaml(values)
    assert not obeyed(document)
    assert to_yaml(document) == document
    assert parse_yaml(document) == values


def is_argument(text: str) -> bool:
    try:
        return "\0" not in text and text.encode("utf-8", "surrogateescape") is not None
    except UnicodeEncodeError:
        return False


def test_bash_gives_arguments_back() -> None:
    some = [text for text in SOME if is_argument(text)]
    assert len(some) > 150
    line = shell_words("printf", "%s\\0", *some)
    assert not obeyed(line)
    assert "\n" not in line
    subprocess.run(["bash", "-n", "-c", line], check=True)
    printed = subprocess.run(["bash", "-c", line], check=True, capture_output=True).stdout
    assert printed.decode("utf-8", "surrogateescape").split("\0")[:-1] == some
    plain = [text for text in some if visible(text) == text]
    assert shlex.split(shell_words("runs", *plain)) == ["runs", *plain]


def test_a_path_is_no_option_and_what_no_argument_can_be_is_refused() -> None:
    assert shlex.split(shell_words("moewright", "runs", Path("-rf"))) == ["moewright", "runs", "./-rf"]
    with pytest.raises(ValueError, match="NUL byte is in no argument"):
        shell_words("a\0b")
    with pytest.raises(ValueError, match="half of a surrogate pair is in no argument"):
        shell_words("\ud800")


def test_a_table_written_as_csv_comes_back(tmp_path: Path) -> None:
    rows = [text for text in TEXTS if visible(text) == text and text.strip() == text and text not in ("null", "''")]
    frame = pd.DataFrame({"run_id": rows, "=name": rows, "loss": [-1.5] * len(rows)})
    write_frame(frame, tmp_path / "runs.csv", "mark")
    with open(tmp_path / "runs.csv", newline="") as file:
        assert not [cell for row in csv.reader(file) for cell in row if is_formula(cell)]
    again = read_frame(tmp_path / "runs.csv")
    pd.testing.assert_frame_equal(again.astype(object), frame.astype(object))


# No place of output without its door

DOORS = {"foreign_text.py", "screen.py"}
QUOTING = {"html", "shlex", "rich.markup"}
"""Modules that quote by hand."""
PASSED = {"visible", "one_line", "dumps", "format_message"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            yield (function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")), node


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def is_passed(argument: ast.expr) -> bool:
    return isinstance(argument, ast.Constant) or any(
        name in PASSED and node is argument for name, node in calls(argument)
    )


def places_without_a_door(text: str) -> list[str]:
    """Where a source writes texts past the doors: by hand-made quotes, markup, or straight to a stream."""
    tree = ast.parse(text)
    found = []
    for node in ast.walk(tree):
        names = imported(node)
        found += [f"imports {name}" for name in names if name in QUOTING]
    templates = [node.args[0] for name, node in calls(tree) if name == "styled" and node.args]
    of_templates = {id(inner) for template in templates for inner in ast.walk(template)}
    for name, node in calls(tree):
        owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        is_frame_page = owner != "" and name in ("to_html", "to_markdown")  # pandas' own
        if (
            name in ("Console", "Text", "from_markup", "from_ansi")
            or (owner == "csv" and "riter" in name)
            or is_frame_page
        ):
            found.append(f"line {node.lineno}: {name}")
        if f"{owner}.{name}" in (".print", "warnings.warn", "sys.stdout.write", "sys.stderr.write"):
            found += [f"line {node.lineno}: {name}" for argument in node.args[:1] if not is_passed(argument)]
        if name == "to_csv" and "to_csv_cell" not in ast.unparse(node):
            found.append(f"line {node.lineno}: to_csv")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in of_templates:
            continue
        if any(mark in str(node.value) for mark in ("[/", "[bold", "[dim", "[red", "[yellow", "[green")):
            found.append(f"line {node.lineno}: markup outside a template: {node.value!r:.40}")
    return found


@pytest.mark.parametrize(
    "source",
    [path for path in SOURCES if path.name not in DOORS and "templates" not in path.parts],
    ids=lambda path: str(path.relative_to(SOURCES[0].parents[0])),
)
def test_every_place_of_output_goes_through_its_door(source: Path) -> None:
    assert not places_without_a_door(source.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "wrong",
    [
        "from html import escape", "import shlex", "from rich.markup import escape", "Console()", "Text(name)",
        "print(name)", "print(f'a {name}')", "warnings.warn(name)", "frame.to_csv(path)", "frame.to_html()",
        "csv.writer(file)", "console.print(f'[bold]{name}[/bold]')", "Text.from_markup(name)",
    ],
)  # fmt: skip
def test_a_place_without_a_door_is_found(wrong: str) -> None:
    assert places_without_a_door(wrong)


# Nothing of a file is run

RUNS_CODE = {
    "eval", "exec", "compile", "__import__", "system", "popen", "unsafe_load", "full_load", "execfile",
    "read_pickle", "to_pickle",
}  # fmt: skip
RUNS_CODE_MODULES = {"pickle", "cPickle", "dill", "marshal", "shelve", "joblib", "cloudpickle", "runpy", "code"}


def what_runs_code(text: str) -> list[str]:
    """Where a source could run what a file holds: evaluation, unpickling, a shell, loaders that do either."""
    tree = ast.parse(text)
    found = []
    for node in ast.walk(tree):
        names = imported(node)
        found += [f"imports {name}" for name in names if name.split(".")[0] in RUNS_CODE_MODULES]
    for name, node in calls(tree):
        owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        is_regex = name == "compile" and owner == "re"
        is_model = name == "eval" and owner != "" and not node.args  # torch's switch to evaluation
        if name in RUNS_CODE and not is_regex and not is_model:
            found.append(name)
        if given.get("shell", "False") != "False":
            found.append("a shell")
        if owner == "yaml" and name in ("load", "load_all"):
            found.append("yaml.load")
        if owner == "torch" and name == "load" and given.get("weights_only") != "True":
            found.append("torch.load")
        if owner in ("np", "numpy") and name == "load" and given.get("allow_pickle", "False") != "False":
            found.append("numpy.load")
        if given.get("trust_remote_code", "False") != "False":
            found.append("remote code")
    return found


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(SOURCES[0].parents[0])))
def test_nothing_runs_what_a_file_holds(source: Path) -> None:
    assert not what_runs_code(source.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "wrong",
    [
        "eval(text)", "exec(text)", "import pickle", "from pickle import loads", "yaml.load(text)", "torch.load(path)",
        "torch.load(path, weights_only=False)", "np.load(path, allow_pickle=True)", "subprocess.run(line, shell=True)",
        "os.system(line)", "pd.read_pickle(path)", "AutoModel.from_pretrained(path, trust_remote_code=True)",
    ],
)  # fmt: skip
def test_what_would_run_code_is_found(wrong: str) -> None:
    assert what_runs_code(wrong)


def test_values_in_complaints_are_short() -> None:
    """What a user gave is repeated by `brief`: a key of 100,000 characters is no reason for a line as long."""
    sources = Path(moewright.__file__).parent
    found = [
        f"{path.relative_to(sources)}:{number}: {line.strip()}"
        for path in sources.rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(r"\{[^{}]*!r\}", line) and "AttributeError" not in line
    ]
    assert found == []
