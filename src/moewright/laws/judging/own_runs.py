"""What a user's own runs say of designs that the published laws leave open.

Runs of one recipe, small ones too, move what the laws expect: the forms of the laws that may judge, around their
published coefficients, with what the forms miss as a smooth function, are conditioned on the runs (`selection.belief`),
and weighted by how likely the runs are under each. Of two designs that gives the probability that a run of the first
ends lower. The runs are heard where the same, asked about runs of the table that it was not shown, says what it
should (`least_inside`). Back-tested on public tables: `tests/benchmarks/own_runs_replay.py` (docs/evidence.md).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from moewright.errors import UserError
from moewright.laws.judging.compared_designs import COUNTED, DESIGN_SIZES, ComparedDesigns
from moewright.laws.law import InapplicableLaw, Law
from moewright.laws.selection.belief import Belief, believe
from moewright.laws.selection.question import Z90, upper_tail
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
        told: dict[str, Any] = dict.fromkeys(("probability", "difference", "low", "high", "laws"))
        if self.belief is not None:
            mean, deviation = (float(each) for each in self._difference(first, second))
            # The belief is about log losses.
            level = float(np.exp((self.belief.mean[first] + self.belief.mean[second]) / 2))
            told["probability"] = float(self.probabilities(first, second))
            told["difference"] = level * mean
            told["low"], told["high"] = level * (mean - Z90 * deviation), level * (mean + Z90 * deviation)
            told["laws"] = self.belief.weights
        return OwnOpinion(runs=self.runs, inside=self.inside, heard=self.belief is not None, reason=self.reason, **told)

    def _difference(self, first: Any, second: Any) -> tuple[Array, Array]:
        """Mean and deviation of log loss of `first` less that of `second`, of one new run each."""
        assert self.belief is not None, self.reason
        spread = self.belief.covariance
        variance = spread[first, first] + spread[second, second] - 2 * spread[first, second]
        variance = variance + 2 * self.belief.noise**2
        return np.asarray(self.belief.mean[first] - self.belief.mean[second]), np.sqrt(np.maximum(variance, 1e-18))


def ask_own_runs(table: "pd.DataFrame", designs: Sequence[ComparedDesigns], laws: Iterable[Law]) -> OwnBelief:
    """What the finished runs of a run table say of designs (of columns, of each row), with the forms of `laws`.

    Models of the table are read from its columns (`ComparedDesigns.from_columns`). UserError where one is missing, no
    run has a loss, or no law has a form that its runs could move.
    """
    from moewright.runs.schema import FINISHED  # the package loads pandas

    needed = (*DESIGN_SIZES, *COUNTED, TRAIN_TOKENS.name, "loss")
    missing = [name for name in needed if name not in table]
    if missing:
        raise UserError(f"own: the run table has no column {missing[0]}, which every run must have (docs/run_table.md)")
    finished = table["status"] == FINISHED if "status" in table else True
    table = table[finished & table["loss"].notna()]
    if table.empty:
        raise UserError("own: no finished run has a loss")
    for name in needed:
        if table[name].isna().any():
            raise UserError(f"own: {int(table[name].isna().sum())} finished runs have no {name}; leave them out")
    forms = [law for law in laws if _has_form(law)]
    if not forms:
        raise UserError("own: none of the laws has a form that runs could move; name others with --law")
    own = ComparedDesigns.from_columns({str(name): table[name].to_numpy() for name in table})
    speaking = [law for law in forms if all(each.silence_of(law) is None for each in designs)]
    if not speaking:
        return OwnBelief(len(table), None, None, "no law whose form the runs could move speaks of these models")
    rows = [_variables(law, [own]).assign(loss=table["loss"].to_numpy(dtype=float)) for law in speaking]
    inside = _share_inside(speaking, rows)
    if inside is None:
        return OwnBelief(
            len(table), None, None, f"{len(table)} runs; {FEWEST_RUNS} are needed to see how well they predict"
        )
    if inside < LEAST_INSIDE:
        reason = (
            f"of runs that were left out only {inside:.0%} lie in their 90 % intervals: of one recipe, and converged?"
        )
        return OwnBelief(len(table), inside, None, reason)
    belief = believe(speaking, rows, [_variables(law, designs) for law in speaking], skip=True)
    return OwnBelief(len(table), inside, belief, None)


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
