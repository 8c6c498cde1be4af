"""Public tables of other people's runs, each mapped to the schema by one function from data frame to data frame.

The tables are not part of moewright; each module says where its table is published. A new one is a file with such a
function and its line in `IMPORTERS`.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from moewright.complaints import hint
from moewright.errors import UserError
from moewright.quantities import brief

if TYPE_CHECKING:
    import pandas as pd

IMPORTERS: Mapping[str, str] = {
    "joint_moe": "joint_moe.import_joint_moe",
    "clark_routing": "clark_routing.import_clark_routing",
    "takano_dense": "takano_dense.import_takano_dense",
    "slicing": "slicing.import_slicing",
}
"""The name of a table, and the module and function here that map it. Loaded when asked for."""


def import_source(frame: "pd.DataFrame", source: str, where: str) -> "pd.DataFrame":
    """The frame of a public table in the schema's columns; UserError for an unknown source or an unlike table."""
    if source not in IMPORTERS:
        known = hint(source, IMPORTERS, quoted=True)
        raise UserError(f"source: {brief(source)} is not a public table that moewright imports{known}")
    module, function = IMPORTERS[source].split(".")
    mapped: pd.DataFrame = getattr(import_module(f"{__name__}.{module}"), function)(frame, where)
    return mapped
