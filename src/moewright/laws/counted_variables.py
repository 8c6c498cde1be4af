"""A run table as a law reads it: where models stand in it, the law's variables are counted from them."""

from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from moewright.errors import UserError
from moewright.laws.law import Law
from moewright.laws.variable import Variable

if TYPE_CHECKING:
    import pandas as pd


def in_conventions(
    law: Law, table: "pd.DataFrame", told: Collection[str] = ()
) -> tuple["pd.DataFrame", tuple[str, ...]]:
    """The table with the law's variables as the law defines them, and the names of those that this added or changed.

    Laws disagree on which parameters count and on what sparsity, granularity and the number of experts are. A table
    with an `architecture` in every row has them counted from these, whatever its columns of the same names say; one
    without is taken at its word, and so are the columns that the user named for a variable (`told`).
    """
    if "architecture" not in table or table["architecture"].isna().any() or table.empty:
        return table, ()
    tokens = table["train_tokens"] if "train_tokens" in table else [None] * len(table)
    columns: dict[str, list[float]] = {}
    for variable in law.inputs:
        if variable.name in told:
            continue
        values = [_value(variable, text, count) for text, count in zip(table["architecture"], tokens, strict=True)]
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            columns[variable.name] = known
    changed = [name for name, values in columns.items() if not _are_there(table, name, values)]
    return table.assign(**{name: columns[name] for name in changed}), tuple(changed)


@lru_cache(maxsize=65536)
def _value(variable: Variable, text: str, tokens: float | None) -> float | None:
    from moewright.runs.derived import model_of

    try:
        value = variable.of(model_of(text), tokens)
    except UserError:  # of experts, for a dense model
        return None
    return None if value is None else float(value)


def _are_there(table: "pd.DataFrame", name: str, values: list[float]) -> bool:
    return name in table and bool(np.allclose(table[name].to_numpy(dtype=float), values, rtol=1e-9, atol=0.0))
