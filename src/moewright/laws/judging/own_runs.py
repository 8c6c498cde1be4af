"""What a user's own runs say of designs that the published laws leave open.

Runs of one recipe, small ones too, move what the laws expect: the forms of the laws that may judge, around their
published coefficients, with what the forms miss as a smooth function, are conditioned on the runs (`selection.belief`),
and weighted by how likely the runs are under each. Of two designs that gives the probability that a run of the first
ends lower. The runs are heard where the same, asked about runs of the table that it was not shown, says what it
should (`least_inside`). Back-tested on public tables: `tests/benchmarks/own_runs_replay.py` (docs/evidence.md).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from moewright.errors import UserError
from moewright.laws.judging.compared_designs import COUNTED, DESIGN_SIZES, ComparedDesigns
from moewright.laws.law import InapplicableLaw, Law
from moewright.laws.selection.belief import Belief, ConditionedLaws, believe, condition
from moewright.laws.selection.criterion import Z90, upper_tail
from moewright.laws.variable import TRAIN_TOKENS, Array
from moewright.progress import track
from moewright.records import Count, Record

if TYPE_CHECKING:
    import pandas as pd

SURE = 0.95
"""Probability from which own runs decide."""
FEWEST_RUNS = 8
LEAST_INSIDE = 0.75
"""Share of left-out runs that 90 % intervals must hold, for the runs to be heard."""
_FOLDS = 4
_SMALLEST = 1e-18  # variance of a log loss: 0 where two designs are one and runs have no noise


class OwnOpinion(Record):
    """What own runs say of two designs."""

    runs: Count
    """That have a loss."""
    inside: float | None
    """Share of the runs that lie in their 90 % intervals when they are left out; null with too few."""
    heard: bool
    reason: str | None
    """Why they are not heard."""
    probability: float | None
    """That a run of the first ends below one of the second; null where they are not heard."""
    difference: float | None
    """Loss of the first less that of the second, nats: what is expected."""
    low: float | None
    """End of its 90 % interval, for one new run of each."""
    high: float | None
    laws: Mapping[str, float] | None
    """Weights of the laws' forms."""


def unheard_opinion(runs: int, inside: float | None, reason: str | None) -> OwnOpinion:
    """Of runs that are not heard."""
    told: dict[str, Any] = dict.fromkeys(("probability", "difference", "low", "high", "laws"))
    return OwnOpinion(runs=runs, inside=inside, heard=False, reason=reason, **told)


def _opinion(
    runs: int, inside: float | None, level: float, mean: float, deviation: float, laws: Mapping[str, float]
) -> OwnOpinion:
    """From the mean and the deviation of a difference of log losses around a loss."""
    return OwnOpinion(
        runs=runs,
        inside=inside,
        heard=True,
        reason=None,
        probability=float(upper_tail(np.array(mean / deviation))),
        difference=level * mean,
        low=level * (mean - Z90 * deviation),
        high=level * (mean + Z90 * deviation),
        laws=laws,
    )


@dataclass(frozen=True)
class OwnBelief:
    """Designs as a user's runs and the laws' forms see them, in the order in which they were given."""

    runs: int
    inside: float | None
    belief: Belief | None
    """None where the runs are not heard."""
    reason: str | None

    def probabilities(self, first: Any, second: Any) -> Array:
        """That a run of design `first` ends below one of `second`, by their places (numbers or arrays)."""
        mean, deviation = self._difference(first, second)
        return upper_tail(mean / deviation)

    def of(self, *places: int) -> "OwnBelief":
        """The same of some designs only."""
        if self.belief is None:
            return self
        at = list(places)
        belief = replace(self.belief, mean=self.belief.mean[at], covariance=self.belief.covariance[np.ix_(at, at)])
        return replace(self, belief=belief)

    def opinion(self, first: int, second: int) -> OwnOpinion:
        """Of two designs."""
        if self.belief is None:
            return unheard_opinion(self.runs, self.inside, self.reason)
        mean, deviation = (float(each) for each in self._difference(first, second))
        # The belief is about log losses.
        level = float(np.exp((self.belief.mean[first] + self.belief.mean[second]) / 2))
        return _opinion(self.runs, self.inside, level, mean, deviation, self.belief.weights)

    def _difference(self, first: Any, second: Any) -> tuple[Array, Array]:
        """Mean and deviation of log loss of `first` less that of `second`, of one new run each."""
        assert self.belief is not None, self.reason
        spread = self.belief.covariance
        variance = spread[first, first] + spread[second, second] - 2 * spread[first, second]
        variance = variance + 2 * self.belief.noise**2
        return np.asarray(self.belief.mean[first] - self.belief.mean[second]), np.sqrt(np.maximum(variance, _SMALLEST))


@dataclass(frozen=True)
class OwnRuns:
    """The finished runs of a run table, as the laws whose forms they could move have them."""

    table: "pd.DataFrame"
    """What is read of them: `DESIGN_SIZES`, `COUNTED`, tokens and the loss."""
    laws: tuple[Law, ...]
    rows: "tuple[pd.DataFrame, ...]"
    """By law: its variables and the loss."""

    @classmethod
    def read(cls, table: "pd.DataFrame", laws: Iterable[Law]) -> "OwnRuns":
        """Models of the table are read from its columns (`ComparedDesigns.from_columns`). The same sizes, tokens and
        loss again are a copy, and no further run. UserError where a column is missing, no run has a loss, or no law
        has a form that its runs could move."""
        from moewright.runs.schema import FINISHED  # the package loads pandas

        needed = (*DESIGN_SIZES, *COUNTED, TRAIN_TOKENS.name, "loss")
        missing = [name for name in needed if name not in table]
        if missing:
            raise UserError(
                f"own: the run table has no column {missing[0]}, which every run must have (docs/run_table.md)"
            )
        finished = table["status"] == FINISHED if "status" in table else True
        table = table.loc[finished & table["loss"].notna(), list(needed)].drop_duplicates(ignore_index=True)
        if table.empty:
            raise UserError("own: no finished run has a loss")
        for name in needed:
            if table[name].isna().any():
                raise UserError(f"own: {int(table[name].isna().sum())} finished runs have no {name}; leave them out")
        forms = tuple(law for law in laws if _has_form(law))
        if not forms:
            raise UserError("own: none of the laws has a form that runs could move; name others with --law")
        own = ComparedDesigns.from_columns({str(name): table[name].to_numpy() for name in table})
        rows = (_variables(law, [own]).assign(loss=table["loss"].to_numpy(dtype=float)) for law in forms)
        return cls(table, forms, tuple(rows))

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def inside(self) -> float | None:
        """Share of the runs that lie in their 90 % intervals when they are left out; None with too few."""
        return _share_inside(self.laws, self.rows)

    @property
    def reason(self) -> str | None:
        """Why they are not heard; None where they are."""
        if self.inside is None:
            return f"{len(self)} runs; {FEWEST_RUNS} are needed to see how well they predict"
        if self.inside >= LEAST_INSIDE:
            return None
        return (
            f"of runs that were left out only {self.inside:.0%} lie in their 90 % intervals: of one recipe, and "
            "converged?"
        )

    def asked(self, designs: Sequence[ComparedDesigns]) -> OwnBelief:
        """What they say of a few designs, with the forms that speak of all of them."""
        speaking = [p for p, law in enumerate(self.laws) if all(each.silence_of(law) is None for each in designs)]
        if not speaking:
            return OwnBelief(len(self), None, None, "no law whose form the runs could move speaks of these models")
        own = self
        if len(speaking) < len(self.laws):
            laws, rows = (tuple(self.laws[p] for p in speaking), tuple(self.rows[p] for p in speaking))
            own = OwnRuns(self.table, laws, rows)
        if own.reason is not None:
            return OwnBelief(len(own), own.inside, None, own.reason)
        points = [_variables(law, designs) for law in own.laws]
        return OwnBelief(len(own), own.inside, believe(own.laws, own.rows, points, skip=True), None)

    def about(self, designs: Sequence[ComparedDesigns]) -> "ConditionedDesigns":
        """What they say of designs, and of others near these: the laws' forms are taken around them."""
        points = [_variables(law, designs) for law in self.laws]
        return ConditionedDesigns(self, condition(self.laws, self.rows, points, skip=True))


@dataclass(frozen=True)
class ConditionedDesigns:
    """What own runs say of many designs."""

    own: OwnRuns
    conditioned: ConditionedLaws

    def means(self, designs: ComparedDesigns) -> Array:
        """Expected log loss (Q,); infinite where the forms, as the runs have moved them, give a design none."""
        return np.nan_to_num(self.conditioned.means(self._rows(designs)), nan=np.inf)

    def probabilities(self, first: ComparedDesigns, second: ComparedDesigns) -> Array:
        """(Q, O): that a run of the first ends below one of the second, each of Q against each of O; a half where the
        forms, as the runs have moved them, give one of the two no loss."""
        mean, variance = self._differences(first, second)
        return np.nan_to_num(upper_tail(mean / np.sqrt(variance)), nan=0.5)

    def opinion(self, first: ComparedDesigns, second: ComparedDesigns) -> OwnOpinion:
        """Of one design against another."""
        mean, variance = (float(each.item()) for each in self._differences(first, second))
        if not np.isfinite(mean):
            reason = "the laws' forms, as your runs have moved them, give one of the two no loss"
            return unheard_opinion(len(self.own), self.own.inside, reason)
        level = float(np.exp((self.means(first).item() + self.means(second).item()) / 2))
        return _opinion(len(self.own), self.own.inside, level, mean, float(np.sqrt(variance)), self.conditioned.weights)

    def _differences(self, first: ComparedDesigns, second: ComparedDesigns) -> tuple[Array, Array]:
        mean, variance = self.conditioned.differences(self._rows(first), self._rows(second))
        return mean, np.maximum(variance + 2 * self.conditioned.noise**2, _SMALLEST)

    def _rows(self, designs: ComparedDesigns) -> "dict[str, pd.DataFrame]":
        return {law.name: _variables(law, [designs]) for law in self.own.laws if law.name in self.conditioned.weights}


def ask_own_runs(table: "pd.DataFrame", designs: Sequence[ComparedDesigns], laws: Iterable[Law]) -> OwnBelief:
    """What the finished runs of a run table say of designs (of columns, of each row), with the forms of `laws`.

    UserErrors are those of `OwnRuns.read`.
    """
    return OwnRuns.read(table, laws).asked(designs)


def _has_form(law: Law) -> bool:
    try:
        law.as_form()
    except InapplicableLaw:
        return False
    return all(variable.derive is not None for variable in law.inputs)


def _variables(law: Law, designs: Sequence[ComparedDesigns]) -> "pd.DataFrame":
    """A law's variables of all designs, one row each."""
    import pandas as pd

    columns = []
    for each in designs:
        size = np.broadcast_shapes(np.shape(each.axis("size")), np.shape(each.axis("tokens")), (1,))
        columns.append({v.name: np.broadcast_to(each.variable(v), size) for v in law.inputs})
    return pd.DataFrame({name: np.concatenate([each[name] for each in columns]) for name in columns[0]})


def _share_inside(laws: Sequence[Law], rows: "Sequence[pd.DataFrame]") -> float | None:
    """Share of the runs that lie in their 90 % intervals, each left out with a few others; None of too few."""
    number = len(rows[0])
    if number < FEWEST_RUNS:
        return None
    fold = np.random.default_rng(0).permutation(number) % _FOLDS
    held = 0
    for each in track("asking your runs about one another", range(_FOLDS), _FOLDS, "parts"):
        out = fold == each
        belief = believe(laws, [one[~out] for one in rows], [one[out] for one in rows], skip=True)
        spread = np.sqrt(np.diag(belief.covariance) + belief.noise**2)
        missed = np.abs(np.log(rows[0].loc[out, "loss"].to_numpy()) - belief.mean)
        held += int((missed <= Z90 * spread).sum())
    return held / number


def combined(direction: npt.NDArray[np.int8], probability: Array) -> npt.NDArray[np.int8]:
    """Verdicts (n,) of laws, -1, 0 or 1, with the probabilities (n,) of own runs: these decide what is open, and leave
    open what they contradict."""
    own = (probability <= 1 - SURE).astype(np.int8) - (probability >= SURE).astype(np.int8)
    return np.where(direction == 0, own, np.where(own == -direction, 0, direction)).astype(np.int8)
