"""Hypothesis strategies for what parsers are given: valid files with something wrong, token soup, and noise."""

import json
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

WORDS = [
    "", " ", "0", "017", "0x10", "1e3", "4e-3", "nan", "NaN", "inf", "-1", "1_000", "1,000", "80GB", "3B", "null", "~",
    "true", "yes", "off", "=", "<<", "a: b", "- a", "[a", "{a", "#", "'", '"', "\\", "*a", "&a", "!!int 5", "%", "@",
    "\t", "\n", "\x00", "\x1b[31m", "\x85", "\u2028", "\ufeff", "\ud800", "é", "٣", "\U0001f600", "../x", "x" * 300,
    "1:30", "2024-01-01", "=HYPERLINK(", "[/red]", "<script>", "$\\frac",
]  # fmt: skip
NUMBERS: list[Any] = [
    0, -0.0, 1, -1, 2, 3, 7, 8, 64, 1000, 10**6, 10**8, 10**8 + 1, 2**31, 2**53, 2**53 + 1, 2**63, 2**64, 10**39,
    10**40, 10**400, 0.5, 1.0, 1.5, 1e-30, 5e-324, 1e30, 1e36, 1e308, math.inf, -math.inf, math.nan, True, False,
]  # fmt: skip


def odd_values() -> SearchStrategy[Any]:
    """Plain values that few fields expect."""
    plain = st.one_of(
        st.none(),
        st.sampled_from(NUMBERS),
        st.sampled_from(WORDS),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
    )
    return st.recursive(
        plain,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), inner, max_size=3)
        ),
        max_leaves=5,
    )


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a value, itself apart."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*at, key)
        yield from places(item, (*at, key))


@st.composite
def changed_values(draw: DrawFn, valid: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One of several valid mappings with up to four values wrong, away, renamed, exchanged, or of another mapping."""
    values: dict[str, Any] = deepcopy(draw(st.sampled_from(valid)))
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        found = list(places(values))
        if not found:
            break
        *way, key = draw(st.sampled_from(found))
        owner: Any = values
        for step in way:
            owner = owner[step]
        change = draw(
            st.sampled_from(["odd", "number", "number", "away", "away", "rename", "other", "add", "exchange", "repeat"])
        )
        if change == "odd":
            owner[key] = draw(odd_values())
        elif change == "number":
            owner[key] = draw(st.sampled_from(NUMBERS))
        elif change == "away":
            del owner[key]
        elif change == "repeat" and isinstance(owner, list):
            owner[key:key] = [deepcopy(owner[key])] * draw(st.sampled_from([1, 2, 1200]))
        elif change == "exchange":
            other = draw(st.sampled_from(found))
            with_value: Any = values
            for step in other:
                with_value = with_value[step] if _has(with_value, step) else None
            owner[key] = deepcopy(with_value)
        elif isinstance(owner, dict):
            more = draw(st.sampled_from(valid))
            if change == "rename":
                owner[draw(st.sampled_from([*more, key[:-1], key + "s", "x"]))] = owner.pop(key)
            elif change == "other" and more:
                name = draw(st.sampled_from([*more]))
                owner[name] = deepcopy(more[name])
            else:
                owner[draw(st.sampled_from(WORDS) | st.text(max_size=6))] = draw(odd_values())
    return values


def _has(value: Any, key: Any) -> bool:
    return (isinstance(value, dict) and key in value) or (
        isinstance(value, list) and isinstance(key, int) and key < len(value)
    )


TOKENS = [
    b"{", b"}", b"[", b"]", b":", b",", b'"', b"'", b"\n", b"\r\n", b"\t", b" ", b"  ", b"-", b"- ", b"?", b"|", b">",
    b"&a ", b"*a", b"<<: ", b"!!str ", b"---\n", b"...\n", b"#", b"null", b"true", b"NaN", b"Infinity", b"1e309",
    b"017", b"0", b"9" * 41, b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\u0000", b"\\ud800", b"a", b"b",
]  # fmt: skip


@st.composite
def changed_bytes(draw: DrawFn, valid: Sequence[bytes], tokens: Sequence[bytes] = TOKENS) -> bytes:
    """One of several valid contents, cut, doubled, with bits turned or tokens put in."""
    content = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        change = draw(st.sampled_from(["token", "cut", "bit", "out", "twice", "line", "bytes"]))
        if change == "token":
            content = content[:at] + draw(st.sampled_from(tokens)) + content[at:]
        elif change == "bytes":
            content = content[:at] + draw(st.binary(max_size=8)) + content[at:]
        elif change == "cut":
            content = content[:at]
        elif change == "bit" and at < len(content):
            content = content[:at] + bytes([content[at] ^ (1 << draw(st.integers(0, 7)))]) + content[at + 1 :]
        elif change in ("out", "twice"):
            end = min(len(content), at + draw(st.integers(1, 64)))
            content = content[:at] + content[at:end] * (2 if change == "twice" else 0) + content[end:]
        elif change == "line":
            lines = content.split(b"\n")
            row = min(len(lines) - 1, content[:at].count(b"\n"))
            content = b"\n".join(
                [*lines[:row], *lines[row : row + 1] * draw(st.sampled_from([0, 2])), *lines[row + 1 :]]
            )
    return content


def soup(tokens: Sequence[bytes] = TOKENS) -> SearchStrategy[bytes]:
    """Tokens in any order."""
    return st.lists(st.sampled_from(tokens), max_size=40).map(b"".join)


def as_json(values: Any) -> bytes:
    """JSON as careless writers have it: NaN, Infinity, and surrogates."""
    return json.dumps(values, indent=1).encode("utf-8", "surrogatepass")


def as_yaml(values: Any) -> bytes:
    """YAML as PyYAML writes it, which knows 1.1 only."""
    import yaml

    return str(yaml.safe_dump(values, allow_unicode=True, sort_keys=False)).encode("utf-8", "surrogatepass")


def mappings(valid: Sequence[dict[str, Any]], write: Callable[[Any], bytes] = as_json) -> SearchStrategy[bytes]:
    """Files of one mapping: mostly well-formed with wrong values, some malformed, a few noise."""
    written = [write(values) for values in valid]
    structured = changed_values(valid).map(write)
    return st.one_of(structured, structured, structured, changed_bytes(written), soup(), st.binary(max_size=60))


SAFETENSORS_TYPES = ["F32", "F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "I4", "f32", "", None, 4, "X" * 300]


@st.composite
def safetensors(draw: DrawFn, valid: Sequence[bytes]) -> bytes:
    """Files whose header lies: about its own length, about types, shapes, places, names."""
    content = draw(st.sampled_from(valid))
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    for _ in range(draw(st.integers(0, 3))):
        names = [name for name in header if name != "__metadata__"]
        name = draw(st.sampled_from(names))
        entry = header[name] if isinstance(header[name], dict) else {}
        change = draw(st.sampled_from(["type", "shape", "places", "name", "away", "value", "metadata", "data"]))
        size = st.sampled_from(
            [0, 1, 2, 4, 8, len(data) - 4, len(data), len(data) + 4, 2**31, 2**62, 2**64 - 1, 2**64, -1]
        )
        if change == "type":
            entry["dtype"] = draw(st.sampled_from(SAFETENSORS_TYPES))
        elif change == "shape":
            entry["shape"] = draw(st.lists(size, max_size=4) | odd_values())
        elif change == "places":
            entry["data_offsets"] = draw(st.lists(size, min_size=2, max_size=2) | odd_values())
        elif change == "name":
            header[draw(st.sampled_from([*names, "__metadata__", "", "a/b", "x" * 300]))] = header.pop(name)
        elif change == "away":
            if len(names) > 1:
                del header[name]
        elif change == "value":
            header[name] = draw(odd_values())
        elif change == "metadata":
            header["__metadata__"] = draw(odd_values())
        else:
            data = data[: draw(st.integers(0, len(data)))] + draw(st.binary(max_size=8))
    text = as_json(header)
    if draw(st.booleans()):
        text = draw(changed_bytes([text]))
    told = draw(st.sampled_from([len(text)] * 6 + [0, 1, len(text) - 1, len(text) + 1, 2**27, 2**62, 2**63, 2**64 - 1]))
    return struct.pack("<Q", told % 2**64) + text + data
