"""Candidates where nobody named any: the models of the runs, larger ones, and other lengths of training."""

from typing import TYPE_CHECKING

import numpy as np

from moewright.errors import UserError
from moewright.laws.catalogue import get, names
from moewright.laws.law import InapplicableLaw, Law
from moewright.laws.selection.run_choice import MOST_CANDIDATES, SIZE_COLUMNS, costs_of

if TYPE_CHECKING:
    import pandas as pd

_TIMES = (1.0, 2.0, 4.0)
"""What the parameters of a run are multiplied by, where they are columns."""


def grid_of(runs: "pd.DataFrame", spend: float | None) -> "pd.DataFrame":
    """Each different model of the runs at tokens in powers of two, from their fewest to four times their most.

    Where parameters are columns, not counted from an `architecture`, models of twice and four times as many too. What
    costs more than `spend` FLOPs is left out, the cheapest first where there are too many. UserError for a table
    without train_tokens.
    """
    import pandas as pd

    if "train_tokens" not in runs:
        raise UserError("candidates: the runs have no column train_tokens to make candidates from; name a sweep")
    counted = "architecture" in runs and runs["architecture"].notna().all()
    if counted:
        sizes = [name for name in SIZE_COLUMNS if name in runs]
        models = runs[["architecture", *sizes]].drop_duplicates("architecture").reset_index(drop=True)
    else:
        columns = [name for name in all_variables() if name in runs and name not in ("train_tokens", "train_flops")]
        models = runs[columns].drop_duplicates().reset_index(drop=True)
    most, least = float(runs["train_tokens"].max()) * 4, float(runs["train_tokens"].min())
    tokens = least * 2.0 ** np.arange(int(np.log2(most / least)) + 1)
    scales = (1.0,) if counted else _TIMES
    tables = []
    for times in scales:
        larger = models.assign(**{name: models[name] * times for name in SIZE_COLUMNS if name in models})
        tables += [larger.assign(train_tokens=amount) for amount in tokens]
    grid = pd.concat(tables, ignore_index=True).drop_duplicates(ignore_index=True)
    costs = costs_of(grid)
    order = np.argsort(costs, kind="stable")
    affordable = [row for row in order if spend is None or costs[row] <= spend]
    return grid.iloc[affordable[:MOST_CANDIDATES]].reset_index(drop=True)


def all_variables() -> list[str]:
    """The variables of all laws that have a form."""
    laws = [law for law in map(get, names()) if _has_form(law)]
    return sorted({variable.name for law in laws for variable in law.inputs})


def _has_form(law: Law) -> bool:
    try:
        law.as_form()
    except InapplicableLaw:
        return False
    return True
