"""YAML and JSON: what words mean, what is refused, and that what is written reads back."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from moewright.errors import UserError
from moewright.files import read_mapping, write_mapping
from moewright.plain_values import DEEPEST, UnfitTextError, dump_yaml, parse_json, parse_yaml


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *[("4e-3", 4e-3), ("1e9", 1e9), (".5", 0.5), ("+1", 1), ("-1", -1), ("1.", 1.0), ("-0", 0), ("0", 0)],
        *[
            ("0o17", 15),
            ("0x1F", 31),
            (".inf", math.inf),
            ("-.INF", -math.inf),
            ("1e309", math.inf),
            ("5e-324", 5e-324),
        ],
        *[("true", True), ("False", False), ("TRUE", True), ("~", None), ("null", None), ("", None)],
        *[(word, word) for word in ("yes", "no", "on", "off", "Yes", "y", "n", "tRUE", "nUll", "=", "None", "nan")],
        *[
            (word, word)
            for word in ("1:30", "190:20:30", "2024-01-01", "2001-12-14t21:59:43.10-05:00", "12e", "e5", ".")
        ],
        *[(word, word) for word in ("1_000", "0b101", "1,000", "٣", "１", "0o8", "0xg", "1e", "+", "--1", "1.2.3")],
        *[("'017'", "017"), ('"yes"', "yes"), ("!!str 5", "5"), ("'1e3'", "1e3"), ('"<<"', "<<")],
    ],
)
def test_words_mean_what_yaml_1_2_says(word: str, value: Any) -> None:
    found = parse_yaml(f"a: {word}\n")["a"]
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: the key 'a' occurs twice, first at line 1"),
        ("x:\n  - {b: 1, c: 2, b: 3}\n", "line 2, column 18: the key 'b' occurs twice"),
        ('"a": 1\na: 1\n', "line 2, column 1: the key 'a' occurs twice"),
        ("a: 017\n", "line 1, column 4: 017 is octal to some readers and decimal to others"),
        ("a: -08\n", "-08 is octal"),
        (f"a: {'9' * 400}\n", "line 1, column 4: a number of 400 digits"),
        (f"a: 0x{'f' * 400}\n", "a number of 402 digits"),
        ("a: !!python/object/apply:os.system [ls]\n", "the tag !!python/object/apply:os.system is not read"),
        ("a: !!int 5\n", "the tag !!int is not read"),
        ("a: !secret x\n", "the tag !secret is not read"),
        ("a: !!set {x, y}\n", "the tag !!set is not read"),
        ("a: 1\n---\nb: 2\n", "a second document begins"),
        ("a: 1\n...\n---\n", "a second document begins"),
        ("1: x\n", "line 1, column 1: the key 1 is not text"),
        ("a: {true: x}\n", "the key True is not text"),
        ("? [a]\n: b\n", "the key ['a'] is not text"),
        ("null: 1\n", "the key None is not text"),
        ("a: &x [*x]\n", "*x would contain itself"),
        ("a: *x\n", "*x stands for nothing"),
        ("<<: 3\n", "<< takes a mapping"),
        ("<<: {a: 1}\n<<: {b: 1}\n", "'<<' occurs twice"),
        (f"a: {'[' * 200}{']' * 200}\n", f"nested more than {DEEPEST} levels deep"),
        ("a: [1, 2\n", "not valid YAML at line 2"),
        ("a: b: c\n", "not valid YAML at line 1"),
        ("a: \x01\n", "not valid YAML"),
        ("a:\n\t- 1\n", "not valid YAML at line 2"),
        ("a: @b\n", "not valid YAML at line 1"),
    ],
)
def test_yaml_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(UnfitTextError) as caught:
        parse_yaml(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 1}}', "the key 'c' occurs twice"),
        (f'{{"a": {"9" * 400}}}', "a number of 400 digits"),
        (f'{{"a": -{"9" * 5000}}}', "a number of 5001 digits"),
        ("[" * 200 + "]" * 200, "nested more than"),
        ("[" * 100_000, "not valid JSON"),
        ('{"a": 1}{', "not valid JSON at line 1, column 9"),
        ('{"a": 1_000}', "not valid JSON at line 1"),
        ('{"a": 017}', "not valid JSON at line 1"),
        ('{"a": ٣}', "not valid JSON at line 1"),
        ("", "not valid JSON at line 1"),
        (f"[{'1,' * 1_000_000}1]", "more than 1,000,000 values"),
    ],
)
def test_json_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(UnfitTextError) as caught:
        parse_json(text)
    assert said in str(caught.value)


def test_an_anchor_that_stands_twice_is_refused() -> None:
    """YAML 1.2 takes the later one from there on, libyaml's own loader takes neither."""
    with pytest.raises(UnfitTextError, match=r"^line 2, column 4: the anchor &x stands twice"):
        parse_yaml("a: &x 1\nb: &x 2\nc: *x\n")


def test_anchors_and_merges() -> None:
    text = "base: &b {x: 1, y: [1, 2]}\nmore: &m {x: 5, z: 6}\na: {<<: *b, x: 2}\nc:\n  <<: [*b, *m]\nd: *b\n"
    found = parse_yaml(text)
    assert found["a"] == {"x": 2, "y": [1, 2]}
    assert found["c"] == {"x": 1, "y": [1, 2], "z": 6}
    assert found["d"] == found["base"]
    assert found["d"]["y"] is not found["base"]["y"]  # whoever changes one leaves the other alone


_TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.sampled_from(
        [
            "1e3",
            "yes",
            "017",
            "1:30",
            "0o17",
            "0x1f",
            "+1",
            ".5",
            "1_000",
            "null",
            "~",
            "<<",
            "=",
            "-",
            "",
            " a ",
            "a: b",
        ]
    ),
    st.from_regex(r"\A[-+]?[0-9._eExoabf:]{1,8}\Z"),
)
_PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(allow_nan=False), _TEXTS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(_TEXTS, _PLAIN, max_size=4))
@example({"a": "\x85", "b": "a\u2028b", "c": "\ufeff", "d": "x" * 200 + " " + "y" * 200, "e": "a\n\n b", "f": "\t"})
def test_what_is_written_reads_back(values: dict[str, Any]) -> None:
    text = dump_yaml(values)
    again = parse_yaml(text)
    assert again == values
    assert repr(again) == repr(values)  # 1 is not 1.0 nor True
    assert parse_json(json.dumps(values)) == values


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text("{}[]:,&*!|>-'\"%@#a1 \n<?", max_size=40))
def test_any_text_is_values_or_one_line(text: str) -> None:
    for read in (parse_yaml, parse_json):
        said = ""
        try:
            read(text)
        except UnfitTextError as error:
            said = str(error)
        assert "\n" not in said


def test_both_parsers_of_the_library_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a: &x [1, 017x, *x]", "a: &x [1, b, {c: 1e3}]\nb: *x", "a: !!str 1", "- a\n- b", "", "'"]

    def all_of() -> list[str]:
        found = []
        for text in texts:
            try:
                found.append(repr(parse_yaml(text)))
            except UnfitTextError as error:
                found.append(str(error).split(":")[0])
        return found

    fast = all_of()
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert all_of() == fast


_BOMB = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
_MERGE_BOMB = "".join(f"a{n}: &a{n} {{{', '.join(f'k{m}: *a{n - 1}' for m in range(9))}}}\n" for n in range(1, 30))
HOSTILE = {
    "aliases of aliases": ("x.yaml", f"a0: &a0 [lol, lol]\n{_BOMB}"),
    "merges of aliases": ("x.yaml", f"a0: &a0 {{a: b}}\n{_MERGE_BOMB}<<: *a29\n"),
    "a million aliases": ("x.yaml", f"a: &a {{b: 1}}\nlayers: [{'*a, ' * 1_000_000}]\n"),
    "deep": ("x.yaml", "a: " + "[" * 1_000_000),
    "deep blocks": ("x.yaml", "".join(f"{' ' * n}a:\n" for n in range(1500))),
    "long": ("x.yaml", "a: b\n" * 3_000_000),
    "one word": ("x.yaml", "a: " + "b" * 7_000_000 + ": c"),
    "deep json": ("x.json", '{"a":' * 1_000_000),
    "wide json": ("x.json", f"[{'{},' * 8_000_000}{{}}]"),
    "a digit many times": ("x.json", f'{{"a": {"7" * 20_000_000}}}'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_at_once(name: str, tmp_path: Path) -> None:
    """Within 2 s of processor time and 200 MB beyond what Python and its libraries take."""
    file, text = HOSTILE[name]
    (tmp_path / file).write_text(text)
    _refused_at_once(tmp_path / file)


def test_what_never_ends_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    for path in (Path("/dev/zero"), tmp_path / "pipe.json"):
        with pytest.raises(UserError, match="a device or a pipe"):
            read_mapping(path)
    huge = tmp_path / "huge.json"
    with open(huge, "wb") as file:
        file.truncate(2 * 2**30)  # sparse
    with pytest.raises(UserError, match="bytes are more than"):
        read_mapping(huge)


_READ = """
import resource, sys
from pathlib import Path
from moewright.files import read_mapping
from moewright.errors import UserError
import yaml
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 10**6,) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2])) + 3,) * 2)
try:
    read_mapping(Path(sys.argv[1]))
except UserError as error:
    print(error)
    sys.exit(2)
"""


def _refused_at_once(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr[-500:]
    assert done.stdout.count("\n") == 1


def test_files_are_written_and_read_by_the_same_rules(tmp_path: Path) -> None:
    values = {"name": "1e3", "seeds": [0, 1], "on": "yes", "rate": 4e-3, "id": "017", "when": "2024-01-01"}
    for ending in ("json", "yaml", "yml"):
        path = tmp_path / f"values.{ending}"
        write_mapping(path, values)
        assert read_mapping(path) == values
