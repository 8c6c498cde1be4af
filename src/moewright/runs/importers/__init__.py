"""Public tables of other people's runs, each mapped to the schema by one function from data frame to data frame.

The tables are not part of moewright; each module says where its table is published.
"""

from collections.abc import Callable

import pandas as pd

from moewright.complaints import hint
from moewright.errors import UserError
from moewright.runs.importers.clark_routing import import_clark_routing
from moewright.runs.importers.joint_moe import import_joint_moe
from moewright.runs.importers.slicing import import_slicing
from moewright.runs.importers.takano_dense import import_takano_dense

IMPORTERS: dict[str, Callable[[pd.DataFrame, str], pd.DataFrame]] = {
    "joint_moe": import_joint_moe,
    "clark_routing": import_clark_routing,
    "takano_dense": import_takano_dense,
    "slicing": import_slicing,
}


def import_source(frame: pd.DataFrame, source: str, where: str) -> pd.DataFrame:
    """The frame of a public table in the schema's columns; UserError for an unknown source or an unlike table."""
    if source not in IMPORTERS:
        known = hint(source, IMPORTERS, quoted=True)
        raise UserError(f"source: {source!r} is not a public table that moewright imports{known}")
    return IMPORTERS[source](frame, where)
