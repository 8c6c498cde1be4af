"""A fault of the disk at some of the calls of every command; tests/trust/faults.py tries all of them."""

import random
from pathlib import Path

import pytest

from tests.sweeps.disk_faults import DiskFaults
from tests.trust.faults import COMMANDS, FAULTS, Room, calls, strike

SAMPLE = {"fit": 2, "runs": 2, "export": 3, "data prepare": 3}
"""How many faults the suite tries; the others take longer and are tried by hand, and sweeps by their own torture."""


@pytest.mark.skipif(not DiskFaults.can_be_made(), reason="no C compiler")
@pytest.mark.parametrize("name", SAMPLE)
def test_some_faults_of_every_command(name: str, tmp_path: Path) -> None:
    room = Room(tmp_path)
    count, right = calls(room, COMMANDS[name])
    draw = random.Random(name)
    for turn in range(SAMPLE[name]):
        strike(room, COMMANDS[name], right, draw.randint(1, count), *FAULTS[turn % len(FAULTS)])
