"""Records: what is written reads back to the same bits; what cannot be read is said in one line."""

import json
import math
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Discriminator, Field, Tag

import moewright
from moewright.errors import UserError
from moewright.files import AppendOnlyFile
from moewright.line_records import LineRecord, read_lines
from moewright.records import Echo, FileRecord, Free, Items, Pair, Reading, Record, Size
from moewright.sealed_records import SealedRecord


class Inner(Record):
    kind: Literal["inner"] = "inner"
    size: Size


class Other(Record):
    kind: Literal["other"] = "other"
    share: float = 0.5


Either = Annotated[Inner | Other, Field(discriminator="kind")]
Tagged = Annotated[
    Annotated[float, Tag("value")] | Annotated[Inner, Tag("mapping")],
    Discriminator(lambda given: "mapping" if isinstance(given, dict | Record) else "value"),
]


class Example(FileRecord):
    format: Literal["moewright-example/3"] = "moewright-example/3"
    name: str
    numbers: Items[float] = ()
    interval: Pair[float] = (0.0, 1.0)
    parts: Items[Either] = ()
    named: dict[str, Tagged] = Field(default={})
    best: Reading = None


@Example.upgrade(2)
def _add_name(values: dict[str, Any]) -> dict[str, Any]:
    return {"name": "from version 2", **values}


class Begin(LineRecord):
    event: Literal["begin"] = "begin"
    step: int


class End(LineRecord):
    event: Literal["end"] = "end"
    loss: Reading = None


floats = st.floats(allow_nan=False, allow_infinity=False)
parts = st.one_of(st.builds(Inner, size=st.integers(1, 10**8)), st.builds(Other, share=floats))
examples = st.builds(
    Example,
    name=st.text(),
    numbers=st.lists(floats).map(tuple),
    interval=st.tuples(floats, floats),
    parts=st.lists(parts).map(tuple),
    named=st.dictionaries(st.text(), st.one_of(floats, st.builds(Inner, size=st.integers(1, 10**8)))),
    best=st.one_of(st.none(), st.floats()),
)


@given(examples)
def test_a_record_reads_back_to_the_same_bits(example: Example) -> None:
    for defaults in (True, False):
        again = Example.from_dict(json.loads(json.dumps(example.to_dict(defaults), allow_nan=False)))
        assert again == example
        assert [number.hex() for number in again.numbers] == [number.hex() for number in example.numbers]


@pytest.mark.parametrize("name", ["example.json", "example.yaml"])
def test_a_file_reads_back(tmp_path: Path, name: str) -> None:
    example = Example(name="a", numbers=(0.1, 1e-300, -0.0), parts=(Inner(size=3),), best=math.nan)
    example.write(tmp_path / name)
    assert Example.read(tmp_path / name) == example
    assert example.best is None


class Sealed(SealedRecord):
    changeable = ("note",)
    remedy = "write it again"
    format: Literal["moewright-sealed/2"] = "moewright-sealed/2"
    version_without_format = 1
    name: str
    best: Reading = None
    note: str = ""


@Sealed.upgrade(1)
def _as_it_is(values: dict[str, Any]) -> dict[str, Any]:
    return values


@given(name=st.text(), best=st.floats(), note=st.text(), other=st.text())
@settings(deadline=None)
def test_a_sealed_file_says_when_it_is_not_what_was_written(name: str, best: float, note: str, other: str) -> None:
    """100 records: as written, with what people may change changed, with anything else changed, and of before seals."""
    written = json.loads(json.dumps(Sealed(name=name, best=best, note=note).to_dict()))
    assert Sealed.from_dict(written).name == name
    assert Sealed.from_dict({**written, "note": other}).note == other
    assert Sealed.from_dict({"name": name}).digest is None
    for change in ({"name": f"{name}x"}, {"best": 1.5 if best != 1.5 else 2.5}, {"digest": "0" * 64}):
        with pytest.raises(UserError, match=r"^file: changed since it was written, by its digest; write it again$"):
            Sealed.from_dict({**written, **change}, "file")
    with pytest.raises(UserError, match="file: digest: missing"):
        Sealed.from_dict({key: value for key, value in written.items() if key != "digest"}, "file")


def test_numpy_is_written_as_plain_numbers() -> None:
    example = Example(name="a", numbers=tuple(np.array([0.1, 1 / 3])), named={"x": np.float64(0.1)})
    assert json.loads(json.dumps(example.to_dict()))["numbers"] == [0.1, 1 / 3]


def test_defaults_are_left_out_on_request() -> None:
    assert Example(name="a").to_dict(defaults=False) == {"format": "moewright-example/3", "name": "a"}
    assert Inner(size=1).to_dict(defaults=False) == {"kind": "inner", "size": 1}


def test_older_files_go_through_the_upgrades() -> None:
    assert Example.from_dict({"format": "moewright-example/2"}).name == "from version 2"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "f.json: format: missing; expected moewright-example/3"),
        (
            {"format": "moewright-example/4"},
            "f.json: written by a newer moewright: format is moewright-example/4, this one reads 2 to 3; "
            "upgrade moewright",
        ),
        (
            {"format": "moewright-example/1"},
            "f.json: format moewright-example/1 is older than this moewright reads; write it again with this moewright",
        ),
        ({"format": "moewright-law/1"}, "f.json: format: expected 'moewright-example/3', found 'moewright-law/1'"),
        ({"format": 3}, "f.json: format: expected 'moewright-example/3', found 3"),
        ({"format": "moewright-example/3"}, "f.json: name: Field required"),
        ({"name": 1}, "f.json: name: Input should be a valid string (given: 1)"),
        ({"name": "", "nubmers": []}, "f.json: nubmers: unknown key; did you mean numbers?"),
        ({"name": "", "zzz": 1}, "f.json: zzz: unknown key (given: 1)"),
        ({"name": "", "numbers": [1.0, "2"]}, 'f.json: numbers[1]: Input should be a valid number (given: "2")'),
        ({"name": "", "interval": [1.0]}, "f.json: interval[1]: Field required"),
        (
            {"name": "", "parts": [{"kind": "inner", "size": 0}]},
            "f.json: parts[0].size: Input should be greater than 0 (given: 0)",
        ),
        (
            {"name": "", "parts": [{"kind": "other", "shrae": 1.0}]},
            "f.json: parts[0].shrae: unknown key; did you mean share? (given: 1.0)",
        ),
        ({"name": "", "named": {"inner": {"size": "1"}}}, "f.json: named.inner.size: Input should be a valid integer"),
        ({"name": "", "named": {"mapping": {"sise": 1}}}, "f.json: named.mapping.size: Field required"),
        ({"name": "", "named": {"value": "x"}}, "f.json: named.value: Input should be a valid number"),
        ({"name": "", "named": {1: 1.0}}, "f.json: named[1]: Input should be a valid string"),
        ([], "f.json: example: Input should be a valid dictionary"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(values: Any, said: str) -> None:
    if isinstance(values, dict) and "name" in values:
        values = {"format": "moewright-example/3", **values}
    with pytest.raises(UserError) as caught:
        Example.from_dict(values, "f.json")
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        ('{"format": "moewright-exam', "not valid JSON at line 1, column 12"),
        ('{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        ("[1]", "expected a mapping of keys to values, found a list"),
        ("null", "expected a mapping of keys to values, found nothing"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "example.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError) as caught:
        Example.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


plain = st.recursive(
    st.none() | st.booleans() | floats | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(plain)
def test_anything_else_gives_one_line(values: Any) -> None:
    with pytest.raises(UserError) as caught:
        Example.from_dict(values, "f.json")
    assert "\n" not in str(caught.value)


ODD = [math.nan, math.inf, -math.inf]


class Loose(Record):
    settings: dict[str, Free] = Field(default={})
    shown: dict[str, Echo] = Field(default={})


@given(plain.filter(lambda value: value is not None), st.sampled_from(ODD))
def test_what_others_give_a_meaning_to_is_finite_and_what_is_shown_again_fits_json(value: Any, odd: float) -> None:
    """NaN and infinities at any depth: refused in settings, words in answers."""
    for given_value in (odd, [value, odd], {"a": {"b": (odd,)}}):
        with pytest.raises(UserError, match=r"^f: settings\.x: expected a finite number"):
            Loose.from_dict({"settings": {"x": given_value}}, "f")
        json.dumps(Loose.from_dict({"shown": {"x": given_value}}).to_dict(), allow_nan=False)
    assert Loose.from_dict({"settings": {"x": value}, "shown": {"x": value}}).settings == {"x": value}


READ_AS_OTHERS = {
    "RunRecord.recipe", "CellRecord.recipe", "CellRecord.settings", "CellRecord.trainer", "SweepSpec.recipe",
    "SweepSpec.trainer", "SweepSpec.only", "NotedSpecification.specification", "ModelDescription.architecture",
    "Axis.grid", "Axis.zip", "Axis.points", "Tuning.cell",
}  # fmt: skip
"""Values that become fields of another record, which says what they may be; a capacity may be infinite."""
OURS = {"ComparedLawsAnswer.findings", "FitAnswer.findings"}


def bare(kind: Any) -> bool:
    """Whether an annotation lets any value pass, such as NaN, which no JSON may have."""
    if kind is Any:
        return True
    if get_origin(kind) is Annotated:
        return bare(get_args(kind)[0]) and kind not in (Free, Echo)
    return get_origin(kind) is not np.ndarray and any(map(bare, get_args(kind)))


def test_no_record_has_a_value_that_nobody_checks() -> None:
    for module in pkgutil.walk_packages(moewright.__path__, "moewright.", onerror=lambda name: None):
        if not module.name.startswith(("moewright.lab", "moewright.__main__", "moewright.exporters.templates")):
            import_module(module.name)
    classes = [Record]
    for each in classes:
        classes += each.__subclasses__()
    found = {
        f"{each.__name__}.{name}"
        for each in classes
        if each.__module__.startswith("moewright.")
        for name, annotation in each.model_fields.items()
        if bare(annotation.annotation) and not {*annotation.metadata} & {*Free.__metadata__, *Echo.__metadata__}
    }
    assert found == READ_AS_OTHERS | OURS


def test_a_file_that_only_grows(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    file = AppendOnlyFile(path)
    file.write(Begin(step=1).to_dict())
    file.write({"event": "begin"})  # damaged
    file.write({"event": "new", "step": 1})  # of a newer version
    file.write({"step": 1})
    unfit: tuple[object, ...] = ([], {}, 1, None, True)
    for odd in unfit:  # no word says a kind, hashable or not
        file.write({"event": odd, "step": 1})
    file.write({"event": "begin", "step": 2, "host": "a field of a newer version"})
    file.write(End(loss=math.inf).to_dict())
    file.close()
    with path.open("a") as cut_short:
        cut_short.write('{"event": "begin", "st')
    AppendOnlyFile(path).write(End(loss=2.5).to_dict())
    lines: list[Begin | End] = list(read_lines(path, Begin, End))
    assert lines == [Begin(step=1), Begin(step=2), End(), End(loss=2.5)]
    assert list(read_lines(path, End)) == [End(), End(loss=2.5)]


def test_schemas_name_the_format() -> None:
    assert Example.json_schema()["properties"]["format"]["const"] == "moewright-example/3"
