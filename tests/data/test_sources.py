"""Every kind of file that holds documents, written by its own library, and files that hold none."""

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moewright.data import sources as module
from moewright.data.sources import find_source
from moewright.errors import UserError

TEXTS = ["one", "two\n\nlines", "", "drei — ä\u2028ö 🙂", "  five "]
ROWS = [{"text": text, "kind": f"kind {number % 2}", "number": number} for number, text in enumerate(TEXTS)]


def read(path: Path, key: str = "text", source_key: str | None = None, separator: str = "<|endoftext|>") -> list[str]:
    documents = list(find_source(path).documents(key, source_key, separator))
    return [f"{name}: {text}" for name, text in documents]


def save_to_disk(folder: Path, table: pa.Table, files: int = 2) -> None:
    """The layout of datasets.Dataset.save_to_disk (3.x): Arrow streams, and state.json that lists them."""
    folder.mkdir()
    names = [f"data-{index:05d}-of-{files:05d}.arrow" for index in range(files)]
    cut = len(table) // files
    for index, name in enumerate(names):
        part = table.slice(index * cut, cut if index < files - 1 else None)
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, part.schema) as writer:
            writer.write_table(part, max_chunksize=2)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")


def test_every_kind_gives_the_same_documents(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
    (tmp_path / "a.jsonl").write_text(lines + "\n\n", encoding="utf-8")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    dictionary = table.set_column(1, "kind", table["kind"].dictionary_encode())
    save_to_disk(tmp_path / "a", dictionary)
    first = str(tmp_path / "a" / "data-00000-of-00002.arrow")
    with pa.OSFile(first, "wb") as sink, pa.ipc.new_file(sink, dictionary.schema) as writer:
        writer.write_table(dictionary.slice(0, 2))  # an Arrow file, not a stream, will do too
    folder = tmp_path / "nested" / "a" / "data"
    folder.mkdir(parents=True)
    pq.write_table(table.slice(0, 3), folder / "train-00000-of-00002.parquet")
    pq.write_table(table.slice(3), folder / "train-00001-of-00002.parquet")
    (folder.parent / "README.json").write_text("not documents")
    expected = [f"a: {text}" for text in TEXTS]
    labelled = [f"kind {number % 2}: {text}" for number, text in enumerate(TEXTS)]
    for path in ("a.jsonl", "a.jsonl.gz", "a.parquet", "a", "nested/a"):
        assert read(tmp_path / path) == expected, path
        assert read(tmp_path / path, source_key="kind") == labelled, path


def test_text_is_split_wherever_the_separator_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["ä one\n\ntwo", "three 🙂", "four\r\nfive"]
    for written in ("\n<|endoftext|>\n".join(texts), "<|endoftext|>".join(texts) + "\n"):
        (tmp_path / "book.txt").write_bytes(written.encode())
        for chunk in (1, 2, 3, 7, 2**24):  # bytes; some end within a character and within a separator
            monkeypatch.setattr(module, "_READ", chunk)
            assert read(tmp_path / "book.txt") == [f"book: {text}" for text in texts]
    assert read(tmp_path / "book.txt", separator=" ") == [
        "book: ä",
        *(f"book: {x}" for x in written.strip().split(" ")[1:]),
    ]
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("b.txt", "a.txt", "c.md"):
        (folder / name).write_text(name)
    assert read(folder) == ["texts: a.txt", "texts: b.txt", "texts: c.md"]


def write_bad_sources(folder: Path) -> None:
    (folder / "latin.txt").write_bytes("é".encode("latin-1"))
    (folder / "cut.txt").write_bytes("é".encode()[:1])
    (folder / "half.jsonl").write_text('{"text": "a"}\n{"text": ')
    (folder / "latin.jsonl").write_bytes(b'{"text": "\xe9"}')
    (folder / "list.jsonl").write_text('{"text": "a"}\n\n["a"]')
    (folder / "other.jsonl").write_text('{"content": "a", "url": "b"}')
    (folder / "number.jsonl").write_text('{"text": "a", "kind": "b"}\n{"text": 3, "kind": null}')
    (folder / "surrogate.jsonl").write_text('{"text": "\\ud800"}')
    (folder / "no.jsonl.gz").write_bytes(b"not gzip")
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n' * 99)[:-12])
    (folder / "no.parquet").write_bytes(b"not parquet")
    pq.write_table(pa.table({"content": ["a"], "url": ["b"]}), folder / "other.parquet")
    pq.write_table(pa.table({"text": ["a", None]}), folder / "null.parquet")
    (folder / "sheet.xlsx").write_bytes(b"")
    (folder / "nothing").mkdir()
    (folder / "mixed").mkdir()
    (folder / "mixed" / "a.txt").write_text("a")
    (folder / "mixed" / "b.jsonl").write_text("{}")
    (folder / "splits").mkdir()
    (folder / "splits" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    save_to_disk(folder / "lost", pa.table({"text": ["a", "b"]}))
    (folder / "lost" / "data-00001-of-00002.arrow").unlink()
    save_to_disk(folder / "torn", pa.table({"text": ["a", "b"]}))
    (folder / "torn" / "data-00001-of-00002.arrow").write_bytes(b"torn")
    (folder / "state").mkdir()
    (folder / "state" / "state.json").write_text("{}")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.txt", "missing.txt: no such file or folder"),
        ("latin.txt", "latin.txt: not UTF-8"),
        ("cut.txt", "cut.txt: not UTF-8"),
        ("half.jsonl", "half.jsonl: line 2: not valid JSON"),
        ("latin.jsonl", "latin.jsonl: line 1: not UTF-8"),
        ("list.jsonl", "list.jsonl: line 3: expected an object with the text, found a list"),
        ("other.jsonl", "line 1: has no 'text'; name one of 'content', 'url' with --text-key"),
        ("number.jsonl", "number.jsonl: line 2: 'text' is 3, not text"),
        ("surrogate.jsonl", "surrogate.jsonl: line 1: not valid JSON: half of a surrogate pair"),
        ("no.jsonl.gz", "no.jsonl.gz: cannot be read"),
        ("cut.jsonl.gz", "cut.jsonl.gz: cannot be read"),
        ("no.parquet", "no.parquet: cannot be read"),
        ("other.parquet", "other.parquet: has no column 'text'; name one of 'content', 'url' with --text-key"),
        ("null.parquet", "null.parquet: row 2: 'text' is null, not text"),
        ("sheet.xlsx", "sheet.xlsx: unknown kind of file; expected text"),
        ("nothing", "nothing: no documents in this folder"),
        ("mixed", "mixed: mixes kinds of files, such as a.txt and b.jsonl"),
        ("splits", "splits/train"),
        ("lost", "data-00001-of-00002.arrow: missing, but state.json lists it"),
        ("torn", "data-00001-of-00002.arrow: cannot be read"),
        ("state", "state.json: lists no _data_files"),
    ],
)
def test_bad_sources(tmp_path: Path, name: str, said: str) -> None:
    write_bad_sources(tmp_path)
    with pytest.raises(UserError) as complaint:
        read(tmp_path / name)
    assert said in str(complaint.value)
    assert "\n" not in str(complaint.value)


def test_a_missing_source_key_is_named(tmp_path: Path) -> None:
    write_bad_sources(tmp_path)
    with pytest.raises(UserError, match=r"line 2: 'kind' is null, not text"):
        read(tmp_path / "number.jsonl", key="kind")
    with pytest.raises(UserError, match=r"has no column 'kind'; name one of 'content', 'url' with --source-key"):
        read(tmp_path / "other.parquet", key="content", source_key="kind")


def test_damaged_files_of_every_kind_give_one_line_or_documents(tmp_path: Path) -> None:
    """450 files with a byte turned or left out: compressed, Parquet, and Arrow as datasets saves it."""
    draw, refused = random.Random(0), 0
    lines = "".join(json.dumps({"text": f"{number} {draw.random()}"}) + "\n" for number in range(200)).encode()
    table = pa.Table.from_pylist([json.loads(line) for line in lines.splitlines()])
    pq.write_table(table, tmp_path / "valid.parquet")
    save_to_disk(tmp_path / "saved", table, files=1)
    (arrow,) = (tmp_path / "saved").glob("*.arrow")
    valid = {"it.jsonl.gz": gzip.compress(lines), "it.parquet": (tmp_path / "valid.parquet").read_bytes()}
    valid[str(arrow.relative_to(tmp_path))] = arrow.read_bytes()
    for name, content in valid.items():
        for _ in range(150):
            at = draw.randrange(len(content))
            turned = bytes([content[at] ^ (1 << draw.randrange(8))]) if draw.random() < 0.7 else b""
            (tmp_path / name).write_bytes(content[:at] + turned + content[at + 1 :])
            said = ""
            try:
                read(tmp_path / ("saved" if name.startswith("saved") else name))
            except UserError as error:
                said = str(error)
            refused += bool(said)
            assert "\n" not in said
    assert refused > 100


@pytest.mark.parametrize("name", ["it.jsonl", "it.jsonl.gz", "it.txt", "it.txt.gz"])
def test_a_document_without_an_end_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed, a file of 2 MB may hold one that fills all memory; one just as long as the bound is read."""
    monkeypatch.setattr(module, "LARGEST_DOCUMENT", 1000)
    monkeypatch.setattr(module, "_READ", 100)
    is_lines = "jsonl" in name
    for length, is_read in ((1000 - 13 * is_lines, True), (1101, False)):
        text = "x" * length
        content = (json.dumps({"text": text}) if is_lines else f"{text}<|endoftext|>y") + "\n"
        packed = gzip.compress(content.encode()) if name.endswith("gz") else content.encode()
        (tmp_path / name).write_bytes(packed)
        if is_read:
            assert read(tmp_path / name)[0].endswith(text)
        else:
            with pytest.raises(UserError, match="a document of more than"):
                read(tmp_path / name)
