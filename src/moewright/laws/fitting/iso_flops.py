"""Rows of iso-FLOP groups: budgets of training compute at each of which several sizes were trained.

Hoffmann et al.'s second approach (arXiv 2203.15556, section 3.2): a parabola through each budget's losses over the
logarithm of the size, and a frontier, L = E + A C^-alpha, through their minima. A surface of sizes and tokens uses all
rows, those far off the optimum too. Which of the two says more of larger budgets is asked of the rows themselves: both
are fitted below several budgets and held against the minima above them.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from moewright.laws.catalogue import get
from moewright.laws.fitting.estimator import LawFitter
from moewright.laws.fitting.fit_settings import FitSettings
from moewright.laws.fitting.observations import Observations
from moewright.laws.fitting.problem import build_problem
from moewright.laws.fitting.reach import LEAST_FITTED, LEAST_ODDS, errors_below, log_evidence
from moewright.laws.formulas import six_nd
from moewright.laws.law import Law
from moewright.laws.variable import Array
from moewright.records import Count, Items, Pair, Record

if TYPE_CHECKING:
    import pandas as pd

RowNumbers = npt.NDArray[np.intp]

FRONTIER_LAW = "marin2026"
"""Whose form is the frontier's."""
BUDGET_COLUMNS = ("active_params", "total_params", "train_tokens")
"""What budgets are counted from, where a table has no `train_flops`: 6 N D, of active parameters if there are any."""
MIXTURE_COLUMNS = ("num_experts", "top_k")
"""That tell mixtures apart: each has a frontier of its own."""
FEWEST_GROUPS, FEWEST_SIZES = 3, 4
"""A frontier has three coefficients, and a parabola through three sizes has no residual."""
_APART, _INSIDE = 0.1, 1 / 3
"""Budgets differ by this much or more in the logarithm, and rows of one by no more than this share of the least."""
_MOST_CUTS = 6


class IsoFlopGroup(Record):
    """One budget of training compute."""

    train_flops: float
    """Geometric mean of its rows."""
    rows: Count
    sizes: Pair[float]
    """The smallest and the largest."""
    size: float | None = None
    """Of the parabola's minimum; null where it lies at an end of the sizes, or there is none."""
    loss: float | None = None
    """There, nats."""


class IsoFlops(Record):
    """The iso-FLOP groups of a table, the frontier through their minima, and whether it or a surface foretells more."""

    size_of: Literal["active_params", "total_params"]
    groups: Items[IsoFlopGroup]
    size_exponent: float
    """a of N* ~ C^a, by least squares in logarithms."""
    frontier: Mapping[str, float]
    """Coefficients of L = E + A C^-alpha."""
    surface: str
    """The law that the frontier is held against."""
    cuts: Count = 0
    """Budgets below which both were fitted."""
    farthest: float | None = None
    """The largest budget that is judged over the largest fitted one, at the lowest cut."""
    frontier_beyond: float | None = None
    """Root mean square error of the log loss of minima above the cuts."""
    surface_beyond: float | None = None
    better: Literal["frontier", "surface"] | None = None
    """None where the cuts do not tell them apart."""


@dataclass(frozen=True)
class Minima:
    """The minima of groups by rising budget: FLOPs, sizes and losses, all (G,), and the row numbers of each group."""

    train_flops: Array
    size: Array
    loss: Array
    rows: tuple[RowNumbers, ...]


def is_frontier(law: Law) -> bool:
    """Whether a law takes training compute and nothing else."""
    return [variable.name for variable in law.inputs] == ["train_flops"]


def find_groups(train_flops: Array, size: Array) -> list[RowNumbers]:
    """The rows of each budget, by rising budget, where rows are of budgets: else an empty list.

    Budgets are told by a break among the distances of neighbours: within a budget rows differ by less than a third of
    what the nearest two budgets do. At least three must have four sizes, and most rows must be of such.

    >>> flops, sizes = np.repeat([1e18, 1e19, 1e20], 4), np.tile([1e8, 2e8, 4e8, 8e8], 3)
    >>> [group.tolist() for group in find_groups(flops, sizes)]
    [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    """
    if len(train_flops) < FEWEST_GROUPS * FEWEST_SIZES or not (train_flops > 0).all():
        return []
    order = np.argsort(train_flops, kind="stable")
    compute = np.log(train_flops[order])
    gaps = np.diff(compute)
    rising = np.sort(gaps)
    breaks = [at for at in range(1, len(rising)) if rising[at] >= _APART]
    if rising[0] >= _APART or not breaks:
        return []
    least = max(breaks, key=lambda at: rising[at] / max(rising[at - 1], 1e-4))
    groups = np.split(order, np.flatnonzero(gaps >= rising[least]) + 1)
    if max(np.ptp(np.log(train_flops[group])) for group in groups) > _INSIDE * rising[least]:
        return []
    found = [group for group in groups if len(np.unique(size[group])) >= FEWEST_SIZES]
    enough = len(found) >= FEWEST_GROUPS and 2 * sum(map(len, found)) >= len(order)
    return found if enough else []


def minimum_of(size: Array, loss: Array) -> tuple[float, float] | None:
    """Size and loss at the minimum of a parabola through log losses over log sizes; None where it is not inside."""
    x, y = np.log(size), np.log(loss)
    middle = float(x.mean())
    (curvature, slope, level), *_ = np.polyfit(x - middle, y, 2, full=True)
    if curvature <= 0:
        return None
    at = -slope / (2 * curvature)
    if not x.min() < middle + at < x.max():
        return None
    return float(np.exp(middle + at)), float(np.exp(level - slope**2 / (4 * curvature)))


def minima_of(train_flops: Array, size: Array, loss: Array, groups: Iterable[RowNumbers]) -> Minima:
    """The groups' minima, those without one left out."""
    found = [(group, best) for group in groups if (best := minimum_of(size[group], loss[group])) is not None]
    return Minima(
        np.array([np.exp(np.log(train_flops[group]).mean()) for group, _ in found]),
        np.array([best[0] for _, best in found]),
        np.array([best[1] for _, best in found]),
        tuple(group for group, _ in found),
    )


def frontier_of(found: Minima) -> LawFitter:
    """The frontier's form fitted to minima, without a bootstrap."""
    quiet = FitSettings(bootstrap=0)
    return LawFitter(get(FRONTIER_LAW), quiet).fit({"train_flops": found.train_flops, "loss": found.loss})


def iso_flops_of(surface: LawFitter) -> IsoFlops | None:
    """What a fitted law's rows say as iso-FLOP groups; None where they are none, or the law has no size and tokens."""
    rows = surface.rows_
    size_of: Literal["active_params", "total_params"]
    size_of = "active_params" if "active_params" in rows.columns else "total_params"
    train_flops = _train_flops(rows, size_of)
    if train_flops is None or "train_tokens" not in rows.columns:
        return None
    size = rows.columns[size_of]
    groups = find_groups(train_flops, size)
    found = minima_of(train_flops, size, rows.loss, groups)
    if len(found.rows) < FEWEST_GROUPS:
        return None
    others = [values for name, values in rows.columns.items() if not name.endswith(("_params", "_tokens", "_flops"))]
    if any(np.ptp(values[group]) for values in others for group in groups):
        return None  # of several mixtures: each would have a frontier of its own
    frontier = frontier_of(found)
    exponent = float(np.polyfit(np.log(found.train_flops), np.log(found.size), 1)[0])
    inside = {tuple(group.tolist()): place for place, group in enumerate(found.rows)}
    described = []
    for group in groups:
        place = inside.get(tuple(group.tolist()))
        described.append(
            IsoFlopGroup(
                train_flops=float(np.exp(np.log(train_flops[group]).mean())),
                rows=len(group),
                sizes=(float(size[group].min()), float(size[group].max())),
                size=None if place is None else float(found.size[place]),
                loss=None if place is None else float(found.loss[place]),
            )
        )
    record = IsoFlops(
        size_of=size_of,
        groups=tuple(described),
        size_exponent=exponent,
        frontier=frontier.law_.coefficients,
        surface=surface.law_.record.law,
    )
    return record.model_copy(update=_held_out(surface, frontier, found, train_flops, size_of))


def frontier_table(table: "pd.DataFrame", settings: FitSettings) -> "pd.DataFrame | None":
    """The minima of a run table's iso-FLOP groups as a table of its own, with `train_flops`, size and loss.

    None where its rows are of no such groups, or groups of several mixtures.
    """
    import pandas as pd

    size_of = next((name for name in BUDGET_COLUMNS[:2] if name in table), None)
    if size_of is None or settings.loss not in table:
        return None
    wanted = [name for name in (size_of, "train_tokens", "train_flops", settings.loss) if name in table]
    columns = {name: pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64) for name in wanted}
    train_flops = columns.get("train_flops")
    if train_flops is None and "train_tokens" in columns:
        train_flops = six_nd(columns[size_of], columns["train_tokens"])
    if train_flops is None or not all(np.isfinite(values).all() for values in columns.values()):
        return None
    size, loss = columns[size_of], columns[settings.loss]
    if not (loss > 0).all():  # as whoever reads the rows will say
        return None
    groups = find_groups(train_flops, size)
    if any(table[name].iloc[group].nunique() > 1 for name in MIXTURE_COLUMNS if name in table for group in groups):
        return None
    found = minima_of(train_flops, size, loss, groups)
    if len(found.rows) < FEWEST_GROUPS:
        return None
    return pd.DataFrame({"train_flops": found.train_flops, size_of: found.size, settings.loss: found.loss})


def _train_flops(rows: Observations, size_of: str) -> Array | None:
    if "train_flops" in rows.columns:
        return rows.columns["train_flops"] if size_of in rows.columns else None
    if size_of not in rows.columns or "train_tokens" not in rows.columns:
        return None
    return np.asarray(six_nd(rows.columns[size_of], rows.columns["train_tokens"]))


def _held_out(
    surface: LawFitter, frontier: LawFitter, found: Minima, train_flops: Array, size_of: str
) -> dict[str, float | int | str | None]:
    """Frontier and surface fitted below some budgets, and held against the minima above them."""
    fewest = max(FEWEST_GROUPS + 1, math.ceil(LEAST_FITTED * len(found.rows)))
    cuts = np.unique(np.linspace(fewest, len(found.rows) - 1, _MOST_CUTS).astype(int))
    cuts = cuts[(cuts >= fewest) & (cuts < len(found.rows))]
    if not len(cuts):
        return {}
    below = train_flops[None] <= (found.train_flops[cuts - 1] * np.exp(_APART / 2))[:, None]
    _, fits = errors_below(surface.problem_, surface.u_, surface.rows_.loss, surface.weights_ * below)
    law, problem = surface.law.as_form(), surface.problem_
    fixed = {name: value for name, value in surface.law_.coefficients.items() if name in surface.settings.fix}
    at = build_problem(law.form, _at_minima(surface.rows_, found, size_of), problem.objective, fixed, {})
    with np.errstate(invalid="ignore", divide="ignore"):
        of_surface = np.log(at.predict(fits)) - np.log(found.loss)
    place = np.arange(len(found.rows))
    of_frontier, _ = errors_below(
        frontier.problem_, frontier.u_, found.loss, (place[None] < cuts[:, None]).astype(np.float64)
    )
    above = place[None] >= cuts[:, None]
    squared = [
        float(np.mean([np.mean(each[held] ** 2) for each, held in zip(errors, above, strict=True)]))
        for errors in (of_frontier, np.nan_to_num(of_surface, nan=1.0))
    ]
    of_both = [log_evidence(len(cuts), each) for each in squared]
    is_told = np.exp(-abs(of_both[0] - of_both[1])) <= LEAST_ODDS
    better = None if not is_told else "frontier" if squared[0] < squared[1] else "surface"
    return {
        "cuts": len(cuts),
        "farthest": float(found.train_flops[-1] / found.train_flops[cuts[0] - 1]),
        "frontier_beyond": float(np.sqrt(squared[0])),
        "surface_beyond": float(np.sqrt(squared[1])),
        "better": better,
    }


def _at_minima(rows: Observations, found: Minima, size_of: str) -> Observations:
    """The law's variables at the minima: each column between its values at the sizes of the group, in logarithms."""
    known = {size_of: found.size, "train_flops": found.train_flops}
    if "train_flops" not in rows.columns:
        known["train_tokens"] = found.train_flops / 6 / found.size
    columns: dict[str, Array] = {}
    for name in rows.columns:
        columns[name] = (
            known[name]
            if name in known
            else np.array(
                [_between(rows, size_of, group, name, size) for group, size in zip(found.rows, found.size, strict=True)]
            )
        )
    number = len(found.rows)
    return Observations(columns, found.loss, np.ones(number), np.arange(number))


def _between(rows: Observations, size_of: str, group: RowNumbers, name: str, size: float) -> float:
    sizes, values = rows.columns[size_of][group], rows.columns[name][group]
    order = np.argsort(sizes)
    if (values <= 0).any():
        return float(np.interp(np.log(size), np.log(sizes[order]), values[order]))
    return float(np.exp(np.interp(np.log(size), np.log(sizes[order]), np.log(values[order]))))
