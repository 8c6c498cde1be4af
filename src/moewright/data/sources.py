"""Documents and the source that each came from, out of the files that people have."""

import codecs
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from moewright.complaints import list_names
from moewright.data import arrow
from moewright.errors import UserError
from moewright.files import file_size
from moewright.plain_values import UnfitTextError, kind_of, parse_json
from moewright.quantities import brief

LARGEST_DOCUMENT = 2**26
"""Bytes or characters: a packed file of 2 MB may hold a line that fills all memory."""
_TOO_LONG = f"a document of more than {LARGEST_DOCUMENT:,} bytes"
_READ = 2**24  # characters of a text file at a time
_TEXT = (".txt", ".text", ".md")
_JSON_LINES = (".jsonl", ".ndjson")
_KNOWN = "text (.txt, .text, .md), JSON lines (.jsonl, .ndjson), each also with .gz, or Parquet (.parquet)"


@dataclass(frozen=True)
class TextSource:
    """Files of one kind that were named together, read anew each time."""

    path: Path
    files: tuple[Path, ...]
    kind: str
    """text, lines, parquet or arrow."""

    @property
    def name(self) -> str:
        """The label of its documents: the file's or folder's name without endings."""
        resolved = self.path.resolve()
        return resolved.name if resolved.is_dir() else resolved.name.split(".")[0]

    def documents(self, text_key: str, source_key: str | None, separator: str) -> Iterator[tuple[str, str]]:
        """Label and text of each document.

        Raises UserError naming the file and the row or line whose text is missing or is not text.
        """
        for file in self.files:
            if self.kind == "text":
                for text in _split_text(file, separator):
                    yield self.name, text
                continue
            rows = _json_lines(file) if self.kind == "lines" else arrow.rows(file, (text_key, source_key))
            for place, row in rows:
                text = _text(row, text_key, "text-key", place)
                yield (self.name if source_key is None else _text(row, source_key, "source-key", place)), text


def find_source(path: Path) -> TextSource:
    """What a path holds: a file of a known ending, a dataset saved by Hugging Face datasets, or a folder of such files.

    Raises UserError if it does not exist, is of no known kind, or mixes kinds.
    """
    if path.is_file():
        kind = _kind(path)
        if kind is None:
            raise UserError(f"{path}: unknown kind of file; expected {_KNOWN}")
        return TextSource(path, (path,), kind)
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder")
    saved = arrow.saved_files(path)
    if saved is not None:
        return TextSource(path, saved, "arrow")
    kinds: dict[str, list[Path]] = {}
    for file in sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".")):
        kind = _kind(file)
        if kind is not None:
            kinds.setdefault(kind, []).append(file)
    if not kinds:
        raise UserError(f"{path}: no documents in this folder; expected {_KNOWN}")
    if len(kinds) > 1:
        examples = " and ".join(files[0].name for files in kinds.values())
        raise UserError(f"{path}: mixes kinds of files, such as {examples}; name them one by one")
    ((kind, files),) = kinds.items()
    return TextSource(path, tuple(files), kind)


def _kind(file: Path) -> str | None:
    name = file.name.lower().removesuffix(".gz")
    if name.endswith(_TEXT):
        return "text"
    if name.endswith(_JSON_LINES):
        return "lines"
    return "parquet" if file.name.lower().endswith(".parquet") else None


def _split_text(file: Path, separator: str) -> Iterator[str]:
    """Texts between separators, without the line ends around them."""
    buffer = ""
    with _opened(file) as binary:
        read: Callable[[], str] = _decoder(binary, file)
        while chunk := read():
            *whole, buffer = (buffer + chunk).split(separator)
            for text in whole:
                yield text.strip("\r\n")
            if len(buffer) > LARGEST_DOCUMENT:
                raise UserError(f"{file}: {_TOO_LONG}; is {brief(separator)} what ends one?")
    yield buffer.strip("\r\n")


def _decoder(binary: IO[bytes] | gzip.GzipFile, file: Path) -> Callable[[], str]:
    decoder = codecs.getincrementaldecoder("utf-8")()

    def read() -> str:
        data = _read(lambda: binary.read(_READ), file)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError:
            raise UserError(f"{file}: not UTF-8 text") from None
        # A chunk may end within its first character, and an empty text would mean the end of the file.
        return text if text or not data else read()

    return read


def _json_lines(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Place and value of each line that is not blank."""
    with _opened(file) as binary:
        number = 0
        while line := _read(lambda: binary.readline(LARGEST_DOCUMENT + 1), file):
            number += 1
            place = f"{file}: line {number}"
            if len(line) > LARGEST_DOCUMENT:
                raise UserError(f"{place}: {_TOO_LONG}")
            if not line.strip():
                continue
            try:
                value = parse_json(line.decode("utf-8").strip())
            except UnicodeDecodeError:
                raise UserError(f"{place}: not UTF-8 text") from None
            except UnfitTextError as error:
                what = str(error).replace("not valid JSON at line 1, column", "not valid JSON at column")
                raise UserError(f"{place}: {what}") from None
            if not isinstance(value, dict):
                raise UserError(f"{place}: expected an object with the text, found {kind_of(value)}")
            yield place, value


def _opened(file: Path) -> IO[bytes] | gzip.GzipFile:
    try:
        file_size(file)  # no device and no pipe
        return gzip.open(file) if file.name.lower().endswith(".gz") else file.open("rb")
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None


def _read(read: Callable[[], bytes], file: Path) -> bytes:
    try:
        return read()
    except (OSError, EOFError, zlib.error) as error:  # gzip: what is not gzip, cut short, or damaged
        raise UserError(f"{file}: cannot be read: {error}") from None


def _text(row: Mapping[str, Any], key: str, option: str, place: str) -> str:
    if key not in row:
        raise UserError(f"{place}: has no {brief(key)}; name one of {list_names(list(map(repr, row)))} with --{option}")
    text = row[key]
    if not isinstance(text, str):
        raise UserError(f"{place}: {brief(key)} is {json.dumps(text, default=str)[:60]}, not text")
    return text
