"""A prepared folder holds every document once, in an order of its own; or nothing, and one line says why."""

import errno
import json
import os
import random
import resource
import subprocess
import sys
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moewright import cli
from moewright.data import Dataset, TokenShards, open_dataset, prepare, writing
from moewright.data.dataset_record import DatasetRecord
from moewright.data.split import split_documents
from moewright.data.tokenizer import END_OF_TEXT, load_tokenizer
from moewright.errors import UserError
from tests.sealing import sealed

BOOK = Path("examples/data/moby-dick.txt")


def documents(number: int = 120) -> list[dict[str, str]]:
    """Paragraphs of the book under three sources of unlike sizes."""
    book = BOOK.read_text(encoding="utf-8").replace(END_OF_TEXT, "")
    paragraphs = [text for text in book.split("\n\n") if len(text) > 60][:number]
    return [{"text": text, "source": ("a", "b", "c/ü")[index % 7 // 3]} for index, text in enumerate(paragraphs)]


def write_lines(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def decoded(shards: TokenShards, dataset: Dataset) -> list[str]:
    """The documents of a split as they were written."""
    assert dataset.tokenizer is not None
    tokenizer = load_tokenizer(dataset.tokenizer)
    whole = tokenizer.decode(shards.read(0, len(shards)))
    assert whole.endswith(END_OF_TEXT)
    return whole.removesuffix(END_OF_TEXT).split(END_OF_TEXT)


def test_every_document_once(tmp_path: Path) -> None:
    rows = documents()
    extra = [rows[0], {**rows[1], "source": "c/ü"}, {"text": " \n", "source": "a"}]
    dataset = prepare(
        [write_lines(tmp_path / "in.jsonl", rows + extra)],
        tmp_path / "out",
        vocab_size=500,
        source_key="source",
        validation_share=0.1,
        tokens_per_shard=1000,
    )
    record = dataset.record
    assert record is not None
    assert (record.dropped.duplicates, record.dropped.empty) == (2, 1)
    assert sorted(dataset.validation) == ["a", "b", "c/ü"]
    held = {name: decoded(shards, dataset) for name, shards in dataset.validation.items()}
    train = decoded(dataset.train, dataset)
    assert Counter([*train, *chain.from_iterable(held.values())]) == Counter({row["text"] for row in rows})
    assert len(dataset.train.files) == -(-len(dataset.train) // 1000) > 2
    assert train != [row["text"] for row in rows if row["text"] in train]
    for name, texts in held.items():
        own = [row["text"] for row in rows if row["source"] == name]
        assert set(texts) < set(own)
        sizes = [len(text.encode()) for text in texts]
        # Up to the document that reaches the share.
        assert sum(sizes[:-1]) < 0.1 * sum(len(text.encode()) for text in own) <= sum(sizes)
        assert dataset.bytes_per_token[name] == sum(sizes) / len(dataset.validation[name])
        amounts = record.validation[name].amount, record.train.sources[name]
        assert sum(amount.documents for amount in amounts) == len(own)
        assert sum(amount.bytes for amount in amounts) == sum(len(text.encode()) for text in own)
    assert sum(amount.tokens for amount in record.train.sources.values()) == len(dataset.train)
    assert (dataset.vocab_size, dataset.train.dtype, dataset.end_of_document) == (500, "uint16", 0)
    assert dataset.train.max_token() < 500
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "dataset.json",
        "tokenizer.json",
        *(file.name for file in record.stored),
    }


def test_order_of_input_decides_nothing(tmp_path: Path) -> None:
    rows = documents()
    shuffled = rows[:]
    random.Random(0).shuffle(shuffled)
    (tmp_path / "again").mkdir()
    write_lines(tmp_path / "in.jsonl", rows)
    write_lines(tmp_path / "again" / "in.jsonl", shuffled)

    def files(name: str, folder: str, **settings: Any) -> dict[str, bytes]:
        prepare([tmp_path / folder / "in.jsonl"], tmp_path / name, vocab_size=400, source_key="source", **settings)
        return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}

    first = files("one", ".")
    assert files("two", "again") == first
    other = files("three", ".", seed=1)
    assert other["train-00000.bin"] != first["train-00000.bin"]
    fingerprints = {open_dataset(tmp_path / name).fingerprint for name in ("one", "two", "three")}
    assert len(fingerprints) == 2


def test_a_given_tokenizer_and_held_out_documents_that_stay(tmp_path: Path) -> None:
    rows = documents()
    first = prepare([write_lines(tmp_path / "in.jsonl", rows)], tmp_path / "one", vocab_size=400)
    second = prepare([tmp_path / "in.jsonl"], tmp_path / "two", tokenizer=tmp_path / "one" / "tokenizer.json")
    np.testing.assert_array_equal(first.train.read(0, len(first.train)), second.train.read(0, len(second.train)))
    assert first.fingerprint == second.fingerprint
    # More documents only add to the training documents that come before or after: no held-out one is trained on.
    fewer = prepare([write_lines(tmp_path / "in.jsonl", rows[:-5])], tmp_path / "three", vocab_size=400)
    assert not set(decoded(fewer.validation["in"], fewer)) & set(decoded(fewer.train, fewer))


def test_documents_that_change_meanwhile() -> None:
    documents = [("a", "one"), ("a", ""), ("a", "two"), ("b", "three"), ("b", "four")]
    plan = split_documents(documents, 0, 0.01)
    assert list(writing.kept_documents(documents, plan)) == [(0, "one"), (2, "two"), (3, "three"), (4, "four")]
    for changed in (documents[:-1], [*documents, ("b", "five")], [*documents[:-1], ("b", "4")], []):
        with pytest.raises(UserError, match="sources: documents changed while they were read"):
            list(writing.kept_documents(changed, plan))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["moewright", "data", "prepare", *arguments])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
    captured = capsys.readouterr()
    return int(exit_.value.code or 0), captured.out, captured.err


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run(capsys, str(BOOK), "--out", str(tmp_path / "one"), "--vocab-size", "500")
    assert (code, err) == (0, "")
    assert max(len(line) for line in out.splitlines()[:-1]) <= 80
    code, out, err = run(capsys, str(BOOK), "--out", str(tmp_path / "two"), "--vocab-size", "500", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["fingerprint"] == open_dataset(tmp_path / "one", check_tokens=True).fingerprint
    assert (
        found["train"]["sources"]["moby-dick"]["documents"] + found["validation"]["moby-dick"]["amount"]["documents"]
        == 60
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([str(BOOK)], "tokenizer: give either"),
        ([str(BOOK), "--vocab-size", "400", "--tokenizer", "x.json"], "tokenizer: give either"),
        ([str(BOOK), "--tokenizer", "x.json"], "x.json: cannot be read"),
        (["absent.txt", "--vocab-size", "400"], "absent.txt: no such file"),
        (["examples/configs", "--vocab-size", "400"], "examples/configs: no documents in this folder"),
        ([str(BOOK), "--vocab-size", "9999999"], "vocab-size: the text has pairs for"),
        ([str(BOOK), "--vocab-size", "400", "--text-key", "body"], "text-key: 'body' names a column"),
        ([str(BOOK), "--vocab-size", "400", "--source-key", "kind"], "source-key: 'kind' names a column"),
        ([str(BOOK), "--vocab-size", "400", "--document-separator", ""], "document-separator: expected text, found ''"),
        ([str(BOOK), "--vocab-size", "400", "--document-separator", "@@"], "source 'moby-dick': validation would be"),
        ([str(BOOK), "--vocab-size", "400", "--end-of-document", "</s>"], "end-of-document: goes with --tokenizer"),
        ([str(BOOK), "--vocab-size", "400", "--validation-share", "0"], "validation-share: 0.0 must be above 0"),
        ([str(BOOK), "--vocab-size", "400", "--validation-share", "nan"], "validation-share: nan must be above 0"),
        ([str(BOOK), "--vocab-size", "400", "--seed", "-1"], "seed: -1 must be"),
        ([str(BOOK), str(BOOK), "--vocab-size", "400"], "is given twice; give it once"),
        (
            [str(BOOK), f"{BOOK.parent}/../{BOOK.parent.name}/{BOOK.name}", "--vocab-size", "400"],
            "is given twice, also as",
        ),
        (["{tmp}/blank.txt", "--vocab-size", "400"], "sources: no documents with text"),
        (
            ["{tmp}/a.jsonl", "--vocab-size", "400", "--document-separator", "x"],
            "document-separator: splits text files",
        ),
        ([str(BOOK), "--vocab-size", "400", "--out", "{tmp}"], "exists and is not an empty folder"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    given = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    before = sorted(tmp_path.iterdir())
    out = [] if "--out" in given else ["--out", str(tmp_path / "out")]
    code, printed, err = run(capsys, *given, *out)
    assert (code, printed) == (2, "")
    assert err.startswith("moewright: ")
    assert err.count("\n") == 1
    assert said in err
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing._ShardWriter, "write", no_space)
    with pytest.raises(UserError, match=r"out: .*, and nothing was kept: No space left on device"):
        prepare([BOOK], tmp_path / "out", vocab_size=400)
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_for_the_shards_is_said_before_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take what the encoded tokens take, 2 bytes each here."""
    whole = prepare([BOOK], tmp_path / "whole", vocab_size=400)
    needed = 2 * (len(whole.train) + sum(map(len, whole.validation.values())))
    small = os.statvfs_result((1, 1, needed, needed, needed - 1, 1, 1, 1, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    monkeypatch.setattr(writing._ShardWriter, "write", None)
    with pytest.raises(UserError, match=rf"out: .* needs {needed:,} bytes, and {needed - 1:,} are free there"):
        prepare([BOOK], tmp_path / "out", vocab_size=400)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_a_refused_write_leaves_nothing(tmp_path: Path) -> None:
    """The system itself refuses, in a process whose files may not pass 50 kB."""
    command = [sys.executable, "-m", "moewright", "data", "prepare", str(BOOK), "--vocab-size", "400"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("moewright: out: ")
    assert done.stderr.count("\n") == 1
    assert "File too large" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_damaged_folder_is_told_from_a_good_one(tmp_path: Path) -> None:
    made = tmp_path / "made"
    prepare([BOOK], made, vocab_size=400)
    good = {path.name: path.read_bytes() for path in made.iterdir()}
    train, held = good["train-00000.bin"], "validation-000-moby-dick-00000.bin"
    record = json.loads(good["dataset.json"])
    changed = sealed(DatasetRecord, record | {"vocab_size": 60})
    cases: list[tuple[str, bytes | None, bool, str]] = [
        ("train-00000.bin", None, False, "train-00000.bin: missing"),
        ("train-00000.bin", train[:-2], False, "train-00000.bin: "),
        ("train-00000.bin", train[:-2] + b"\1\0", True, "train-00000.bin: changed since it was written"),
        (held, None, False, f"{held}: missing"),
        ("tokenizer.json", b"{}", False, "tokenizer.json: missing or changed"),
        ("dataset.json", None, False, "has no dataset.json"),
        ("dataset.json", b"{", False, "dataset.json: not valid JSON"),
        ("dataset.json", json.dumps(changed).encode(), False, "but the vocabulary is 60 tokens"),
        ("dataset.json", json.dumps(record | {"validation": {}}).encode(), False, "dataset.json: validation: "),
        ("dataset.json", json.dumps(record | {"format": "x/2"}).encode(), False, "dataset.json: format: "),
        ("dataset.json", good["dataset.json"].replace(b"train-0", b"../t-0"), False, "train.files[0].name: "),
    ]
    for name, contents, check_tokens, said in cases:
        (made / name).unlink()
        if contents is not None:
            (made / name).write_bytes(contents)
        with pytest.raises(UserError) as complaint:
            open_dataset(made, check_tokens=check_tokens)
        assert said in str(complaint.value)
        (made / name).write_bytes(good[name])
    open_dataset(made, check_tokens=True)
    with pytest.raises(UserError, match="no such folder"):
        open_dataset(tmp_path / "absent")
