"""The page of `moewright report` as text: what each kind of path becomes, in which order, and what no text can do."""

import html
import html.parser
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import moewright
from moewright import runs
from moewright.errors import UserError
from moewright.experiment.collecting import collection
from moewright.experiment.collecting.collection import RunTable
from moewright.laws import load
from moewright.report.page import page_writing
from moewright.report.page.page_assembly import make_blocks
from moewright.report.page.page_blocks import CHAPTERS, data_html
from moewright.report.page.page_sources import PageSource, read_sources
from moewright.report.page.sections.design_section import design_blocks
from tests.hostile import TEXTS, active_parts

TABLE, LAW = "examples/small_mixtures/runs.parquet", "examples/small_mixtures/zhao2025.json"
MODEL, SWEEP = "examples/configs/olmoe-1b-7b.json", "examples/small_mixtures/sweep.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Designs as a folder and as JSON, and plans."""
    made = tmp_path_factory.mktemp("page")
    designs = moewright.design(total_params="3B", train_tokens="2T", top=3, out=made / "designs")
    (made / "printed.json").write_text(json.dumps(designs.to_dict()), encoding="utf-8")
    plan = moewright.plan(MODEL, hardware="H100", devices=8, top=3)
    (made / "plan.json").write_text(json.dumps(plan.to_dict()), encoding="utf-8")
    serving = moewright.plan(MODEL, hardware="H100", devices=8, serve=True, top=3)
    chosen = moewright.next_runs(TABLE, spend=1e16, most=3, hardware="H100")
    (made / "next.json").write_text(json.dumps(chosen.to_dict()), encoding="utf-8")
    (made / "serving.json").write_text(json.dumps(serving.to_dict()), encoding="utf-8")
    return made


def test_kinds_are_told_by_content(folder: Path, tmp_path: Path) -> None:
    expected: dict[str | Path, str] = {
        folder / "designs": "design",
        folder / "printed.json": "design",
        LAW: "law",
        TABLE: "table",
        folder / "plan.json": "plan",
        folder / "serving.json": "plan",
        folder / "next.json": "next",
        SWEEP: "sweep",
        MODEL: "model",
        "dbrx": "model",
    }
    for format in ("html", "md"):
        page = moewright.make_report(list(expected), tmp_path / f"report.{format}", format=format)
        assert [source.kind for source in page.sources] == list(expected.values())
        assert page.bytes == (tmp_path / f"report.{format}").stat().st_size < 1_100_000
        text = (tmp_path / f"report.{format}").read_text(encoding="utf-8")
        assert all(source.sha256 and source.sha256 in text for source in page.sources)


def test_what_has_no_file_has_the_hash_of_what_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another row, another model: another hash; the same from another place: the same."""
    rows = runs.load(TABLE)

    def collect(folder: Path) -> RunTable:
        table = rows if folder.name != "other" else rows.assign(loss=rows["loss"] + 0.1)
        return RunTable(folder, table.assign(state="done"), (), False)

    monkeypatch.setattr(collection, "holds_own_runs", lambda path: True)
    monkeypatch.setattr(collection, "collect", collect)
    for name in ("one", "same", "other"):
        (tmp_path / name).mkdir()
    found = [read_sources([tmp_path / name])[0] for name in ("one", "same", "other")]
    assert [source.kind for source in found] == ["runs"] * 3
    assert found[0].sha256 == found[1].sha256 != found[2].sha256
    models = read_sources(["dbrx", "DBRX", "gpt-oss-20b"])
    assert models[0].sha256 == models[1].sha256 != models[2].sha256
    assert models[0].hashed == "the architecture that was read"


def test_the_command_of_a_design_has_all_budgets_to_the_last_digit(folder: Path, tmp_path: Path) -> None:
    values = json.loads((folder / "printed.json").read_text(encoding="utf-8"))
    common = {"train_tokens": 2000000000001.0, "train_hardware": "H200", "price": {"H200": 2.1}}
    sized: list[dict[str, Any]] = [
        {"total_params": 3123456789.0},
        {"total_params": None, "hardware": "gone.yaml", "device_memory_bytes": 7e10},
    ]
    words = "--total-params 3123456789", "--memory 70GB"
    named = "", " --hardware gone.yaml"
    for own, size, on in zip(sized, words, named, strict=True):
        changed = {**values, "budgets": {**values["budgets"], **common, **own}}
        (tmp_path / "changed.json").write_text(json.dumps(changed), encoding="utf-8")
        (source,) = read_sources([tmp_path / "changed.json"])
        expected = f"moewright design {size} --train-tokens 2000000000001{on} --train-hardware H200 --price H200=2.1"
        assert f'command">{expected}</pre>' in next(iter(design_blocks([source]))).html.replace(' tabindex="0"', "")


def test_what_devices_prices_and_a_life_cost_is_shown(folder: Path, tmp_path: Path) -> None:
    values = json.loads((folder / "printed.json").read_text(encoding="utf-8"))
    values["costed_on"] |= {"train_hardware": "H200", "train_assumed": False}
    further: dict[str, Any] = {"train_layout": "tp=1,ep=8", "train_days": [11.0, 17.0], "train_money": [5e5, 8e5]}
    further |= {"serve_device_hours": [2e6, 3e6], "serve_batch": 1024, "serve_money": [4e6, 6e6]}
    shown = ("tp=1,ep=8", "11 to 17", "500K to 800K", "2.00M to 3.00M", "1,024", "4.00M to 6.00M")
    values["designs"][0]["costs"] |= further
    values["baseline"]["as_built"]["design_against_it"] |= {"train_money": -0.25, "whole_bill": 0.5}
    (tmp_path / "changed.json").write_text(json.dumps(values), encoding="utf-8")
    made = design_blocks(read_sources([tmp_path / "changed.json"]))
    blocks = {block.chapter: html.unescape(block.markdown) for block in made}
    for text in shown:
        assert all(text in blocks[chapter] for chapter in ("answer", "baseline", "costs")), text
    assert "H200-hours of training" in blocks["answer"]
    assert "-25%" in blocks["baseline"]
    assert "the whole bill of training and serving +50%" in blocks["baseline"]


def test_laws_that_may_not_judge_are_no_evidence(folder: Path, tmp_path: Path) -> None:
    values = json.loads((folder / "printed.json").read_text(encoding="utf-8"))
    said = []
    for may_judge in (True, False):
        values["undecided"] |= {"may_judge": may_judge, "silent": {"zhao2025": "a reason"}}
        (tmp_path / "changed.json").write_text(json.dumps(values), encoding="utf-8")
        blocks = {block.chapter: block for block in design_blocks(read_sources([tmp_path / "changed.json"]))}
        said.append(blocks["certainty"].markdown)
    assert ["no evidence" in text for text in said] == [False, True]
    assert ["zhao2025 is not heard: a reason" in text for text in said] == [True, False]
    assert ["zhao2025 may not judge: a reason" in text for text in said] == [False, True]


class Headings(html.parser.HTMLParser):
    """The chapters of a page, the ids of its elements, and what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.chapters: list[str] = []
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag == "section":
            self.chapters.append(said["id"])
        if "id" in said:
            self.ids.append(said["id"])
        for name in ("src", "href"):
            if said.get(name, "#")[:1] != "#" and said[name] != "data:,":
                self.fetched.append(said[name])


def test_the_order_is_that_of_the_argument(folder: Path, tmp_path: Path) -> None:
    moewright.make_report([TABLE, MODEL, LAW, folder / "printed.json"], tmp_path / "report.html")
    found = Headings((tmp_path / "report.html").read_text(encoding="utf-8"))
    order = [chapter for chapter in CHAPTERS if chapter in found.chapters]
    assert found.chapters == [*order, "colophon"]
    assert len(order) >= 6
    assert len(found.ids) == len({*found.ids})
    assert found.fetched == []


def test_the_same_inputs_make_the_same_page(tmp_path: Path) -> None:
    texts = []
    for _ in range(2):
        moewright.make_report([TABLE, LAW, MODEL], tmp_path / "report.html")
        texts.append((tmp_path / "report.html").read_bytes())
    assert texts[0] == texts[1]


def test_what_is_not_understood_is_one_line(tmp_path: Path) -> None:
    for path, words in (
        ("README.md", "taken for a model"),
        ("examples/train/tiny.yaml", "there is no report"),
        ("olmo", "did you mean"),
        ("examples", "understood are a design"),
    ):
        with pytest.raises(UserError, match=words) as found:
            moewright.make_report(path, tmp_path / "report.html")
        assert len(str(found.value)) < 400
    assert not list(tmp_path.iterdir())


DOES_NOT_HOLD: dict[str, Callable[[dict[str, Any]], object]] = {
    "recommended.index: 99 is none of the 3 designs": lambda values: values["recommended"].update(index=99),
    "recommended.index: -1 is none of the 3 designs": lambda values: values["recommended"].update(index=-1),
    "recommended.index: 0 is none of the 0 designs": lambda values: values.update(designs=[]),
    r"designs\[2\].regret: lacks": lambda values: values["designs"][2].update(regret={}),
    "budgets: nothing sets the size": lambda values: values["budgets"].update(total_params=None),
    "budgets: exactly one of .* sets the training": lambda values: values["budgets"].update(train_flops=1e22),
    "budgets.train_tokens: ": lambda values: values["budgets"].update(train_tokens=-1.0),
}


@pytest.mark.parametrize("words", DOES_NOT_HOLD)
def test_an_answer_that_does_not_hold_together_is_refused(words: str, folder: Path, tmp_path: Path) -> None:
    values = json.loads((folder / "printed.json").read_text(encoding="utf-8"))
    DOES_NOT_HOLD[words](values)
    (tmp_path / "changed.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(UserError, match=words):
        moewright.make_report(tmp_path / "changed.json", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_watching_ends_where_nobody_is_at_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look between two runs is not the end; two in a row are, though runs are pending."""
    looks = iter(
        [("running", "pending"), ("pending", "done"), ("running", "done"), ("pending",), ("pending",), ("done",)]
    )

    def read(paths: object) -> tuple[PageSource, ...]:
        return (PageSource("runs", "runs", SimpleNamespace(states=dict.fromkeys(next(looks), 1)), 1),)

    monkeypatch.setattr(page_writing, "read_sources", read)
    monkeypatch.setattr(page_writing, "make_blocks", lambda sources, is_html: ())
    monkeypatch.setattr(page_writing, "WATCH_SECONDS", 0.0)
    texts: list[str] = []

    def deliver(write: Callable[[Path], object]) -> None:
        write(tmp_path / "report.html")
        texts.append((tmp_path / "report.html").read_text(encoding="utf-8"))

    page_writing.write_report(["runs"], "report.html", "html", None, True, deliver)
    assert ["the page reads itself again" in text for text in texts] == [True, True, True, True, False]
    page_writing.write_report(["runs"], "report.html", "html", None, True, deliver)
    assert "the page reads itself again" not in texts[-1], "all are done"
    assert next(looks, None) is None


def test_what_to_run_next_is_the_last_chapter(folder: Path, tmp_path: Path) -> None:
    moewright.make_report([folder / "next.json", SWEEP, TABLE], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert Headings(text).chapters[-2:] == ["next", "colophon"]
    record = json.loads((folder / "next.json").read_text(encoding="utf-8"))
    blocks = make_blocks(read_sources([folder / "next.json", SWEEP]), is_html=False)
    runs, sweep = (html.unescape(block.markdown) for block in blocks)
    for run in record["chosen"]:
        assert f"| {run['name']} | {run['doubt_after']:.4f} | {run['train_flops']:.3g} |" in runs
    assert f"in doubt after them: **{record['after']:.4f} nats**" in runs
    cells = 3 * (3 * 3 + 3)
    assert f"cells: **{cells}**" in sweep
    assert f"moewright sweep {SWEEP} --out runs" in sweep


def test_an_interrupted_watch_leaves_a_page_at_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(paths: object) -> tuple[PageSource, ...]:
        return (PageSource("runs", "runs", SimpleNamespace(states={"running": 1}), 1),)

    def interrupt(seconds: float) -> None:
        assert "the page reads itself again" in (tmp_path / "report.html").read_text(encoding="utf-8")
        raise KeyboardInterrupt

    monkeypatch.setattr(page_writing, "read_sources", read)
    monkeypatch.setattr(page_writing, "make_blocks", lambda sources, is_html: ())
    monkeypatch.setattr("time.sleep", interrupt)

    def deliver(write: Callable[[Path], object]) -> None:
        write(tmp_path / "report.html")

    with pytest.raises(KeyboardInterrupt):
        page_writing.write_report(["runs"], "report.html", "html", None, True, deliver)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "the page reads itself again" not in text
    assert 'http-equiv="refresh"' not in text


def test_values_end_no_element() -> None:
    for text in TEXTS:
        island = data_html("a", {text: text})
        assert island.count("<") == island.count(">") == 2
        assert active_parts(island) == active_parts(data_html("a", {"x": "x"}))
        assert json.loads(island.partition(">")[2].rpartition("<")[0]) == {text: text}


# Every number of a table is that of the JSON


def test_figures_are_those_of_the_json(folder: Path) -> None:
    """Of a design, a fit and a sweep's runs: read back from the tables, each is the JSON's up to the digits shown."""
    designs = json.loads((folder / "printed.json").read_text(encoding="utf-8"))
    law = json.loads(Path(LAW).read_text(encoding="utf-8"))
    blocks = {
        block.name: html.unescape(block.markdown)
        for block in make_blocks(read_sources([folder / "printed.json", LAW, TABLE]), is_html=False)
    }
    for row, design in zip(table_of(blocks["design-1-costs"], "design"), designs["designs"], strict=True):
        costs = design["costs"]
        for name, value in {
            "device-hours of training": costs["train_device_hours"],
            "tokens/s of a sequence": costs["decode_tokens_per_second"],
            "seconds to the first token": costs["time_to_first_token"],
            "cache bytes of a token": costs["kv_bytes_per_token"],
            "memory": design["memory_bytes"],
            "worst regret nats": design["worst_regret"],
            "total": design["total_params"],
            "active": design["active_params"],
            "width": design["sizes"]["hidden_size"],
            "layers": design["sizes"]["num_layers"],
            "experts": design["sizes"]["num_experts"],
            "top-k": design["sizes"]["top_k"],
            "shared": design["sizes"]["shared_experts"],
            "expert size": design["sizes"]["expert_size"],
        }.items():
            assert_shows(row[name], value)
    regrets = table_of(blocks["design-1-why"], "law")[: len(designs["laws"])]
    for row in regrets:
        for number, design in enumerate(designs["designs"], start=1):
            assert_shows(row[str(number)], design["regret"][row["law"].split()[0]])
    baseline = {row[""]: row for row in table_of(blocks["design-1-baseline"], "")}
    as_built = designs["baseline"]["as_built"]
    assert_shows(baseline["parameters"]["as built"], as_built["total_params"])
    assert_shows(baseline["device-hours of training"]["as built"], as_built["costs"]["train_device_hours"])
    assert_shows(baseline["seconds to the first token"]["as built"], as_built["costs"]["time_to_first_token"])
    opened = {row[""]: row for row in table_of(blocks["design-1-certainty"], "")}
    for word, name in (("width", "hidden_size"), ("experts", "num_experts"), ("expert size", "expert_size")):
        low, high = designs["undecided"]["ranges"][name]
        assert_shows(opened[word]["from"], low)
        assert_shows(opened[word]["to"], high)

    fitted = load(LAW)
    for row in table_of(blocks["law-2"], "coefficient"):
        name = row["coefficient"].split()[0]
        assert_shows(row["value"], law["coefficients"][name])
        draws = [each[[*fitted.coefficients].index(name)] for each in law["draws"]]
        for end, share in (("low", 0.05), ("high", 0.95)):
            if row[end] != "-":
                assert_shows(row[end], float(np.quantile(draws, share)))
    for row in table_of(blocks["law-2"], "variable"):
        low, high = law["ranges"][row["variable"].replace(" ", "_")]
        assert_shows(row["from"], low)
        assert_shows(row["to"], high)

    table = pd.read_parquet(TABLE)
    for row in table_of(blocks["runs-3"], "row"):
        expected = table.iloc[int(row["row"].split()[0]) - 1]
        assert row["run id"] == expected["run_id"]
        for name in ("total_params", "active_params", "num_experts", "top_k", "train_tokens"):
            assert_shows(row[name.replace("_", " ")], expected[name])
        assert_shows(row["loss nats"], expected["loss"])


def table_of(markdown: str, first: str) -> list[dict[str, str]]:
    """The rows of all tables of a Markdown text whose first column has this name, by the names of the columns."""
    found: list[dict[str, str]] = []
    names: list[str] | None = None
    for line in markdown.splitlines():
        cells = [cell.strip().replace("\\", "") for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            names = None
        elif names is None:
            names = cells
        elif names[0] == first and not line.startswith("| :--"):
            found.append(dict(zip(names, cells, strict=True)))
    assert found, (first, markdown)
    return found


UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12, " kB": 1e3, " MB": 1e6, " GB": 1e9, " TB": 1e12, " B": 1.0}


def assert_shows(text: str, value: Any) -> None:
    """A text shows a number, or both ends of a range, up to half a unit of its last digit."""
    values = value if isinstance(value, list | tuple) else [value]
    texts = text.split(" to ")
    assert len(texts) == len(values), (text, value)
    for shown, expected in zip(texts, values, strict=True):
        unit = next((unit for unit in sorted(UNITS, key=len, reverse=True) if shown.endswith(unit)), "")
        digits = shown.removesuffix(unit).replace(",", "")
        last = 10.0 ** -len(digits.partition(".")[2].partition("e")[0])
        if "e" in digits:
            last *= 10.0 ** int(digits.partition("e")[2])
        assert float(digits) * UNITS.get(unit, 1.0) == pytest.approx(
            float(expected), abs=0.5000001 * last * UNITS.get(unit, 1.0)
        ), (text, value)
