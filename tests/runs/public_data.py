"""Where the tests find other people's run tables, which are no part of the project."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"

FILES = {
    "joint_moe": FOLDER / "joint_moe" / "runs.csv",
    "clark_routing": FOLDER / "clark_routing" / "final_step.csv",
    "takano_dense": FOLDER / "takano_dense" / "runs.csv",
    "slicing": FOLDER / "slicing" / "runs.csv",
}


def public_table(source: str) -> Path:
    """The path of a public table; skips the test where the table is absent."""
    if not FILES[source].exists():
        pytest.skip(f"the public table {source} is not at {FILES[source]}")
    return FILES[source]
