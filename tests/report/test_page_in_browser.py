"""The page of `moewright report` in a real browser: tables, copying, colours, paper, keyboard, and no request."""

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import moewright
from moewright import runs
from moewright.designs.space import Space
from moewright.quantities import format_count
from moewright.report.page.page_blocks import FIRST_ROWS, range_text
from tests.hostile import TEXTS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
LAW, TABLE = "examples/small_mixtures/zhao2025.json", "examples/small_mixtures/runs.parquet"
MODELS = ["examples/configs/olmoe-1b-7b.json", "gpt-oss-20b", "jamba-v0.1", "dbrx", "deepseek-v3"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


class OpenedPage:
    """A report in a tab of its own, with all that it said and asked for."""

    def __init__(self, browser: Any, file: Path, **context: Any) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, **context)
        self.tab = self.context.new_page()
        self.tab.on("console", lambda message: self.said.append(message.text))
        self.tab.on("pageerror", lambda error: self.said.append(str(error)))
        self.tab.on("dialog", self._dismiss)
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.goto(file.as_uri())
        self.file = file

    def _dismiss(self, dialog: Any) -> None:
        self.said.append(dialog.message)
        dialog.dismiss()

    def column(self, table: str, place: int) -> list[str]:
        """The texts of a column, rows that are not shown left out."""
        rows = self.tab.locator(f"#{table} tbody tr:not([hidden]) > :nth-child({place})")
        return [str(text) for text in rows.all_inner_texts()]

    def colour(self, selector: str, name: str) -> str:
        return str(self.tab.eval_on_selector(selector, f"element => getComputedStyle(element).{name}"))

    def close(self) -> None:
        """Nothing was said on the way, and nothing was asked for but the file."""
        self.tab.wait_for_timeout(50)
        assert (self.said, [url for url in self.asked if url != "data:,"]) == ([], [self.file.as_uri()])
        self.context.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of everything, and one of names that mean mischief."""
    made = tmp_path_factory.mktemp("browser")
    space = Space(widths=(2048, 2560), depths=(16, 24))
    moewright.design(total_params="3B", active_params="1B", train_tokens="2T", space=space, top=3, out=made / "designs")
    moewright.make_report([made / "designs", LAW, TABLE, *MODELS], made / "report.html")
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(["run_id", "total_params", "train_tokens", "loss"])
    names = sorted(
        {text for text in TEXTS if len(text) < 200 and text.isprintable() and text.strip(" \"'") and text[0] not in "'"}
    )
    lines.writerows(
        [name, 1e6 * (2 + place % 7), 1e8 * (1 + place % 5), 3 + place / 1000] for place, name in enumerate(names)
    )
    (made / "<img src=x onerror=alert(1)>.csv").write_text(text.getvalue(), encoding="utf-8")
    moewright.make_report(
        made / "<img src=x onerror=alert(1)>.csv", made / "hostile.html", title="</title><script>alert(1)</script>"
    )
    return made


@pytest.fixture
def page(browser: Any, folder: Path) -> Iterator[OpenedPage]:
    opened = OpenedPage(browser, folder / "report.html")
    yield opened
    opened.close()


def test_tables_sort_and_filter(page: OpenedPage) -> None:
    table = "runs-3-grid"
    head = page.tab.locator(f"#{table} thead th").filter(has_text="loss").first
    place = int(head.evaluate("cell => cell.cellIndex")) + 1
    for order in ("ascending", "descending"):
        head.locator("button").click()
        page.tab.locator(f'#{table} thead th[aria-sort="{order}"]').wait_for()  # a busy machine sorts a little later
        assert head.get_attribute("aria-sort") == order
        losses = [float(text) for text in page.column(table, place)]
        assert len(losses) == FIRST_ROWS
        assert losses == sorted(losses, reverse=order == "descending")
    page.tab.get_by_role("button", name="Show all 130 rows").click()
    assert len(page.column(table, place)) == 130
    page.tab.locator("#runs-3").get_by_role("searchbox").fill("outlier")
    assert 0 < len(page.column(table, place)) == page.tab.locator(f"#{table} tr.suspicious:not([hidden])").count()
    columns = page.tab.locator(f"#{table} thead th:visible").count()
    page.tab.locator("#runs-3").get_by_label("all columns").check()
    assert page.tab.locator(f"#{table} thead th:visible").count() > columns


def test_models_side_by_side(page: OpenedPage) -> None:
    heads = page.tab.locator("#models-grid thead th:visible")
    assert heads.count() == 1 + 4, "at most four at a time"
    boxes = page.tab.locator("#models-compared .bar")
    boxes.get_by_label("deepseek-v3").click()
    assert not boxes.get_by_label("deepseek-v3").is_checked()
    assert "at most 4 at a time" in boxes.inner_text()
    for name in ("design 1", "gpt-oss-20b", "jamba-v0.1"):
        boxes.get_by_label(name, exact=True).uncheck()
    assert heads.count() == 2
    boxes.get_by_label("only differences").check()
    assert page.column("models-grid", 1) == [], "one model differs from nothing"
    boxes.get_by_label("dbrx").check()
    told = page.column("models-grid", 1)
    assert any("experts" in each for each in told)
    assert not any("family" in each for each in told) or len(told) < page.tab.locator("#models-grid tbody tr").count()
    assert page.tab.locator("#models-compared .model:visible figure.layers").count() == len(MODELS), "of the given ones"
    boxes.get_by_label("design 2").check()
    assert page.tab.locator("#models-compared .model:visible figure.layers").count() == len(MODELS) + 1


def test_designs_that_have_no_what_if_stand_beside_models(browser: Any, folder: Path) -> None:
    """At the answer's own setting: the figures of the command, of `inspect` for models, and what is taken home."""
    space = Space(widths=(2048, 2560), depths=(16, 24))
    budgets: dict[str, Any] = {"memory": "80GB", "train_tokens": "2T", "hardware": "H100", "context": 8192}
    designs = moewright.design(**budgets, power_price=0.1, space=space, top=3, out=folder / "power").designs
    plan = moewright.plan("qwen3-30b-a3b", hardware="H100", devices=64)
    (folder / "plan.json").write_text(json.dumps(plan.to_dict()), encoding="utf-8")
    moewright.make_report([folder / "power", "dbrx", folder / "plan.json"], folder / "power.html")
    page = OpenedPage(browser, folder / "power.html", permissions=["clipboard-read", "clipboard-write"])
    assert page.tab.locator("[data-what-if]").count() == 0
    heads = page.tab.locator("#models-grid thead th:visible").all_inner_texts()
    assert heads[1:4] == ["design 1", "dbrx", "qwen3-30b-a3b"]
    columns = {name: page.column("models-grid", place) for place, name in enumerate(heads, start=1)}
    rows = [name.removesuffix(" \u2260") for name in columns["quantity"]]
    asked: dict[str, Any] = {"tokens_per_sequence": 8192, "hardware": "H100"}
    for name in ("dbrx", "qwen3-30b-a3b"):
        shown, one = dict(zip(rows, columns[name], strict=True)), moewright.inspect(name, **asked)
        assert one.hardware is not None
        assert shown["Parameters: all"] == format_count(one.total_params)
        told = range_text(one.hardware.tokens_per_second_per_sequence)
        assert shown["1 x H100: decoding, a sequence"] == f"{told} tokens/s"
    shown = dict(zip(rows, columns["design 1"], strict=True))
    assert shown["Active: all"] == format_count(designs[0].active_params)
    costs = designs[0].costs
    assert shown["1 x H100: decoding, a sequence"] == f"{range_text(costs.decode_tokens_per_second)} tokens/s"
    assert shown["1 x H100: time to first token"] == f"{range_text(costs.time_to_first_token)} s"
    marked = page.tab.locator("#models-grid tr.differs:visible th").all_inner_texts()
    texts = zip(*[columns[name] for name in heads], strict=True)
    assert marked == [name for name, *values in texts if len(set(values)) > 1]
    boxes = page.tab.locator("#models-compared .bar")
    boxes.get_by_label("dbrx").uncheck()
    boxes.get_by_label("design 3").check()
    card = page.tab.locator(".model:visible").filter(has_text="design 3")
    assert card.locator("figure.layers svg[role=img]").count() == 1
    card.get_by_role("button", name="Copy spec").click()
    spec = page.tab.evaluate("navigator.clipboard.readText()")
    assert moewright.Architecture.load(_written(folder, "spec.yaml", spec)) == designs[2].architecture
    card.get_by_role("button", name="Copy command").click()
    assert page.tab.evaluate("navigator.clipboard.readText()").startswith("moewright design --memory 80GB")
    page.close()


def test_what_is_copied_is_the_file(browser: Any, folder: Path) -> None:
    page = OpenedPage(browser, folder / "report.html", permissions=["clipboard-read", "clipboard-write"])
    page.tab.locator("[data-copy=design-1-config]").click()
    config = page.tab.evaluate("navigator.clipboard.readText()")
    assert moewright.inspect(_written(folder, "config.json", config)).total_params > 1e9
    page.tab.locator("[data-copy=design-1-spec]").click()
    spec = page.tab.evaluate("navigator.clipboard.readText()")
    written = moewright.Architecture.load(folder / "designs" / "design-01" / "architecture.yaml")
    assert moewright.Architecture.load(_written(folder, "spec.yaml", spec)) == written
    page.close()


def test_a_table_is_copied_for_a_spreadsheet(browser: Any, folder: Path) -> None:
    """What Python's own reader finds: the rows that the filter leaves in their order, and no formula."""
    page = OpenedPage(browser, folder / "report.html", permissions=["clipboard-read", "clipboard-write"])
    page.tab.locator("#runs-3").get_by_role("searchbox").fill("outlier")
    page.tab.locator("#runs-3").get_by_role("button", name="Copy as CSV").click()
    found = list(csv.reader(io.StringIO(page.tab.evaluate("navigator.clipboard.readText()"))))
    shown = page.column("runs-3-grid", 2)
    assert [row[1] for row in found[1:]] == shown != []
    loss = found[0].index("loss nats")
    table = runs.load(TABLE)
    assert [float(row[loss]) for row in found[1:]] == pytest.approx(
        [float(table["loss"].iloc[int(row[0]) - 1]) for row in found[1:]]
    )
    page.close()
    hostile = OpenedPage(browser, folder / "hostile.html", permissions=["clipboard-read", "clipboard-write"])
    hostile.tab.get_by_role("button", name="Copy as CSV").click()
    found = list(csv.reader(io.StringIO(hostile.tab.evaluate("navigator.clipboard.readText()"))))
    assert len({len(row) for row in found}) == 1
    assert not [row[1] for row in found if row[1].startswith(("=", "+", "@", "-"))]
    assert any(row[1].startswith("'=") for row in found)
    hostile.close()


def test_what_is_better_more_is_sorted_so_first(page: OpenedPage) -> None:
    head = page.tab.locator("#design-1-costs-grid thead th").filter(has_text="tokens/s").first
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"


def _written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_colours_and_paper(browser: Any, folder: Path) -> None:
    page = OpenedPage(browser, folder / "report.html", color_scheme="dark")
    dark = page.colour("body", "backgroundColor")
    page.tab.locator("#theme").click()
    light = page.colour("body", "backgroundColor")
    assert dark != light
    page.tab.locator("#theme").click()
    assert page.colour("body", "backgroundColor") == dark
    page.tab.emulate_media(media="print")
    assert page.colour("article", "color") == "rgb(26, 29, 33)", "paper is light"
    assert not page.tab.locator("nav").is_visible()
    assert not page.tab.locator("#theme").is_visible()
    assert page.tab.pdf()[:5] == b"%PDF-"
    page.close()


def test_numbers_say_where_they_are_from(page: OpenedPage) -> None:
    popover = page.tab.locator("#origin")
    page.tab.locator("#answer .number").first.focus()
    assert "exact" in popover.inner_text()
    page.tab.keyboard.press("Escape")
    assert not popover.is_visible()
    head = page.tab.locator("#design-1-costs-grid thead th").all_inner_texts()
    regret = next(place for place, text in enumerate(head) if "worst regret" in text)
    assert regret < len(head) / 2, "what it costs comes before its sizes"
    cell = page.tab.locator("#design-1-costs-grid tbody tr").first.locator("th, td").nth(regret)
    cell.hover()
    assert "modelled" in popover.inner_text()
    assert "docs: design.md" in popover.inner_text()
    cell.click()
    for _ in range(2):
        page.tab.keyboard.press("ArrowLeft")
    assert "roofline" in popover.inner_text(), "keys move from cell to cell"
    page.tab.locator("#origins").click()
    mark = "element => getComputedStyle(element, '::before').content"
    assert page.tab.locator("#answer .number").first.evaluate(mark) == '"="'


def test_plots_are_drawn(page: OpenedPage) -> None:
    figures = page.tab.locator("figure[data-plot]")
    assert figures.count() > 3
    for number in range(figures.count()):
        figures.nth(number).scroll_into_view_if_needed()
        figures.nth(number).locator("canvas").wait_for()
        label = figures.nth(number).locator("[role=img]").get_attribute("aria-label")
        assert label


@pytest.mark.parametrize("width", [360, 1280, 2560])
def test_nothing_is_wider_than_the_screen(width: int, page: OpenedPage) -> None:
    page.tab.set_viewport_size({"width": width, "height": 900})
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width


def test_no_text_of_a_table_runs_into_the_next_column(page: OpenedPage) -> None:
    page.tab.set_viewport_size({"width": 360, "height": 780})
    page.tab.locator(".what-if tbody th").first.wait_for()
    over = """() => [...document.querySelectorAll("tbody th, tbody td")].filter((cell) => {
      const text = document.createRange();
      text.selectNodeContents(cell);
      return cell.offsetWidth && text.getBoundingClientRect().right > 1 + cell.getBoundingClientRect().right;
    }).map((cell) => cell.innerText)"""
    assert page.tab.evaluate(over) == []


def test_a_plot_is_as_high_on_paper_as_drawn(page: OpenedPage) -> None:
    drawn = page.colour(".canvas", "height")
    page.tab.emulate_media(media="print")
    assert page.colour(".canvas", "height") == drawn, "it would stand on its caption"


def test_paper_has_every_row_and_nothing_to_press(page: OpenedPage) -> None:
    """Of a filtered table those that the filter leaves; what is folded away too, but for files; and back after it."""
    rows = page.tab.locator("#runs-3-grid tbody tr:not([hidden])")
    button = page.tab.locator("#runs-3").get_by_role("button", name="Show all 130 rows")
    for filtered, count in (("", 130), ("outlier", 4)):
        page.tab.locator("#runs-3").get_by_role("searchbox").fill(filtered)
        seen = rows.count()
        page.tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert rows.count() == count
        assert not button.is_visible()
        assert page.tab.locator("#runs-3 details li").first.is_visible()
        page.tab.evaluate("dispatchEvent(new Event('afterprint'))")
        assert rows.count() == seen
        assert not page.tab.locator("#runs-3 details li").first.is_visible()
    page.tab.emulate_media(media="print")
    assert page.tab.locator("button:not(.sort):visible, input:visible, select:visible").count() == 0
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= 1280


def test_texts_of_others_are_texts(browser: Any, folder: Path) -> None:
    page = OpenedPage(browser, folder / "hostile.html")
    assert page.tab.title() == "</title><script>alert(1)</script>"
    assert page.tab.locator("h3").first.inner_text() == "Run table <img src=x onerror=alert(1)>.csv"
    assert page.tab.locator("img, iframe, object, a[href^=javascript], [onerror], [onload], [onmouseover]").count() == 0
    page.tab.get_by_role("button", name="Show all").click()
    assert "<script>alert(1)</script>" in page.column("runs-1-grid", 2)
    page.tab.locator("tbody td").first.hover()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_is_found_by_axe(scheme: str, browser: Any, folder: Path) -> None:
    """All its rules by light; in the dark, where only colours differ, those of contrast."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = OpenedPage(browser, folder / "report.html", color_scheme=scheme)
    page.tab.locator("#origins").click()
    only = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}
    found = axe.Axe().run(page.tab, options={"resultTypes": ["violations"], **only}).response["violations"]
    serious = [
        (each["id"], each["nodes"][0]["html"][:120]) for each in found if each["impact"] in ("serious", "critical")
    ]
    assert serious == []
    page.close()


def test_ten_questions_take_two_actions_at_most(browser: Any, folder: Path) -> None:
    """The questions of docs/how-to/report.md, each answered on a page that was just opened."""
    table = Path("docs/how-to/report.md").read_text(encoding="utf-8").partition("## Ten questions of a team")[2]
    asked = [line.split("|")[1].strip() for line in table.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    assert asked[2:] == list(QUESTIONS)
    for question, (actions, answer) in QUESTIONS.items():
        page = OpenedPage(browser, folder / "report.html", permissions=["clipboard-read", "clipboard-write"])
        assert len(actions) <= 2
        for act in actions:
            act(page.tab)
        assert answer(page.tab), question
        page.close()


def _shows(tab: Any, selector: str) -> str:
    """The text of an element that can be seen."""
    found = tab.locator(selector).first
    found.wait_for(state="visible")
    return str(found.inner_text())


FASTEST = "#design-1-costs-grid thead th:nth-child(3)"
QUESTIONS: dict[str, tuple[list[Callable[[Any], Any]], Callable[[Any], bool]]] = {
    "What shall we build?": ([], lambda tab: _shows(tab, "#answer h3").startswith("Build ")),
    "Give me the config": (
        [lambda tab: tab.locator("[data-copy=design-1-config]").click()],
        lambda tab: json.loads(tab.evaluate("navigator.clipboard.readText()"))["hidden_size"] > 0,
    ),
    "Which number is assumed?": (
        [lambda tab: tab.locator("#origins").click()],
        lambda tab: tab.locator("#answer .number[data-kind=assumed]").first.evaluate(
            "element => getComputedStyle(element, '::before').content === '\"?\"'"
        ),
    ),
    "How is this number counted?": (
        [lambda tab: tab.locator("#answer .number").first.hover()],
        lambda tab: "docs: accounting.md" in _shows(tab, "#origin"),
    ),
    "What if we had cards with more memory?": (
        [lambda tab: tab.locator(".what-if input[type=range]").first.fill("90")],
        lambda tab: "--total-params 3B" not in _shows(tab, "[id$=what-if-line]"),
    ),
    "Why not 8 experts?": ([], lambda tab: "Regret of each design by law" in _shows(tab, "#why caption")),
    "Is it better than the published model beside it?": (
        [],
        lambda tab: "the nearest published model" in _shows(tab, "#baseline h3"),
    ),
    "Which candidate decodes fastest?": (
        [lambda tab: tab.locator(f"{FASTEST} button").click()],
        lambda tab: tab.locator(FASTEST).get_attribute("aria-sort") == "descending",
    ),
    "What did run 17 do?": (
        [lambda tab: tab.locator("#runs-3").get_by_role("searchbox").fill("21f0596b22a6")],
        lambda tab: tab.locator("#runs-3-grid tbody tr:not([hidden])").count() == 1,
    ),
    "Which runs should we not trust?": (
        [lambda tab: tab.locator("#runs-3 summary").first.click()],
        lambda tab: "outlier" in _shows(tab, "#runs-3 details li"),
    ),
}
