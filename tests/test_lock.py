"""requirements-dev.txt against constraints.txt and pyproject.toml, without a network."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement

from tests import lock
from tests.matrix import ROOT, requirements_of

ENTRIES = [line for line in lock.WRITTEN.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
LOCKED = lock.pinned(lock.WRITTEN)
BUILD = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]


def test_every_entry_is_one_version_with_a_hash() -> None:
    wrong = [each for each in ENTRIES if not re.fullmatch(r"[a-z0-9-]+==[^\s+]+ --hash=sha256:[0-9a-f]{64}", each)]
    assert not wrong
    assert len(LOCKED) == len(ENTRIES)


def test_the_versions_are_those_of_constraints() -> None:
    constraints = lock.pinned(lock.CONSTRAINTS)
    del constraints["torch"]
    assert {name: LOCKED.get(name) for name in constraints} == constraints


@pytest.mark.parametrize("wanted", [*requirements_of("dev"), *BUILD, lock.EDITABLE])
def test_every_requirement_of_pyproject_is_met(wanted: str) -> None:
    requirement = Requirement(wanted)
    name = lock.normal(requirement.name)
    if name == "torch":
        assert name not in LOCKED
    else:
        assert requirement.specifier.contains(LOCKED[name])
