"""Every parser of the product, as the fuzzer drives it: what it is given, and what must hold of what it answers.

A new parser is a line of `PARSERS`. Its `read` raises UserError for a refusal and AssertionError for a wrong answer.
What is right is said by another reader where there is one (json, PyYAML, csv, pyarrow, a safetensors header taken apart
here), and by a round trip: what was read, written and read again is the same.
"""

import csv
import io
import json
import math
import re
import shutil
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

import moewright
from moewright.architecture import Architecture
from moewright.errors import UserError
from moewright.files import read_mapping
from moewright.plain_values import UnfitTextError, dump_yaml, parse_json, parse_yaml
from moewright.quantities import LARGEST, SMALLEST, parse_bytes, parse_count
from tests.trust.inputs import TOKENS, WORDS, as_json, as_yaml, changed_bytes, mappings, odd_values, safetensors, soup

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Parser:
    """One parser: the file that it reads, in a folder that `battery.make_room` fills, and what it is given there."""

    name: str
    file: str
    inputs: Callable[[Path], SearchStrategy[bytes]]
    read: Callable[[Path], None]
    prepare: Callable[[Path], None] = lambda room: None
    """Done once in a room, before the first input."""

    def read_once(self, room: Path) -> None:
        """Make the room ready."""
        (room / self.file).parent.mkdir(parents=True, exist_ok=True)
        self.prepare(room)


def same(one: Any, other: Any) -> bool:
    """Equal values of equal types; nan is itself."""
    return repr(one) == repr(other)


# Plain values


def read_json_text(path: Path) -> None:
    """As the library reads it, or refused for a reason that docs/inputs.md states."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        raise UserError("not UTF-8") from None
    try:
        theirs: Any = json.loads(text)
    except (ValueError, RecursionError):
        theirs = ValueError
    try:
        ours = parse_json(text)
    except UnfitTextError as error:
        stated = "occurs twice|digits|nested|more than" + ("" if is_text(theirs) else "|surrogate")
        if theirs is not ValueError and not re.search(stated, str(error)):
            raise AssertionError(f"only we refuse it: {error}") from None
        raise UserError(str(error)) from None
    assert theirs is not ValueError, "only we read it"
    assert same(ours, theirs), f"{ours!r} for {theirs!r}"
    assert is_text(ours), f"half of a surrogate pair was read: {ours!r}"


def is_text(value: Any) -> bool:
    """Whether a file could hold a value: no half of a surrogate pair in a key or a text."""
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True


@st.composite
def yaml_texts(draw: DrawFn, room: Path) -> bytes:
    """Values in all of YAML's styles: flow and block, quotes, anchors, merges, comments; and token soup."""
    if draw(st.integers(0, 3)) == 0:
        return draw(
            soup() | st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))
        )

    def scalar() -> str:
        word = draw(st.sampled_from(WORDS) | st.text("abc019-+.:#e_xo ", max_size=7))
        style = draw(st.sampled_from(["plain", "plain", "single", "double", "tag"]))
        if style == "single":
            return "'" + word.replace("'", "''") + "'"
        return json.dumps(word) if style == "double" else f"!!str {word}" if style == "tag" else word

    def block(depth: int, indent: str) -> str:
        kind = draw(st.sampled_from(["scalar", "map", "list", "flow", "alias", "literal"] if depth < 3 else ["scalar"]))
        anchor = draw(st.sampled_from(["", "", "", "&a ", "&b "]))
        if kind == "alias":
            return " " + draw(st.sampled_from(["*a", "*b"])) + "\n"
        if kind == "flow":
            items = [scalar() for _ in range(draw(st.integers(0, 3)))]
            return " " + anchor + draw(st.sampled_from(["[{}]", "{{a: {}}}", "[{},]"])).format(", ".join(items)) + "\n"
        if kind == "literal":
            return f" {anchor}|\n{indent}  {scalar()}\n"
        if kind == "map":
            keys = draw(st.lists(st.sampled_from(["a", "b", "c", "<<", '"d"', "1", "? e"]), min_size=1, max_size=3))
            return f" {anchor}\n" + "".join(f"{indent}  {key}:{block(depth + 1, indent + '  ')}" for key in keys)
        if kind == "list":
            size = draw(st.integers(1, 3))
            return f" {anchor}\n" + "".join(f"{indent}  -{block(depth + 1, indent + '    ')}" for _ in range(size))
        return f" {anchor}{scalar()}" + draw(st.sampled_from(["\n", " # why\n"]))

    keys = draw(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=4))
    text = "".join(f"{key}:{block(0, '')}" for key in keys)
    return text.encode("utf-8", "replace")


def read_yaml_text(path: Path) -> None:
    """The structure that PyYAML's own constructor builds, words as the core schema has them; and a round trip."""
    import yaml

    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        raise UserError("not UTF-8") from None
    try:
        ours = parse_yaml(text)
    except UnfitTextError as error:
        if str(error).startswith("not valid YAML"):
            try:
                list(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
            except yaml.YAMLError:
                raise UserError(str(error)) from None
            raise AssertionError(f"only we refuse it: {error}") from None
        raise UserError(str(error)) from None
    theirs = yaml.load(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))  # the scanner that we have too
    if "<<" not in text:  # which that constructor takes for a key
        compare_words(ours, theirs)
    if isinstance(ours, dict):
        assert same(parse_yaml(dump_yaml(ours)), ours), "does not read back"


def compare_words(ours: Any, theirs: Any) -> None:
    """Our values against a reader that leaves every word as text."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), f"{ours!r} for {theirs!r}"
        assert [*ours] == [*theirs], f"{ours!r} for {theirs!r}"
        for key, value in theirs.items():
            compare_words(ours[key], value)
    elif isinstance(theirs, list):
        assert isinstance(ours, list), f"{ours!r} for {theirs!r}"
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            compare_words(one, other)
    elif isinstance(ours, bool):
        assert theirs.lower() == str(ours).lower()
    elif isinstance(ours, int):
        assert int(theirs, 0 if theirs[:1] == "0" and theirs.strip("0") else 10) == ours, f"{ours!r} for {theirs!r}"
    elif isinstance(ours, float):
        other = float(theirs.lower().replace(".inf", "inf").replace(".nan", "nan"))
        assert same(ours, other), f"{ours!r} for {theirs!r}"
    else:
        assert (ours or "") == (theirs or "") or (ours is None and theirs in ("~", "null", "Null", "NULL"))


def read_quantity(path: Path) -> None:
    """A positive number within bounds; the number that Python reads where it reads one."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        raise UserError("not UTF-8") from None
    found = [read(text, "it") for read in (parse_count, parse_bytes) if not _refuses(read, text)]
    if not found:
        parse_count(text, "it")
    for value in found:
        assert SMALLEST <= value <= LARGEST, value
        assert math.isfinite(value)
    if text.isascii() and "_" not in text and found:
        try:
            assert found[0] == float(text), f"{found} for {text!r}"
        except ValueError:
            assert re.search("[A-Za-z,]", text), text


def _refuses(read: Callable[[str, str], float], text: str) -> bool:
    try:
        read(text, "it")
    except UserError:
        return True
    return False


# Descriptions


def configs(room: Path) -> SearchStrategy[bytes]:
    """config.json of many families, with keys of one in another."""
    return mappings([read_mapping(path) for path in sorted((ROOT / "examples/configs").glob("*.json"))])


def specs(room: Path) -> list[dict[str, Any]]:
    """Architectures of all kinds of layers."""
    sources = [*sorted((ROOT / "examples/configs").glob("*.json")), ROOT / "examples/hybrid.yaml"]
    found = []
    for path in sources:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append({"format": "moewright-architecture/1", **_architecture(path).to_dict()})
    return [read_mapping(room / "spec.json"), *found]


def _architecture(path: Path) -> Architecture:
    from moewright.hf.loading import load_architecture

    return load_architecture(path).architecture


def read_model(path: Path) -> None:
    """What was read is the same after it was written, and its counts are whole, finite and sums of their parts."""
    architecture = _architecture(path)
    assert Architecture.from_dict(architecture.to_dict()) == architecture, "does not read back"
    found = moewright.inspect(path).to_dict()
    json.dumps(found, allow_nan=False)
    assert found["total_params"] == sum(found["params"].values()), "total_params is not the sum"
    assert 0 < found["active_params"] <= found["total_params"], "active_params"
    assert all(found["active"][name] <= count for name, count in found["params"].items()), "more active than there are"
    path.with_name("again.yaml").write_text(dump_yaml(architecture.to_dict()))
    again = moewright.inspect(path.with_name("again.yaml")).to_dict()
    found["flops_per_token"].pop("six_n"), again["flops_per_token"].pop("six_n")  # of the active parameters
    for name in ("params", "active_params_with_embedding", "flops_per_token", "kv_bytes_per_token", "weights_bytes"):
        assert found[name] == again[name], name  # whether active counts the embedding is the publisher's choice


def read_export(path: Path) -> None:
    """What is exported as a config.json reads back to the same counts."""
    from moewright.hf.config import read_config, to_config

    architecture = _architecture(path)
    again = read_config(to_config(architecture)).architecture
    assert moewright.inspect(again).to_dict()["params"] == moewright.inspect(architecture).to_dict()["params"]


def read_recipe(path: Path) -> None:
    """A recipe is the same after it was written; what it comes to is finite."""
    from moewright.experiment.planning import plan_run
    from moewright.experiment.recipe import Recipe

    recipe = Recipe.load(path)
    assert Recipe.from_dict(recipe.to_dict()) == recipe, "does not read back"
    json.dumps(plan_run(recipe).to_dict(), allow_nan=False)


def read_sweep(path: Path) -> None:
    """A sweep is the same after it was written; its cells are distinct, unless a value stands twice in an axis."""
    from moewright.sweeps.settings.cells import resolve_cells
    from moewright.sweeps.sweep_spec import LoadedSweep, SweepSpec

    loaded = LoadedSweep.load(path)
    assert SweepSpec.from_dict(loaded.spec.to_dict(defaults=False)) == loaded.spec, "does not read back"
    cells = resolve_cells(loaded.recipe, loaded.beside, loaded.spec.axes)
    written = [json.dumps(cell.settings, sort_keys=True, default=str) for cell in cells]
    axes = [axis.to_dict() for axis in loaded.spec.axes]
    listed = [values for axis in axes for named in (axis["grid"], axis["zip"]) for values in (named or {}).values()]
    listed += [axis["points"] for axis in axes if axis["points"]]
    twice = any(len({*map(repr, values)}) < len(values) for values in listed)
    assert twice or len({*written}) == len(written), "two cells alike"


def sweeps(room: Path) -> SearchStrategy[bytes]:
    """Sweeps with all kinds of axes."""
    simple = read_mapping(room / "sweep.yaml")
    found = [simple]
    for path in sorted((ROOT / "examples/sweeps").glob("*.yaml")):
        values = read_mapping(path)
        found.append({**values, "recipe": simple["recipe"]})
    return mappings(found, as_yaml)


def read_space(path: Path) -> None:
    """A space is the same after it was written, and lists what it holds within its bounds."""
    from moewright.designs.space import Space, load_space

    space = load_space(path)
    assert Space.from_dict(space.to_dict()) == space, "does not read back"
    assert space.shapes()
    assert space.mixtures()


def read_devices_file(path: Path) -> None:
    """Every device of a file serves a model, or says in one line why not; figures are finite."""
    from moewright.hardware.devices import DevicesFile, read_devices

    record = DevicesFile.read(path)
    assert DevicesFile.from_dict(record.to_dict()) == record, "does not read back"
    for device in read_devices(path).values():
        assert min(device.memory, device.memory_bandwidth, *device.peak_flops.values()) > 0
        json.dumps(moewright.inspect("spec.json", hardware=device).to_dict(), allow_nan=False)


def read_law(path: Path) -> None:
    """A law is the same after it was written; what it predicts is above 0, finite, or refused."""
    from moewright.laws import load

    law = load(path)
    again = type(law.record).from_dict(law.record.to_dict())
    assert same(again.to_dict(), law.record.to_dict()), "does not read back"
    json.dumps(moewright.describe_laws(law).to_dict(), allow_nan=False)
    found = moewright.predict("config.json", train_tokens="2T", law=law).to_dict()
    json.dumps(found, allow_nan=False)
    for each in found["predictions"] if isinstance(found.get("predictions"), list) else []:
        assert each.get("loss") is None or each["loss"] > 0, each


# What a report is made of, and other answers that are read again


def read_page(path: Path) -> None:
    """A page in both formats, whose values scripts can read; or one line."""
    for name, page_format in (("page.html", "html"), ("page.md", "md")):
        moewright.make_report(path, path.with_name(name), format=page_format, force=True)
    page = path.with_name("page.html").read_text()
    for values in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page):
        json.loads(values, parse_constant=lambda word: 1 / 0)


def read_coefficients(path: Path) -> None:
    """Coefficients price a layout in finite seconds, or are refused in one line."""
    found = moewright.plan("spec.json", hardware="H100", devices=8, coefficients=path, top=1)
    json.dumps(found.to_dict(), allow_nan=False)


def read_forecast(path: Path) -> None:
    """A forecast is judged by a loss, or refused in one line."""
    json.dumps(moewright.fit(2.3, score=path).to_dict(), allow_nan=False)


# Run tables


def _write_rows(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


NAMES = ["total_params", "train_tokens", "loss", "run_id", "status", "architecture", "mine", "Loss", "loss ", "", "a,b"]
CELLS = [*WORDS, "1e9", "2B", "2.5", "finished", "diverged", "-3", "1e400", "Inf", "3,5", "NA", "{}", "[]", "True"]


@st.composite
def csv_tables(draw: DrawFn, room: Path) -> bytes:
    """Small tables of odd names and cells; damaged ones; soup."""
    valid = (room / "runs.csv").read_bytes()
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return draw(changed_bytes([valid], [*TOKENS, b",", b'"', b",,", b"\r"]))
    if kind == 1:
        return draw(soup([b",", b'"', b"\n", b"\r", b"a", b"loss", b"1", b"1e9", b"\x00", b"\xff", b";", b" "]))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=5))
    width = len(names) + draw(st.sampled_from([0, 0, 0, 0, 1, -1]))
    cell = st.sampled_from(CELLS) | st.floats().map(str) | st.integers().map(str) | st.text(max_size=5)
    rows = draw(st.lists(st.lists(cell, min_size=max(width, 0), max_size=max(width, 0)), max_size=4))
    return _write_rows([names, *rows])


def read_csv_table(path: Path) -> None:
    """As many rows and values as the csv module finds, texts as they stand, numbers as Python reads them."""
    from moewright.runs.table_files import read_frame

    frame = read_frame(path)
    text = path.read_bytes().decode().removeprefix("\ufeff")
    header, *rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    assert [*frame.columns] == header
    if len(header) == 1:  # a line of blanks is no row, where the csv module has one of a text
        rows = [row for row in rows if row[0].strip(" \t\r\n") or f'"{row[0]}"' in text]
    assert len(frame) == len(rows)
    for name, column in zip(header, zip(*rows, strict=True), strict=True):
        for written, value in zip(column, frame[name], strict=True):
            if isinstance(value, str):
                assert value == written, f"{value!r} for {written!r}"
            elif isinstance(value, float) and not isinstance(value, bool) and value == value:
                assert math.isclose(value, float(written), rel_tol=1e-12), f"{value!r} for {written!r}"
    check_table(path)


def check_table(path: Path) -> None:
    """A run table is the same after it was written in any format."""
    from moewright.runs import load
    from moewright.runs.table_files import read_frame, write_frame

    table = load(path)
    numbers = table.select_dtypes("number", exclude="timedelta")
    assert (table.loss.isna() | (table.loss > 0)).all() if "loss" in table and "status" not in table else True
    for ending in (".csv", ".jsonl", ".parquet"):
        again = path.with_name(f"again{ending}")
        write_frame(numbers, again, "mark")
        if not numbers.notna().any(axis=None):
            continue
        back = read_frame(again)
        for name, written in zip(numbers.columns, back.columns, strict=True):  # DEL in a name becomes visible in CSV
            mine = numbers[name].astype(float).replace({math.inf: math.nan, -math.inf: math.nan})
            other = back[written].astype(float).replace({math.inf: math.nan, -math.inf: math.nan})
            assert mine.equals(other), f"{ending} {name}: {[*mine]} became {[*other]}"


def jsonl_tables(room: Path) -> SearchStrategy[bytes]:
    """Lines of objects with odd names and values, damaged ones, soup."""
    valid = (room / "runs.jsonl").read_bytes()
    row = st.dictionaries(st.sampled_from(NAMES), odd_values() | st.sampled_from([1e9, 2.5, "2B"]), max_size=4)
    lines = st.lists(row.map(lambda each: json.dumps(each).encode("utf-8", "surrogatepass")), max_size=4).map(
        b"\n".join
    )
    return st.one_of(lines, lines, changed_bytes([valid]), soup())


def read_jsonl_table(path: Path) -> None:
    """Every value is the one that json reads in that line."""
    from moewright.runs.table_files import read_frame

    frame = read_frame(path)
    text = path.read_bytes().decode().removeprefix("\ufeff")
    lines = [json.loads(line) for line in io.StringIO(text) if line.strip()]
    assert len(frame) == len(lines)
    for row, values in zip(frame.to_dict("records"), lines, strict=True):
        for name, value in values.items():
            found = row[name]
            if isinstance(value, str | bool):
                assert found == value, f"{found!r} for {value!r}"
            elif value is None:
                assert found is None or found != found or str(found) == "<NA>", f"{found!r} for null"
            else:
                assert found == value or (value != value and found != found), f"{found!r} for {value!r}"
    check_table(path)


@st.composite
def parquet_tables(draw: DrawFn, room: Path) -> bytes:
    """Columns of all of Arrow's types, and damaged files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    valid = (room / "runs.parquet").read_bytes()
    if draw(st.integers(0, 2)) == 0:
        return draw(changed_bytes([valid]))
    kinds = [
        pa.float64(), pa.float32(), pa.float16(), pa.int8(), pa.int64(), pa.uint64(), pa.bool_(), pa.string(),
        pa.large_string(), pa.binary(), pa.date32(), pa.timestamp("ns"), pa.timestamp("s", "UTC"), pa.duration("s"),
        pa.time32("s"), pa.decimal128(38, 3), pa.null(), pa.dictionary(pa.int8(), pa.string()), pa.list_(pa.int8()),
        pa.struct([("a", pa.int8())]), pa.map_(pa.string(), pa.int8()),
    ]  # fmt: skip
    size = draw(st.integers(0, 3))
    columns = {}
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True)):
        kind = draw(st.sampled_from(kinds))
        values = draw(st.lists(st.sampled_from([None, 0, 1, 2, 100, -1]), min_size=size, max_size=size))
        columns[name] = _array(kind, values)
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def _array(kind: Any, values: list[int | None]) -> Any:
    import decimal

    import numpy as np
    import pyarrow as pa

    forms: list[Callable[[int], Any]] = [
        lambda v: v, str, float, lambda v: v > 0, np.float16, lambda v: str(v).encode(), abs, decimal.Decimal,
        lambda v: [v], lambda v: {"a": v}, lambda v: [(str(v), v)],
    ]  # fmt: skip
    for form in forms:
        try:
            return pa.array([None if value is None else form(value) for value in values], kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError):
            continue
    return pa.nulls(len(values), kind)


def read_parquet_table(path: Path) -> None:
    """As many rows as pyarrow finds, and its values."""
    import pyarrow.parquet as pq

    from moewright.runs.table_files import read_frame

    frame = read_frame(path)
    table = pq.read_table(path)
    for name in (each for each in table.column_names if not each.startswith("__")):
        for found, value in zip(frame[name], table[name].to_pylist(), strict=True):
            if isinstance(value, str | bool | int | float):
                assert found == value or (value != value and found != found), f"{found!r} for {value!r}"
    check_table(path)


# Runs


def fresh_run(room: Path) -> None:
    """A folder of a run to damage."""
    if not (room / "fuzzed" / "run.json").exists():
        shutil.rmtree(room / "fuzzed", ignore_errors=True)
        shutil.copytree(room / "runs", room / "fuzzed")


def metrics_lines(room: Path) -> SearchStrategy[bytes]:
    """Lines of a run's metrics: odd values, damaged, soup."""
    text = (room / "runs/metrics.jsonl").read_bytes()
    lines = [json.loads(line) for line in text.splitlines()]
    by_kind = [*{line["kind"]: line for line in lines}.values()]
    one = mappings(by_kind, lambda values: json.dumps(values).encode("utf-8", "surrogatepass"))
    few = st.lists(one | st.sampled_from(text.splitlines()), max_size=6).map(b"\n".join)
    return st.one_of(few, few, changed_bytes([text]), soup())


def read_metrics_file(path: Path) -> None:
    """Damaged lines are left out, whole ones are read as json reads them, and nothing is raised."""
    from moewright.experiment.collecting.learning_curves import read_curves, read_tail
    from moewright.experiment.metrics import TrainLine, read_metrics, usual_seconds

    steps = {line.step for line in read_metrics(path.parent) if isinstance(line, TrainLine)}
    written = set()
    for line in path.read_bytes().split(b"\n"):
        try:
            values = json.loads(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict) and isinstance(values.get("step"), int):
            written.add(values["step"])
    assert steps <= written, "a step from nowhere"
    read_tail(path.parent)
    usual_seconds(path.parent)
    curves = read_curves([("it", path.parent)])
    assert {*curves.step[curves.kind == "train"]} == steps


def read_collected(path: Path) -> None:
    """The run is a row or a finding; all of it is JSON."""
    json.dumps(moewright.collect_runs(path.parent).to_dict(), allow_nan=False)


def read_attempts_file(path: Path) -> None:
    """Damaged lines are left out."""
    from moewright.experiment.attempts import begins, failures_in_a_row, last_end, next_attempt, read_attempts

    found = read_attempts(path)
    begins(found)
    last_end(found)
    assert next_attempt(found) >= 1
    assert failures_in_a_row(found, 0) >= 0


ATTEMPTS: list[dict[str, Any]] = [
    {"event": "begin", "attempt": 1, "time": 1.5, "host": "h", "pid": 4, "step": 0, "threads": 2, "cores": [0, 1]},
    {"event": "end", "attempt": 1, "time": 2.5, "end": "failed", "reason": "x"},
    {"event": "begin", "attempt": 2, "time": 1.5, "step": 10},
]


def attempts_lines(room: Path) -> SearchStrategy[bytes]:
    """Lines about attempts."""
    one = mappings(ATTEMPTS, lambda values: json.dumps(values).encode("utf-8", "surrogatepass"))
    return st.lists(one, max_size=6).map(b"\n".join)


# Data and weights


def read_dataset_record(path: Path) -> None:
    """The record is the same after it was written."""
    from moewright.data.dataset_record import DatasetRecord, read_record

    record = read_record(path.parent)
    assert DatasetRecord.from_dict(record.to_dict()) == record


def fresh_data(room: Path) -> None:
    """A dataset to damage."""
    if not (room / "fuzzed" / "tokenizer.json").exists():
        shutil.rmtree(room / "fuzzed", ignore_errors=True)
        shutil.copytree(room / "data", room / "fuzzed")


def documents(room: Path) -> SearchStrategy[bytes]:
    """JSON lines with texts."""
    valid = b"\n".join(json.dumps({"text": word, "source": "a"}).encode() for word in WORDS)
    row = st.dictionaries(st.sampled_from(["text", "source", "x"]), odd_values() | st.text(max_size=9), max_size=3)
    lines = st.lists(row.map(lambda each: json.dumps(each).encode("utf-8", "surrogatepass")), max_size=4).map(
        b"\n".join
    )
    return st.one_of(lines, changed_bytes([valid]), soup())


def read_documents(path: Path) -> None:
    """The texts that json finds, in their order."""
    from moewright.data.sources import find_source

    found = [text for _, text in find_source(path).documents("text", None, "<|endoftext|>")]
    lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    assert found == [json.loads(line)["text"] for line in lines]


def read_parquet_documents(path: Path) -> None:
    """Texts, or one line."""
    from moewright.data.sources import find_source

    for _, text in find_source(path).documents("run_id", None, "<|endoftext|>"):
        assert isinstance(text, str)


def fresh_saved(room: Path) -> None:
    """A dataset as Hugging Face datasets saves it, to damage."""
    shutil.copytree(room / "saved", room / "fuzzed", dirs_exist_ok=True)


def read_arrow_documents(path: Path) -> None:
    """Texts, or one line; a file that points beyond itself is not followed."""
    from moewright.data.sources import find_source

    for _, text in find_source(path.parent).documents("text", "source", "<|endoftext|>"):
        assert isinstance(text, str)


def read_tokenizer(path: Path) -> None:
    """A tokenizer that encodes without a word, or one line."""
    from moewright.data.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(path)
    assert 0 <= tokenizer.end_of_document < tokenizer.vocab_size


def tokenizers(room: Path) -> SearchStrategy[bytes]:
    """tokenizer.json with something wrong."""
    return mappings([json.loads((room / "data/tokenizer.json").read_text())])


def weights(room: Path) -> SearchStrategy[bytes]:
    """The weights of the room's run under a header that lies; small ones."""
    tensors = {
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "b": {"dtype": "BF16", "shape": [4], "data_offsets": [16, 24]},
        "c": {"dtype": "I64", "shape": [], "data_offsets": [24, 32]},
    }
    small = as_json(tensors)
    return safetensors([struct.pack("<Q", len(small)) + small + bytes(range(32)), b"\x02" + bytes(7) + b"{}"][:1])


BYTES_PER = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}


def read_weights(path: Path) -> None:
    """Tensors as the header says: names, shapes, and bytes that no other tensor has, which are all there are."""
    from moewright.lab.checkpoint_files import load_tensors

    found = load_tensors(path.parent, path.name)
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    assert {*found} == {*header}
    spans = sorted(tuple(entry["data_offsets"]) for entry in header.values())
    data = content[8 + length :]
    for name, tensor in found.items():
        start, end = header[name]["data_offsets"]
        assert [*tensor.shape] == header[name]["shape"], name
        assert end - start == math.prod(tensor.shape) * BYTES_PER.get(header[name]["dtype"], 1), name
        assert end <= len(data), name
        raw = tensor.contiguous().flatten().view(-1).numpy(force=True) if tensor.dtype.itemsize == 4 else None
        assert raw is None or raw.tobytes() == data[start:end], name
    assert all(before[1] <= after[0] for before, after in pairwise(spans)), "bytes of two tensors"


def read_checkpoint_folder(path: Path) -> None:
    """Weights of the architecture of a config, or one line."""
    from moewright.lab.hf_weights.checkpoint import read_hf_checkpoint

    architecture, state = read_hf_checkpoint(path.parent)
    assert state
    assert architecture.num_layers > 0


def fresh_checkpoint(room: Path) -> None:
    """A folder as transformers saves one, of a model of 2 thousand parameters."""
    from moewright.hf.config import read_config
    from moewright.lab.hf_weights.checkpoint import write_hf_checkpoint
    from moewright.lab.model import Transformer

    if (room / "small").exists():
        return
    config = {
        "model_type": "qwen3_moe", "vocab_size": 16, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 4, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 4,
        "intermediate_size": 4, "decoder_sparse_step": 1, "mlp_only_layers": [], "tie_word_embeddings": False,
        "hidden_act": "silu", "norm_topk_prob": True, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "max_position_embeddings": 64, "attention_bias": False,
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        architecture = read_config(config).architecture
        write_hf_checkpoint(Transformer(architecture), architecture, room / "small")
    shutil.copytree(room / "small", room / "fuzzed", dirs_exist_ok=True)


def checkpoints(room: Path) -> SearchStrategy[bytes]:
    """model.safetensors of that folder, with another header."""
    return st.deferred(lambda: safetensors([(room / "small/model.safetensors").read_bytes()]))


def indices(room: Path) -> SearchStrategy[bytes]:
    """model.safetensors.index.json of that folder."""

    def valid() -> SearchStrategy[bytes]:
        content = (room / "small/model.safetensors").read_bytes()
        header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
        names = [name for name in header if name != "__metadata__"]
        return mappings([{"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, "one.safetensors")}])

    return st.deferred(valid)


def fresh_sharded(room: Path) -> None:
    """The same folder with an index instead of one file."""
    fresh_checkpoint(room)
    if (room / "fuzzed/model.safetensors").exists():
        (room / "fuzzed/model.safetensors").rename(room / "fuzzed/one.safetensors")


def _texts(room: Path) -> SearchStrategy[bytes]:
    number = st.one_of(st.sampled_from(WORDS), st.floats().map(repr), st.integers().map(str), st.text(max_size=8))
    unit = st.sampled_from(["", "B", "GB", "gib", "T", "K", " M", "b", "QB", "tokens"])
    return st.tuples(number, unit).map(lambda pair: "".join(pair).encode("utf-8", "replace"))


def _of(name: str) -> Callable[[Path], SearchStrategy[bytes]]:
    write = as_yaml if name.endswith(".yaml") else as_json
    return lambda room: mappings([read_mapping(room / name)], write)


PARSERS: dict[str, Parser] = {
    each.name: each
    for each in (
        Parser("json", "fuzzed.json", lambda room: mappings([{"a": {"b": [1, 2.5, "x"]}, "c": None}]), read_json_text),
        Parser("yaml", "fuzzed.yaml", yaml_texts, read_yaml_text),
        Parser("quantity", "fuzzed.txt", _texts, read_quantity),
        Parser("config", "fuzzed.json", configs, read_model),
        Parser("architecture", "fuzzed.json", lambda room: mappings(specs(room)), read_model),
        Parser("architecture-yaml", "fuzzed.yaml", lambda room: mappings(specs(room), as_yaml), read_model),
        Parser("export", "fuzzed.json", lambda room: mappings(specs(room)), read_export),
        Parser("recipe", "fuzzed.yaml", _of("recipe.yaml"), read_recipe),
        Parser("sweep", "fuzzed.yaml", sweeps, read_sweep),
        Parser("space", "fuzzed.yaml", _of("space.yaml"), read_space),
        Parser("devices", "fuzzed.yaml", _of("devices.yaml"), read_devices_file),
        Parser("law", "fuzzed.json", _of("law.json"), read_law),
        Parser("designs", "fuzzed.json", _of("designs.json"), read_page),
        Parser("plan", "fuzzed.json", _of("plan.json"), read_page),
        Parser("serving", "fuzzed.json", _of("serving.json"), read_page),
        Parser("coefficients", "fuzzed.yaml", _of("my_cluster.yaml"), read_coefficients),
        Parser("forecast", "fuzzed.json", _of("planned.json"), read_forecast),
        Parser("csv", "fuzzed.csv", csv_tables, read_csv_table),
        Parser("jsonl", "fuzzed.jsonl", jsonl_tables, read_jsonl_table),
        Parser("parquet", "fuzzed.parquet", parquet_tables, read_parquet_table),
        Parser("metrics", "fuzzed/metrics.jsonl", metrics_lines, read_metrics_file, fresh_run),
        Parser("run", "fuzzed/run.json", _of("runs/run.json"), read_collected, fresh_run),
        Parser("status", "fuzzed/status.json", _of("runs/status.json"), read_collected, fresh_run),
        Parser("attempts", "fuzzed.jsonl", attempts_lines, read_attempts_file),
        Parser("dataset", "fuzzed/dataset.json", _of("data/dataset.json"), read_dataset_record, fresh_data),
        Parser("documents", "fuzzed.jsonl", documents, read_documents),
        Parser("parquet-documents", "fuzzed.parquet", parquet_tables, read_parquet_documents),
        Parser(
            "arrow-documents",
            "fuzzed/data.arrow",
            lambda room: changed_bytes([(room / "saved/data.arrow").read_bytes()]),
            read_arrow_documents,
            fresh_saved,
        ),
        Parser("tokenizer", "fuzzed.json", tokenizers, read_tokenizer),
        Parser("safetensors", "fuzzed/model.safetensors", weights, read_weights),
        Parser("checkpoint", "fuzzed/model.safetensors", checkpoints, read_checkpoint_folder, fresh_checkpoint),
        Parser("index", "fuzzed/model.safetensors.index.json", indices, read_checkpoint_folder, fresh_sharded),
    )
}
"""By name; the name stands first in the names of inputs that are kept."""
