"""A user's table as checked arrays, and which of its rows to keep from a fit.

Every complaint names the column, the row and what to do. A holdout is written `kind:share` (share of the rows, 0.1
unless given) or `column=value`: `largest:0.1` most training compute, `best:0.1` lowest loss, `train_tokens:0.2` the top
of any column, `cluster:0.2` whole configurations, `random:0.2` rows, `split=test` the rows that say so.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from moewright.complaints import brief_name, check_names, hint, name_row
from moewright.errors import UserError
from moewright.laws.variable import Array, Mask, Variable
from moewright.quantities import brief, split_quantity

if TYPE_CHECKING:
    import pandas as pd

# One row is one run. The largest public collections hold a few thousand; a million rows are the steps of a log.
LARGEST_TABLE = 20_000
# Worse than guessing evenly among 2^20 tokens (13.9 nats) is no loss in nats but a perplexity, or a diverged run.
LARGEST_LOSS = float(np.log(2.0**20))
# Sizes, tokens and FLOPs smaller than this are written in thousands, millions or billions.
SMALLEST_COUNT = 1000.0
# No sweep leaves a gap this wide within one column; mixed units do.
WIDEST_GAP = 300.0
_USUAL_NAMES = {
    "total_params": ("n", "params", "n_params", "num_params", "parameters", "total", "model_size"),
    "active_params": ("na", "n_a", "n_act", "nact", "active", "active_parameters"),
    "train_tokens": ("d", "tokens", "n_tokens", "num_tokens", "training_tokens"),
    "train_flops": ("c", "flops", "compute", "training_flops"),
    "num_experts": ("e", "experts", "n_experts"),
}
"""What papers and logs call a law's variables, in small letters. One is suggested, never taken: conventions differ."""
_COUNTED = ("parameters", "tokens", "FLOPs")

Clusters = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Observations:
    """Runs ready to fit: columns by call name, losses, weights (mean 1) and cluster numbers, all of shape (R,)."""

    columns: Mapping[str, Array]
    loss: Array
    weights: Array
    clusters: Clusters

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def num_clusters(self) -> int:
        """How many configurations there are, repeats counted once."""
        return int(self.clusters.max()) + 1

    def where(self, mask: Mask) -> "Observations":
        """Some of the rows, clusters numbered anew."""
        _, clusters = np.unique(self.clusters[mask], return_inverse=True)
        weights = self.weights[mask] if self.weights[mask].any() else np.ones(int(mask.sum()))
        return replace(
            self,
            columns={name: values[mask] for name, values in self.columns.items()},
            loss=self.loss[mask],
            weights=weights / weights.mean(),
            clusters=clusters,
        )

    def digest(self) -> str:
        """SHA-256 over the columns in order of name, then losses and weights, as little-endian float64."""
        hasher = hashlib.sha256()
        for name in sorted(self.columns):
            hasher.update(name.encode())
            hasher.update(self.columns[name].astype("<f8").tobytes())
        hasher.update(self.loss.astype("<f8").tobytes())
        hasher.update(self.weights.astype("<f8").tobytes())
        return hasher.hexdigest()


def as_frame(table: Any) -> "pd.DataFrame":
    """A DataFrame from a DataFrame, a mapping of columns, or a path to a run table."""
    import pandas as pd

    if isinstance(table, pd.DataFrame):
        frame = table
    elif isinstance(table, str | Path):
        from moewright.runs import load

        frame = load(table)
    elif isinstance(table, Mapping):
        try:
            frame = pd.DataFrame({name: np.atleast_1d(values) for name, values in table.items()})
        except ValueError as error:
            raise UserError(f"the table's columns do not make a table: {error}") from None
    else:
        raise UserError(f"expected a DataFrame, a mapping of columns or a file of runs, got {type(table).__name__}")
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise UserError(f"the table has two columns named {brief(twice)}")
    if not len(frame):
        raise UserError("the table has no rows")
    return frame


def read_columns(
    frame: "pd.DataFrame", variables: Iterable[Variable], fixed: Mapping[str, float], *, are_targets: bool = False
) -> dict[str, Array]:
    """The variables' columns as float64 (R,), checked against what each may be; `fixed` fills whole columns.

    `are_targets`: rows that a law is asked about, which may lie as far from each other as anyone likes.
    """
    columns = {}
    for variable in variables:
        if variable.name in fixed:
            columns[variable.name] = np.full(len(frame), float(fixed[variable.name]))
            continue
        if (theirs := usual_name(frame, variable.name)) is not None:
            asked = f"did you mean {theirs}? Then give --column {variable.name}={theirs}"
            raise UserError(f"the table has no column {variable.name}; {asked}")
        values = read_numbers(frame, variable.name)
        wrong, rule = variable.outside(values)
        _complain(wrong, values, frame, variable.name, f"must be {rule}")
        if variable.unit in _COUNTED:
            _check_unit(values, frame, variable, are_targets)
        columns[variable.name] = values
    return columns


def read_loss(frame: "pd.DataFrame", name: str) -> Array:
    """The loss column (R,): positive nats per token."""
    loss = read_numbers(frame, name)
    _complain(loss <= 0, loss, frame, name, "must be above 0")
    rule = f"is more than {LARGEST_LOSS:.1f} nats: a perplexity or a diverged run"
    _complain(loss > LARGEST_LOSS, loss, frame, name, rule)
    return loss


def read_observations(
    table: Any,
    variables: Iterable[Variable],
    *,
    loss: str = "loss",
    weights: str | None = None,
    cluster: str | list[str] | None = None,
    constants: Mapping[str, float] | None = None,
) -> Observations:
    """Everything a fit needs from a table.

    Without `cluster` columns, rows that agree in every variable are one cluster: the same configuration, repeated.
    Raises UserError for missing, non-numeric, non-finite or impossible values, for mixed units and for huge tables.
    """
    frame = as_frame(table)
    if len(frame) > LARGEST_TABLE:
        raise UserError(
            f"the table has {len(frame):,} rows, more than {LARGEST_TABLE:,}: give one row per run (its final loss), "
            "not one per logged step"
        )
    variables = tuple(variables)
    columns = read_columns(frame, variables, constants or {})
    if loss in columns or loss == weights:
        what = "a variable of the law" if loss in columns else "the weight of the rows"
        raise UserError(f"loss: the column {brief_name(loss)} is {what}; it cannot be the loss too")
    losses = read_loss(frame, loss)
    row_weights = np.ones(len(frame))
    if weights is not None:
        row_weights = read_numbers(frame, weights)
        _complain(row_weights < 0, row_weights, frame, weights, "must be 0 or more")
        if not row_weights.any():
            raise UserError(f"every weight in column {weights} is 0")
    numbers: npt.NDArray[Any]
    if cluster is None:
        keys = np.stack(list(columns.values()), axis=1)
        numbers = np.unique(keys, axis=0, return_inverse=True)[1]
    else:
        names = [cluster] if isinstance(cluster, str) else list(cluster)
        for name in names:
            find_column(frame, name)
        numbers = np.asarray(frame.groupby(names, dropna=False, sort=False).ngroup())
    return Observations(columns, losses, row_weights / row_weights.mean(), numbers.reshape(-1).astype(np.int64))


def find_column(frame: "pd.DataFrame", name: str) -> "pd.Series[Any]":
    """A column; UserError with the near name for one that is not there."""
    if name not in frame.columns:
        known = [str(column) for column in frame.columns]
        check_names([name], known, "the table", "column")
    return frame[name]


def usual_name(frame: "pd.DataFrame", name: str) -> str | None:
    """A column by a name that papers and logs give a law's variable, where the law's own is not there."""
    usual = _USUAL_NAMES.get(name, ()) if name not in frame.columns else ()
    return next((column for column in map(str, frame.columns) if _small(column) in usual), None)


def _small(name: str) -> str:
    return name.strip().casefold().replace("-", "_")


def read_numbers(frame: "pd.DataFrame", name: str) -> Array:
    """A column as finite float64 (R,); UserError for the first cell that is not."""
    import pandas as pd

    series = find_column(frame, name)
    values = pd.to_numeric(series, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = ~np.isfinite(values)
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f"column {name}, {_row(frame, place)}: {brief(series.iloc[place])} is not a finite number "
            f"({wrong.sum()} such rows); drop or repair these rows"
        )
    return values


def _complain(wrong: Mask, values: Array, frame: "pd.DataFrame", name: str, rule: str) -> None:
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        raise UserError(f"column {name}, {_row(frame, place)}: {values[place]:g} {rule} ({wrong.sum()} such rows)")


def _row(frame: "pd.DataFrame", place: int) -> str:
    """A row of a run table by its number in the table's file, even where rows were left out since. A frame of the
    caller's own has no runs and no file: its rows go by its index."""
    label = frame.index[place]
    if "run_id" not in frame.columns or not isinstance(label, int | np.integer):
        return name_row(label)
    return name_row(int(label) + 1, frame["run_id"].iloc[place])


def row_names(frame: "pd.DataFrame", places: npt.NDArray[np.intp]) -> list[str]:
    """Rows by what `_row` calls them."""
    return [_row(frame, int(place)) for place in places]


def _check_unit(values: Array, frame: "pd.DataFrame", variable: Variable, are_targets: bool) -> None:
    _complain(
        values < SMALLEST_COUNT,
        values,
        frame,
        variable.name,
        f"is too few {variable.unit}: give plain counts, not thousands, millions or billions",
    )
    if are_targets:
        return
    ordered = np.sort(values)
    gaps = ordered[1:] / ordered[:-1]
    if len(gaps) and gaps.max() > WIDEST_GAP:
        place = int(gaps.argmax())
        raise UserError(
            f"column {variable.name} jumps from {ordered[place]:g} to {ordered[place + 1]:g} {variable.unit} with no "
            "row between: are some rows in another unit?"
        )


# Rows kept from a fit


_HELD_OUT = ("largest", "best", "random", "cluster")
"""Words of a holdout; any other is a column."""


def held_out(holdout: str, rows: Observations, frame: "pd.DataFrame", random: np.random.Generator) -> Mask:
    """True for the rows to keep from the fit, (R,); UserError where that leaves nothing to fit or to judge by."""
    if "=" in holdout:
        name, _, value = holdout.partition("=")
        mask = rows_with(frame, name, [value])
        if not mask.any():
            raise UserError(f"holdout {brief_name(holdout)}: no row has {brief(value)} in column {name}")
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
            if kind not in (*_HELD_OUT, *frame.columns):
                known = [*_HELD_OUT, *map(str, frame.columns)]
                named = f"holdout {brief_name(holdout)}: {brief(kind)}"
                raise UserError(f"{named} is neither a word of it nor a column{hint(kind, known)}")
            score = scale(rows) if kind == "largest" else -rows.loss if kind == "best" else read_numbers(frame, kind)
            mask = score >= np.sort(score)[-count]
    if mask.all():
        raise UserError(f"holdout {brief_name(holdout)} leaves no row to fit")
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


def scale(rows: Observations) -> Array:
    """Training compute as far as the columns tell it: FLOPs, else size x tokens, else size or tokens."""
    if "train_flops" in rows.columns:
        return rows.columns["train_flops"]
    size = rows.columns.get("active_params", rows.columns.get("total_params", np.ones(len(rows))))
    return size * rows.columns.get("train_tokens", np.ones(len(rows)))


def _share(holdout: str, written: str) -> float:
    try:
        share, unit = split_quantity(written)
    except ValueError:
        share, unit = np.nan, ""
    if unit or not 0 < share < 1:
        raise UserError(f"holdout {brief_name(holdout)}: the share after the colon must be between 0 and 1")
    return share
