"""A short round of every parser, always of the same inputs; `python -m tests.trust.fuzz` is the long one."""

import mmap
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import strategies as st

from moewright.errors import UserError
from tests.trust import fuzz
from tests.trust.battery import make_room
from tests.trust.parsers import PARSERS, Parser, compare_words, read_json_text, read_yaml_text

INPUTS = 25


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    room = tmp_path_factory.mktemp("valid")
    make_room(room)
    return room


@pytest.fixture
def room(valid: Path) -> Iterator[Path]:
    with fuzz.own_room(valid) as room:
        yield room


@pytest.mark.parametrize("name", PARSERS)
def test_a_short_round(name: str, room: Path) -> None:
    if name in ("safetensors", "checkpoint", "index"):
        pytest.importorskip("torch")
    parser, tally = PARSERS[name], fuzz.Tally(name)
    parser.read_once(room)
    fuzz.one_round(parser, room, tally, seed=0, inputs=INPUTS, known=set(), until=float("inf"))
    assert tally.fault is None, f"{tally.fault}"
    assert tally.read + tally.refused >= INPUTS // 2


def _parser(read: object) -> Parser:
    return Parser("it", "it.txt", lambda room: st.just(b"x"), read)  # type: ignore[arg-type]


def _two_lines(path: Path) -> None:
    error = UserError("a")
    error.args = ("a\nb",)
    raise error


def _spin(path: Path) -> None:
    while True:
        pass


HELD: list[mmap.mmap] = []


def _grow(path: Path) -> None:
    """Of the system: freed memory that the process keeps would do for a bytearray."""
    HELD.append(mmap.mmap(-1, 50_000_000))
    HELD[-1].write(b"x" * 50_000_000)


@pytest.mark.parametrize(
    ("read", "said"),
    [(_two_lines, "not one short line"), (_spin, "over"), (_grow, "MB")],
    ids=["lines", "time", "memory"],
)
def test_the_limits_hold(read: object, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 0.2)
    monkeypatch.setattr(fuzz, "BYTES", 30e6)
    with pytest.raises(fuzz.WrongAnswerError, match=said):
        fuzz.check(_parser(read), tmp_path, b"x")
    HELD.clear()


def test_a_fault_is_found_made_small_and_kept(tmp_path: Path) -> None:
    def read(path: Path) -> None:
        assert b"7" not in path.read_bytes(), "a seven"

    parser = Parser("it", "it.txt", lambda room: st.text("0123456789").map(str.encode), read)
    tally = fuzz.Tally("it")
    fuzz.one_round(parser, tmp_path, tally, 0, 300, set(), float("inf"))
    assert tally.fault is not None
    assert tally.fault[0] == b"7"
    kept = fuzz.kept(parser, tally.fault[0], tmp_path / "kept")
    assert kept.name.startswith("it-")
    assert kept.read_bytes() == b"7"


@pytest.mark.parametrize(("read", "text"), [(read_json_text, '{"a": 1}'), (read_yaml_text, "a: [1, x]\n")])
def test_the_oracle_sees_a_wrong_answer(
    read: object, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("parse_json", "parse_yaml"):
        monkeypatch.setattr(f"tests.trust.parsers.{name}", lambda text: {"a": 2})
    (tmp_path / "it").write_text(text)
    with pytest.raises(AssertionError):
        read(tmp_path / "it")  # type: ignore[operator]


def test_words_are_compared_by_value() -> None:
    compare_words({"a": [31, 1e3, None, "x", True]}, {"a": ["0x1f", "1e3", "~", "x", "true"]})
    with pytest.raises(AssertionError):
        compare_words({"a": 17}, {"a": "15"})
