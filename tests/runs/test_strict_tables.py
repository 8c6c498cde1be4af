"""Tables that would be read as something else: every kind in every format is refused with its row and column."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moewright import laws
from moewright.errors import UserError
from moewright.runs import load, prepare

HEADER = "run_id,total_params,train_tokens,loss"
ROWS = ("a,1e9,2e10,3.0", "b,2e9,2e10,2.9", "c,4e9,2e10,2.8")
TABLE = "\n".join((HEADER, *ROWS)) + "\n"


def changed(row: str, number: int = 2) -> str:
    """The table with another data row in place of this one, counted from 1."""
    rows = list(ROWS)
    rows[number - 1] = row
    return "\n".join((HEADER, *rows)) + "\n"


CSV: dict[str, tuple[str | bytes, str]] = {
    "a value too many": (changed("b,2e9,2e10,2.9,7"), "row 2, line 3: 5 values for 4 columns: 7 after the last, loss"),
    "one more in every row": (
        "\n".join((HEADER, *(f"{row},1" for row in ROWS))),
        "row 1, line 2: 5 values for 4 columns",
    ),
    "three too many": (changed("b,2,3,4,x,y,z,w"), "x, y, z and 1 more after the last, loss"),
    "a value too few": (changed("b,2e9,2e10"), "row 2, line 3: 3 values for 4 columns: nothing for loss"),
    "two too few in the last": (
        changed("c,4e9", 3),
        "row 3, line 4: 2 values for 4 columns: nothing for train_tokens, l",
    ),
    "a thousand's comma": (changed("b,2,000,000,2e10,2.9"), "row 2, line 3: 6 values for 4 columns"),
    "lines within a value": (changed('"b\n\nb",2e9,2e10'), "row 2, line 5: 3 values for 4 columns"),
    "after empty lines": (TABLE.replace("\nb,", "\n\n\nb,7,"), "row 2, line 5: 5 values for 4 columns"),
    "a column twice": (TABLE.replace("train_tokens", "loss", 1), "the column 'loss' occurs twice: columns 3 and 4"),
    "a column twice but for its case": (
        TABLE.replace("run_id", "Loss", 1),
        "'Loss' occurs twice, the second as 'loss'",
    ),
    "a column twice but for blanks": (TABLE.replace("run_id", " loss ", 1), "occurs twice"),
    "a column twice but for its mark": ("\ufeff\ufeffloss,loss\n1,2\n", "occurs twice"),
    "a mark in a name": ("\ufeff\ufeffloss,total_params\n1,2\n", "column 1: '\\ufeffloss' has a byte-order mark in it"),
    "an empty name": (TABLE.replace("run_id", "", 1), "column 1 has no name"),
    "an empty name at the end": (TABLE.replace("loss\n", "loss,\n", 1), "column 5 has no name"),
    "a blank name": (TABLE.replace("run_id", "  ", 1), "column 1 has no name"),
    "two headers": (changed(HEADER), "row 2, line 3: repeats the header"),
    "only a header": (HEADER + "\n", "holds no runs"),
    "nothing": ("", "not a CSV table"),
    "empty lines": ("\n\n\n", "not a CSV table"),
    "semicolons": (TABLE.replace(",", ";"), "values are separated by ';'"),
    "tabs": (TABLE.replace(",", "\t"), "values are separated by '\\t'"),
    "an open quote": (changed('"b,2e9,2e10,2.9'), "not a CSV table: line"),
    "a quote within": (changed('"b"b,2e9,2e10,2.9'), "not a CSV table: line 3"),
    "a NUL": (changed("b\0,2e9,2e10,2.9"), "line 3: a NUL byte"),
    "UTF-16": (TABLE.encode("utf-16"), "not UTF-8 text"),
    "Latin-1": (changed("bü,2e9,2e10,2.9").encode("latin-1"), "not UTF-8 text"),
    "a huge field": (
        changed(f"{'b' * 2_000_000},2e9,2e10,2.9"),
        "not a CSV table: line 3: field larger than field limit",
    ),
    "text among numbers": (changed("b,2e9,2e10,high"), r"row 2 (run b), column loss"),
    "true among numbers": (changed("b,True,2e10,2.9"), r"row 2 (run b), column total_params"),
    "digits that are no digits": (changed("b,2e9,٣,2.9"), r"row 2 (run b), column train_tokens"),
    "a number beyond all": (
        changed(f"b,{'9' * 400},2e10,2.9"),
        r"row 2 (run b), column total_params [parameters]: inf is impossible",
    ),
    "a number beyond floats": (
        changed("b,1e309,2e10,2.9"),
        r"row 2 (run b), column total_params [parameters]: inf is impossible",
    ),
    "less than nothing": (
        changed("b,-0.5,2e10,2.9"),
        r"row 2 (run b), column total_params [parameters]: -0.5 is impossible",
    ),
    "nothing at all": (changed("b,-0,2e10,2.9"), r"row 2 (run b), column total_params [parameters]: -0 is impossible"),
}


@pytest.mark.parametrize("name", CSV)
def test_csv_is_refused_with_its_row(name: str, tmp_path: Path) -> None:
    content, said = CSV[name]
    path = tmp_path / "runs.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(lambda: load(path), said)


def line(**values: Any) -> str:
    return json.dumps({"run_id": "b", "total_params": 2e9, "train_tokens": 2e10, "loss": 2.9, **values})


JSONL = {
    "a key twice": ('{"loss": 1, "loss": 2}', "row 2, line 3: not valid JSON: the key 'loss' occurs twice"),
    "a mapping": (line(loss={"c4": 2.0}), "row 2, line 3, column loss: an object, where a table has one value"),
    "a list": (line(seeds=[1, 2]), "row 2, line 3, column seeds: a list, where a table has one value"),
    "an architecture": (line(architecture={"layers": []}), "column architecture: an object"),
    "no object": ("[1, 2]", "row 2, line 3: expected an object, one run a line, found a list"),
    "half an object": ('{"loss": 1', "row 2, line 3: at column 11"),
    "two objects": ('{"loss": 1}{"loss": 2}', "row 2, line 3: at column 12"),
    "many digits": ('{"loss": ' + "9" * 400 + "}", "row 2, line 3: not valid JSON: a number of 400 digits"),
    "a number beyond floats": (line().replace("2.9", "1e309"), "row 2 (run b), column loss"),
    "a deep row": ("[" * 2000, "row 2, line 3"),
    "a column twice but for its case": (line(Loss=2.0), "the column 'loss' occurs twice, the second as 'Loss'"),
    "an empty name": (line(**{"": 1}), "column 5 has no name"),
    "text for a number": (line(loss="2,9x"), "row 2 (run b), column loss"),
    "true for a number": (line(loss=True), "row 2 (run b), column loss"),
}


@pytest.mark.parametrize("name", JSONL)
def test_json_lines_are_refused_with_their_row(name: str, tmp_path: Path) -> None:
    written, said = JSONL[name]
    path = tmp_path / "runs.jsonl"
    path.write_text(f"{line(run_id='a')}\n\n{written}\n")
    refused(lambda: load(path), said)


GOOD = pd.DataFrame(
    {"run_id": ["a", "b"], "total_params": [1e9, 2e9], "train_tokens": [2e10, 2e10], "loss": [3.0, 2.9]}
)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([{"c4": 1.0}, {"c4": 2.0}]), "column more: holds struct"),
        (pa.array([[1, 2], [3]]), "column more: holds list"),
        (pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())), "column more: holds map"),
    ],
)
def test_nested_parquet_columns_are_refused(column: pa.Array, said: str, tmp_path: Path) -> None:
    path = tmp_path / "runs.parquet"
    pq.write_table(pa.Table.from_pandas(GOOD).append_column("more", column), path)
    refused(lambda: load(path), said)


@pytest.mark.parametrize("name", ["loss", "Loss", " loss"])
def test_parquet_columns_twice_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "runs.parquet"
    pq.write_table(pa.Table.from_pandas(GOOD).append_column(name, pa.array([1.0, 2.0])), path)
    refused(lambda: load(path), "the column 'loss' occurs twice")


def test_a_named_index_is_a_column(tmp_path: Path) -> None:
    GOOD.set_index("run_id").to_parquet(tmp_path / "runs.parquet")
    assert load(tmp_path / "runs.parquet")["run_id"].tolist() == ["a", "b"]
    GOOD.iloc[1:].to_parquet(tmp_path / "some.parquet")  # an index without a name says nothing
    assert list(load(tmp_path / "some.parquet").columns[:4]) == list(GOOD.columns)


FRAMES: dict[str, tuple[Callable[[], pd.DataFrame], str]] = {
    "a column twice": (
        lambda: pd.concat([GOOD, GOOD["loss"]], axis=1),
        "the column 'loss' occurs twice: columns 4 and 5",
    ),
    "a column twice but for its case": (lambda: GOOD.assign(LOSS=1.0), "'loss' occurs twice, the second as 'LOSS'"),
    "a mapping": (
        lambda: GOOD.assign(note=pd.Series([None, {"a": 1}], dtype=object)),
        "row 2 (run b), column note: an object",
    ),
    "a list": (lambda: GOOD.assign(note=pd.Series(["x", ["a"]], dtype=object)), "row 2 (run b), column note: a list"),
    "an array": (
        lambda: GOOD.assign(note=pd.Series([np.ones(2), np.ones(2)], dtype=object)),
        "row 1 (run a), column note: a list",
    ),
    "an empty name": (lambda: GOOD.rename(columns={"run_id": ""}), "column 1 has no name"),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_in_python_are_as_strict(name: str) -> None:
    make, said = FRAMES[name]
    refused(lambda: prepare(make()), said)


def test_importers_make_no_column_twice(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("C,N,D,loss,total_params\n" + "1e20,1e9,2e10,3.0,5e9\n" * 2)
    refused(
        lambda: load(path, source="takano_dense"),
        "'N' is read as 'total_params', and a column of that name is there too: columns 2 and 5",
    )


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_rows_have_one_number_in_every_message(ending: str, tmp_path: Path) -> None:
    """The first run is row 1 in checks of the file, of values and of fits, and in findings."""
    frame = GOOD.loc[np.arange(12) % 2].reset_index(drop=True)
    frame = frame.assign(run_id=[f"r{row}" for row in range(1, 13)], total_params=np.geomspace(1e9, 1e10, 12))
    frame.loc[6, "loss"] = 40.0

    def write() -> Path:
        path = tmp_path / f"runs.{ending}"
        if ending == "parquet":
            frame.to_parquet(path)
        elif ending == "csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_json(path, orient="records", lines=True)
        return path

    path = write()
    assert "row 7 (run r7)" in _said(lambda: laws.fit_law("hoffmann2022", load(path), bootstrap=0))
    table = load(path)
    assert "row 7 (run r7)" in _said(lambda: laws.fit_law("hoffmann2022", table[table["run_id"] != "r2"], bootstrap=0))
    frame.loc[6, "loss"] = -1.0
    assert "row 7 (run r7)" in _said(lambda: load(write()))


_CELL = st.one_of(
    st.floats().map(repr), st.integers().map(str), st.text(st.characters(codec="utf-8"), max_size=5), st.just("")
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(_CELL, min_size=1, max_size=5).map(",".join), max_size=5), st.booleans())
def test_any_csv_is_a_table_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], header: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text("\n".join([*([HEADER] if header else []), *rows]), newline="")
    _one_line(path)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["loss", "run_id", "a", "Loss"]), st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2), max_leaves=4,
)), max_size=4))  # fmt: skip
def test_any_lines_are_a_table_or_one_line(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    _one_line(path)


def _one_line(path: Path) -> None:
    said = ""
    try:
        load(path)
    except UserError as error:
        said = str(error)
    assert "\n" not in said.replace(str(path), "")


def _said(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        act()
    return str(caught.value)


def refused(act: Callable[[], object], said: str) -> None:
    """UserError in one line that says this."""
    assert said in _said(act)
    assert "\n" not in _said(act)


def test_what_pandas_noted_in_a_parquet_file_may_be_damaged(tmp_path: Path) -> None:
    """Arrow keeps it as a text, unread; a fuzzer renamed a key in it."""
    frame = pd.DataFrame({"total_params": [1e9], "loss": [2.5]})
    table = pa.Table.from_pandas(frame)
    notes = table.schema.metadata[b"pandas"]
    for old, new in ((b'"kind"', b'"kinx"'), (b'"range"', b'"ranx"'), (b'"columns"', b'"columnx"'), (b"{", b"[")):
        pq.write_table(table.replace_schema_metadata({b"pandas": notes.replace(old, new)}), tmp_path / "x.parquet")
        with suppress(UserError):  # else what is read is right
            assert list(load(tmp_path / "x.parquet")["loss"]) == [2.5]
    pq.write_table(table.replace_schema_metadata({b"pandas": notes.replace(b'"kind"', b'"x"')}), tmp_path / "y.parquet")
    with pytest.raises(UserError, match="what pandas noted in the file is damaged"):
        load(tmp_path / "y.parquet")
