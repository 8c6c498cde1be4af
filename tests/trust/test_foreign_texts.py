"""Hostile texts in every text of every kind of input, through the commands to the terminal, and through the reports."""

import contextlib
import copy
import csv
import dataclasses
import gzip
import io
import json
import random
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import pandas as pd
import pyarrow as pa
import pytest
import yaml

import moewright
from moewright.cli import main
from moewright.errors import UserError
from moewright.foreign_text import visible
from moewright.report import show
from moewright.runs.table_files import write_frame
from moewright.screen import Screen
from tests.hostile import TEXTS, active_parts, is_formula, obeyed
from tests.trust.battery import LONGEST_LINE, READS, make_room

KNOT = 'a|b $\\frac{ <script>alert(1)</script> [x](javascript:y) \x1b[31m [/red] `c` \u202e "\n=1'
"""Something for every medium in one name."""
CASES_A_FILE = 12


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("room")
    make_room(folder)
    return folder


def in_terminal(line: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line in a folder."""
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "argv", ["moewright", *line])
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
    return code, out.getvalue(), err.getvalue()


def faults(code: int, out: str, err: str, given: str) -> list[str]:
    found = [f"exit {code}"] if code not in (0, 1, 2) else []
    found += [f"obeyed: {obeyed(out + err)}"] if obeyed(out + err) else []
    if code == 2 and (err.count("\n") != 1 or not err.startswith("moewright: ") or len(err) > LONGEST_LINE):
        found.append(f"not one line: {err!r:.200}")
    if any(mark in out and mark not in given for mark in ("[bold]", "[/bold]", "[yellow]")):
        found.append("markup of our own")
    return found


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where texts and keys stand in plain values; a key is the path of its value and None."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key, None)
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for place, item in enumerate(value[:3]):
            yield from places(item, (*path, place))
    elif isinstance(value, str):
        yield path


def with_text(values: Any, path: tuple[Any, ...], text: str) -> Any:
    changed = copy.deepcopy(values)
    at, last = changed, path[-1]
    for step in path[:-2] if last is None else path[:-1]:
        at = at[step]
    if last is None:
        at[text] = at.pop(path[-2])
    elif path:
        at[last] = text
    return changed


def hostile_file(path: Path, text: str, generator: random.Random) -> None:
    """Put a text in one place of a file: a value, a key, a cell or a column."""
    kind = path.suffix
    if kind in (".json", ".yaml"):
        values = yaml.safe_load(path.read_text())
        values = with_text(values, generator.choice(list(places(values))), text)
        path.write_text(json.dumps(values))  # which is YAML too
    elif kind in (".csv", ".parquet"):
        frame = pd.read_csv(path) if kind == ".csv" else pd.read_parquet(path)
        frame["run_id"] = text.encode("utf-8", "replace").decode()
        if generator.random() < 0.5:
            frame = frame.rename(columns={"run_id": "x" + text.encode("utf-8", "replace").decode()})
        if kind == ".csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path)
    elif path.name == "runs.jsonl":
        lines = [json.dumps({**json.loads(line), "run_id": text}) for line in path.read_text().splitlines()]
        path.write_text("\n".join(lines))
    elif path.suffix == ".arrow":
        with pa.ipc.open_stream(str(path)) as reader:
            table = reader.read_all()
        table = table.set_column(0, "text", pa.array([text.encode("utf-8", "replace").decode()] * len(table)))
        path.unlink()  # the table may still be read out of it
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
    else:
        packed = path.suffix == ".gz"
        content = (gzip.decompress(path.read_bytes()) if packed else path.read_bytes()).decode()
        content = content[:50] + text.encode("utf-8", "replace").decode() + content[50:]
        path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())


@pytest.mark.parametrize("file", READS)
def test_no_text_of_a_file_is_obeyed(file: str, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(file)
    texts = generator.sample(TEXTS, CASES_A_FILE if file != "space.yaml" else 3)
    for number, text in enumerate([KNOT, *texts]):
        folder = tmp_path / str(number)
        shutil.copytree(room, folder)
        hostile_file(next(folder.glob(file)), text, generator)
        line = [each for each in READS[file] if each != "--json"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = faults(*in_terminal(line, folder, monkeypatch), text)
        assert not found, (text[:80], number)
        shutil.rmtree(folder)


def test_no_name_of_a_file_is_obeyed(room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        text
        for text in TEXTS
        if "/" not in text and "\0" not in text and 0 < len(text.encode("utf-8", "replace")) < 200
    ]
    tried = 0
    for name in names:
        try:
            place = tmp_path / f"{name}.json"
            shutil.copy(room / "config.json", place)
        except (OSError, UnicodeEncodeError):
            continue
        tried += 1
        code, out, err = in_terminal(["inspect", "--", str(place)], tmp_path, monkeypatch)
        assert (code, faults(code, out, err, name)) == (0, []), name
        assert visible(name).strip() in out.replace("\n", "")
        code, out, err = in_terminal(["inspect", "--", f"{name}.nowhere"], tmp_path, monkeypatch)
        assert (code, faults(code, out, err, name)) == (2, []), name
    assert tried > 80


@pytest.fixture(scope="module")
def designs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    law = dataclasses.replace(moewright.laws.get("zhao2025"), name=KNOT)
    found = moewright.design(total_params="3B", active_params="600M", train_tokens="1T", law=[law, "clark2022"], top=2)
    return dataclasses.replace(found, warnings=(*found.warnings, KNOT, *(text[:200] for text in TEXTS)))


def test_a_design_folder_holds_nothing_that_a_reader_obeys(designs: Any, tmp_path: Path) -> None:
    from moewright.report.design_folder import write_designs

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        folder = write_designs(designs, tmp_path / "designs")
    written = [path for path in folder.rglob("*") if path.suffix in (".md", ".json", ".yaml", ".html")]
    assert len(written) == 2 * 3 + 2
    for path in written:
        assert not obeyed(path.read_text(encoding="utf-8")), path
    for path in folder.rglob("README.md"):
        made = pytest.importorskip("markdown").markdown(
            path.read_text(encoding="utf-8"), extensions=["tables", "attr_list", "fenced_code"]
        )
        assert not active_parts(made)
        for table in ElementTree.fromstring(f"<div>{made}</div>").iter("table"):
            assert len({len(row) for row in table.iter("tr")}) == 1
        assert visible(KNOT) in "".join(ElementTree.fromstring(f"<div>{made}</div>").itertext())
    assert not active_parts((folder / "plots.html").read_text(encoding="utf-8"))
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in folder.glob("*.png"))


def test_a_screen_shows_hostile_designs(designs: Any) -> None:
    screen = Screen(file=io.StringIO(), width=200)
    show(designs, screen)
    assert not obeyed(screen.file.getvalue())  # type: ignore[attr-defined]


def test_a_fit_of_hostile_names_is_drawn(tmp_path: Path) -> None:
    from moewright.report.fit_figures import write_fit_figures

    rows = [{"total_params": 1e9 * (1 + i), "train_tokens": 1e10 * (1 + j)} for i in range(6) for j in range(4)]
    table = pd.DataFrame(rows)
    table["loss"] = 1.7 + 400 / table.total_params**0.34 + 410 / table.train_tokens**0.28
    law = dataclasses.replace(moewright.laws.get("hoffmann2022"), name=KNOT, title=KNOT)
    fit = moewright.fit(table, law, bootstrap=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        paths = write_fit_figures(fit, tmp_path)
    page = (tmp_path / "fit.html").read_text(encoding="utf-8")
    assert len(paths) == 4
    assert not obeyed(page)
    assert not active_parts(page)
    screen = Screen(file=io.StringIO(), width=200)
    show(fit, screen)
    assert not obeyed(screen.file.getvalue())  # type: ignore[attr-defined]
    for shown in (fit, moewright.predict("examples/configs/mixtral-8x7b.json", train_tokens="1T")):
        assert not active_parts(shown._repr_html_())
        assert not obeyed(repr(shown))


def test_a_run_table_of_hostile_names_holds_no_formula(tmp_path: Path) -> None:
    frame = pd.DataFrame({"run_id": TEXTS, "@label": TEXTS, "loss": [-1.0] * len(TEXTS)}, dtype=object)
    for name in ("runs.csv", "curves.csv.gz"):
        write_frame(frame, tmp_path / name, "mark")
        again = pd.read_csv(tmp_path / name, keep_default_na=False, dtype=str)
        assert len(again) == len(TEXTS)
        assert not [text for text in [*again, *again["run_id"], *again.iloc[:, 1]] if is_formula(text) or obeyed(text)]
    with open(tmp_path / "runs.csv", newline="") as file:
        assert {len(row) for row in csv.reader(file)} == {3}


# What was found once

SPEC: dict[str, Any] = {"train_tokens": 4096, "sequence_length": 32, "batch_tokens": 256}


@pytest.mark.parametrize("key", ["data", "initial_weights", "architecture"])
@pytest.mark.parametrize("text", ["a\0b", "\ud800"], ids=ascii)
def test_what_is_no_path_in_a_recipe(key: str, text: str) -> None:
    from moewright.experiment.recipe import Recipe

    values = yaml.safe_load(Path("examples/train/tiny.yaml").read_text())
    with pytest.raises(UserError) as error:
        Recipe.from_dict({**values, key: text}, beside=Path("examples/train"))
    assert not obeyed(str(error.value))


def test_half_of_a_surrogate_pair_from_python() -> None:
    with pytest.raises(UserError, match=r"found '\\ud800'"):
        moewright.describe_laws("\ud800")


@pytest.mark.parametrize("setting", ["objective", "tuning", "holdout", "weights", "cluster", "loss"])
def test_an_empty_word_is_none_of_the_words(setting: str) -> None:
    table = pd.DataFrame({"total_params": [1e9, 2e9], "train_tokens": [1e10, 2e10], "loss": [3.0, 2.9]})
    with pytest.raises(UserError):
        moewright.fit(table, "hoffmann2022", bootstrap=0, **cast(Any, {setting: ""}))


def test_a_holdout_that_is_nearly_a_word() -> None:
    table = pd.DataFrame({"total_params": [1e9, 2e9], "train_tokens": [1e10, 2e10], "loss": [3.0, 2.9]})
    with pytest.raises(UserError, match="did you mean largest"):
        moewright.fit(table, "hoffmann2022", bootstrap=0, holdout="largst:0.1")


def test_a_config_that_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{"model_type": "mixtral", "hidden_size": "x"}')
    with pytest.raises(UserError, match=r"one\.json: "):
        moewright.inspect(tmp_path / "one.json")
    (tmp_path / "two.json").write_text("3")
    with pytest.raises(UserError, match="found an integer"):
        moewright.inspect(tmp_path / "two.json")


def test_a_recipe_without_an_end_is_refused_before_torch(tmp_path: Path) -> None:
    import subprocess

    script = (
        "import sys, moewright\ntry: moewright.train('/dev/zero', 'out')\n"
        "except moewright.UserError as error: print(error, 'torch' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert printed.stdout.endswith("False\n")
    assert "/dev/zero: not a regular file" in printed.stdout


def test_a_long_model_has_a_short_repr() -> None:
    architecture = moewright.inspect("examples/configs/qwen3-30b-a3b.json").architecture
    assert len(repr(architecture)) == len(str(f"{architecture!r}")) == 500
    assert "\n" not in repr(architecture)
