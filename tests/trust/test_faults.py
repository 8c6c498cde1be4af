"""A fault of the disk at some of the calls of every command; tests/trust/faults.py tries all of them."""

import random
from pathlib import Path

import pytest

from moewright.commands import COMMANDS
from tests.sweeps.disk_faults import DiskFaults
from tests.trust import faults
from tests.trust.faults import CASES, FAULTS, calls, room_in, strike

SAMPLE = {name: 0 if name == "sweep" else 1 if CASES[name].goes_on else 3 for name in CASES}
"""How many faults the suite tries; sweeps start processes for every run and have their own torture."""
NEEDS_TORCH = ("train", "export weights")


@pytest.mark.skipif(not DiskFaults.can_be_made(), reason="no C compiler")
@pytest.mark.parametrize("name", [name for name in SAMPLE if SAMPLE[name]])
def test_some_faults_of_every_command(name: str, tmp_path: Path) -> None:
    if name in NEEDS_TORCH:
        pytest.importorskip("torch")
    draw = random.Random(name)
    with room_in(tmp_path) as room:
        count, right = calls(room, CASES[name])
        for turn in range(SAMPLE[name]):
            strike(room, CASES[name], right, draw.randint(1, count), *FAULTS[turn % len(FAULTS)])


def test_every_output_of_every_command_has_a_case() -> None:
    assert not faults.missing()


def test_a_command_without_a_case_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new command is one more line of the command line's table; an output without a case is named."""
    monkeypatch.setitem(COMMANDS, "refit", "fit")
    assert faults.missing() == ["refit --out", "refit --plots", "refit --preregister"]
    monkeypatch.delitem(COMMANDS, "refit")
    monkeypatch.delitem(CASES, "runs")
    assert faults.missing() == ["runs --out", "runs --curves"]
