"""Every relation between answers holds for a seed, and sees an answer that is wrong."""

from pathlib import Path
from typing import Any

import pytest

from moewright.plain_values import parse_yaml
from moewright.quantities import COUNT_UNITS
from tests.trust.battery import Case, make_room, run_case
from tests.trust.relations import RELATIONS, agree


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    room = tmp_path_factory.mktemp("valid")
    make_room(room)
    return room


@pytest.mark.parametrize("name", RELATIONS)
def test_a_relation_holds(name: str, valid: Path) -> None:
    outcome = run_case(Case(RELATIONS[name][0], "relation", place=1, relation=name), valid)
    assert (outcome.ended, outcome.faults) == ("agreed", ())


def test_what_differs_is_named() -> None:
    agree({"a": [1.0, 2.0]}, {"a": [1.0, 2.0 + 1e-12]}, tolerance=1e-9)
    with pytest.raises(AssertionError, match=r"answer\.a\[1\]: 2\.0 and 2\.5"):
        agree({"a": [1.0, 2.0]}, {"a": [1.0, 2.5]})


def _narrow(text: str) -> Any:
    values = parse_yaml(text)
    return {**values, "hidden_size": 16} if isinstance(values, dict) and "hidden_size" in values else values


@pytest.mark.parametrize(
    ("name", "place", "wrong"),
    [
        ("spelling of a quantity", "moewright.quantities.COUNT_UNITS", {**COUNT_UNITS, "T": 2e12, "B": 3e9}),
        ("json against yaml", "moewright.files.parse_yaml", _narrow),
    ],
)
def test_a_wrong_answer_is_seen(
    name: str, place: str, wrong: Any, valid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, wrong)
    outcomes = [run_case(Case("inspect", "relation", place=seed, relation=name), valid) for seed in range(4)]
    assert any(each.faults for each in outcomes)
