"""Which rows to keep from a fit, to judge it by: the largest, the best, the far end of a column, clusters, or random.

A holdout is written `kind:share` (share of the rows, 0.1 unless given) or `column=value`:
`largest:0.1` most training compute, `best:0.1` lowest loss, `train_tokens:0.2` the top of any column,
`cluster:0.2` whole configurations, `random:0.2` rows, `split=test` the rows that say so.
"""

from typing import TYPE_CHECKING

import numpy as np

from moewright.errors import UserError
from moewright.laws.fitting.rows import Mask, Rows, find_column, read_numbers
from moewright.laws.variable import Array

if TYPE_CHECKING:
    import pandas as pd


def held_out(holdout: str, rows: Rows, frame: "pd.DataFrame", random: np.random.Generator) -> Mask:
    """True for the rows to keep from the fit, (R,); UserError where that leaves nothing to fit or to judge by."""
    if "=" in holdout:
        name, _, value = holdout.partition("=")
        mask = rows_with(frame, name, [value])
        if not mask.any():
            raise UserError(f"holdout {holdout}: no row has {value!r} in column {name}")
    else:
        kind, _, written = holdout.partition(":")
        share = _share(holdout, written or "0.1")
        count = max(1, round(share * len(rows)))
        if kind == "cluster":
            shuffled = random.permutation(rows.num_clusters)
            sizes = np.bincount(rows.clusters)[shuffled]
            mask = np.isin(rows.clusters, shuffled[: int(np.searchsorted(np.cumsum(sizes), count)) + 1])
        elif kind == "random":
            mask = np.zeros(len(rows), dtype=bool)
            mask[random.permutation(len(rows))[:count]] = True
        else:
            score = scale(rows) if kind == "largest" else -rows.loss if kind == "best" else read_numbers(frame, kind)
            mask = score >= np.sort(score)[-count]
    if mask.all():
        raise UserError(f"holdout {holdout} leaves no row to fit")
    return mask


def rows_with(frame: "pd.DataFrame", name: str, values: list[str]) -> Mask:
    """True where a column holds one of some values, (R,); numbers are compared as numbers, the rest as text."""
    column = find_column(frame, name)
    found = np.zeros(len(frame), dtype=bool)
    for value in values:
        try:
            found |= np.asarray(column.astype(float) == float(value))
        except (TypeError, ValueError):
            found |= np.asarray(column.astype(str) == value)
    return found


def scale(rows: Rows) -> Array:
    """Training compute as far as the columns tell it: FLOPs, else size x tokens, else size or tokens."""
    if "train_flops" in rows.columns:
        return rows.columns["train_flops"]
    size = rows.columns.get("active_params", rows.columns.get("total_params", np.ones(len(rows))))
    return size * rows.columns.get("train_tokens", np.ones(len(rows)))


def _share(holdout: str, written: str) -> float:
    try:
        share = float(written)
    except ValueError:
        share = np.nan
    if not 0 < share < 1:
        raise UserError(f"holdout {holdout}: the share after the colon must be between 0 and 1")
    return share
