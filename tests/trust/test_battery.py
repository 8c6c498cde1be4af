"""A sample of the battery: its valid lines hold, and no hostile case is a traceback, a loss, an escape or a hang."""

from pathlib import Path

import pytest

from tests.trust.battery import (
    CONTEXTS,
    LINES,
    MORE_LINES,
    Case,
    battery,
    cases_of_arguments,
    faults_of_line,
    make_room,
    run_case,
)


def test_what_is_damaged_is_valid_before(tmp_path: Path) -> None:
    make_room(tmp_path)
    for line in [*LINES.values(), *MORE_LINES.values(), *CONTEXTS]:
        outcome = run_case(Case(line[0], "valid", tuple(line)), tmp_path)
        assert (outcome.ended, outcome.faults) == ("exit 0", ()), line


def test_there_are_more_than_a_thousand_cases() -> None:
    assert len(list(cases_of_arguments())) > 3000


def test_a_sample_without_a_fault() -> None:
    faults = [(str(each.case), each.faults) for each in battery(60, seed=0) if each.faults]
    assert not faults


@pytest.mark.parametrize(
    ("code", "out", "err", "fault"),
    [
        (3, "{}", "", "exit 3"),
        (1, "", "Traceback (most recent call last):", "traceback"),
        (2, "", "moewright: a\nb", "not one line"),
        (2, "", "moewright: " + "x" * 400, "a line of 411 characters"),
        (0, "{}", "\x1b[31m", "raw control characters"),
        (0, '{"a": NaN}', "", "not one JSON object"),
        (0, "{}{}", "", "not one JSON object"),
    ],
)
def test_the_oracle_sees_each_fault(code: int, out: str, err: str, fault: str, tmp_path: Path) -> None:
    assert faults_of_line(("laws", "--json"), code, out, err, {}, tmp_path) == [fault]


def test_the_oracle_sees_what_is_changed_and_what_is_left(tmp_path: Path) -> None:
    (tmp_path / ".left").touch()
    assert faults_of_line(("laws",), 0, "", "", {"input": "digest"}, tmp_path) == ["an input changed", "left ['.left']"]


@pytest.mark.parametrize(
    "found",
    [
        Case("sweep", "text", (*LINES["sweep"][:-3], "--executor", "9" * 400)),
        Case("design", "file: insert number", tuple(LINES["design"]), "space.yaml", "insert number", 0.931271),
        Case("laws", "file: insert nesting", tuple(MORE_LINES["law.json"]), "law.json", "insert nesting", 0.099880),
    ],
    ids=lambda case: case.command,
)
def test_what_was_found_once(found: Case, tmp_path: Path) -> None:
    make_room(tmp_path)
    outcome = run_case(found, tmp_path)
    assert (outcome.ended, outcome.faults) == ("exit 2", ())
