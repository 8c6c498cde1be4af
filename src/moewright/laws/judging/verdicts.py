"""Which of two designs has the lower loss, where the published laws agree: for columns of designs.

The rule, from back-tests on public runs (docs/evidence.md):

- A law is heard on what its runs moved. It is silent where designs differ in size, tokens or expansion and its runs did
  not; where they differ in nothing that its runs moved; and where there are fewer training tokens for each active
  parameter than in its runs.
- Laws that take an expansion are asked twice: whether it multiplies the experts' channels, or all active parameters.
- A verdict needs two laws heard, and all of them, in both readings, on one side by more than `NOISE_NATS`.
- Where designs differ in granularity, shared experts or another open axis too, the rest must show by `OPEN_NATS`; where
  they differ in nothing else, nothing is decided.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moewright.laws.catalogue import judges
from moewright.laws.design_axes import AXES, DECIDED_AXES, AxisName
from moewright.laws.judging.compared_designs import ComparedDesigns
from moewright.laws.law import Law
from moewright.laws.variable import Array, Mask

NOISE_NATS = 0.001
"""Less is no difference: repeats of one run vary by .0105 nats (of arXiv 2605.11689; more in docs/evidence.md)."""
OPEN_NATS = 0.005
"""What each law must find where axes differ too that no law is right about: chosen on one half of the public runs."""
LEAST_LAWS = 2
TOLERANCE = 0.02
"""Designs differ on an axis by more than this, relatively; the shared share by more than this itself."""


@dataclass(frozen=True)
class Verdicts:
    """What the laws say of many comparisons (n), each of a first and a second design."""

    laws: tuple[str, ...]
    heard: Mask
    """(laws, n): whether each law may judge the comparison."""
    differences: Array
    """(laws, 2, n): loss of the first less that of the second, nats, if expansion multiplies the experts' channels
    only, and if it multiplies all active parameters. Also of laws that are not heard."""
    differs: Mapping[AxisName, Mask]
    """(n,) by axis: where the two designs are not alike."""
    direction: npt.NDArray[np.int8]
    """(n,): -1 the first has the lower loss, 1 the second has, 0 not decided."""

    def row(self, place: int) -> "Verdicts":
        """One of the comparisons, n = 1."""
        one = slice(place, place + 1)
        return Verdicts(
            laws=self.laws,
            heard=self.heard[:, one],
            differences=self.differences[:, :, one],
            differs={name: each[one] for name, each in self.differs.items()},
            direction=self.direction[one],
        )

    @property
    def decided(self) -> Mask:
        """(n,): whether either is better."""
        return np.asarray(self.direction != 0)

    @property
    def mean(self) -> Array:
        """(n,): mean difference of the laws that are heard, nats; NaN where none is."""
        with np.errstate(invalid="ignore"):
            of_laws = np.where(self.heard, self.differences.mean(axis=1), 0.0)
            return np.asarray(of_laws.sum(axis=0) / self.heard.sum(axis=0))

    @property
    def low(self) -> Array:
        """(n,): least difference of the laws that are heard, in either reading; infinite where none is."""
        return np.asarray(np.where(self.heard[:, None], self.differences, np.inf).min(axis=(0, 1)))

    @property
    def high(self) -> Array:
        """(n,): largest difference, likewise."""
        return np.asarray(np.where(self.heard[:, None], self.differences, -np.inf).max(axis=(0, 1)))

    @property
    def hangs_on_expansion(self) -> Mask:
        """(n,): not decided, and would be if it were known what expansion multiplies."""
        margin = margins(self.differs)
        alone = [_unanimous(self.heard, self.differences[:, [reading]], margin) for reading in (0, 1)]
        return np.asarray(~self.decided & may_decide(self.heard, self.differs) & ((alone[0] != 0) | (alone[1] != 0)))


def judge_columns(first: ComparedDesigns, second: ComparedDesigns, laws: Iterable[Law] | None = None) -> Verdicts:
    """Judge designs against one another: columns of n against n, or n against one.

    Thousands of candidates against one design that was chosen, each at 2T tokens:

        candidates = laws.ComparedDesigns(architecture_columns, 2e12)  # ArchitectureColumns; `known`: counts at hand
        chosen = laws.ComparedDesigns(architecture, 2e12)
        verdicts = laws.judge_columns(candidates, chosen)
        worse = verdicts.direction == 1  # the chosen one is better; 0 is undecided

    Rows of a run table become designs by `ComparedDesigns.from_columns`. `laws` are those of the catalogue that may
    judge unless given; one whose runs moved nothing is never heard.
    """
    chosen = tuple(judges() if laws is None else laws)
    return compare_designs(chosen, read_designs(first, chosen), read_designs(second, chosen))


@dataclass(frozen=True)
class ReadDesigns:
    """Designs as axes and laws have them, each read once however many others they are held against."""

    axes: Mapping[AxisName, Array]
    tokens_per_param: Array
    losses: Array
    """(laws, 2, designs): in both readings; NaN where a law is silent about a single design."""
    answered: Mask
    """(laws, designs): whether each law speaks of them."""

    def take(self, rows: npt.NDArray[np.int64]) -> "ReadDesigns":
        """The same of some designs, in any order."""
        axes = {name: column[rows] for name, column in self.axes.items()}
        return ReadDesigns(axes, self.tokens_per_param[rows], self.losses[:, :, rows], self.answered[:, rows])


def read_designs(designs: ComparedDesigns, laws: tuple[Law, ...]) -> ReadDesigns:
    """Every axis and every law of one design or of columns."""
    axes = {name: designs.axis(name) for name in AXES}
    shape = np.broadcast_shapes(*(each.shape for each in axes.values()), (1,))
    losses = [[np.broadcast_to(loss, shape) for loss in readings(law, designs)] for law in laws]
    answered = [np.broadcast_to(designs.answered_by(law), shape) for law in laws]
    return ReadDesigns(
        {name: np.broadcast_to(each, shape) for name, each in axes.items()},
        np.broadcast_to(designs.tokens_per_param(), shape),
        np.array(losses, dtype=np.float64).reshape(-1, 2, *shape),
        np.array(answered, dtype=np.bool_).reshape(-1, *shape),
    )


def join_designs(parts: Sequence[ReadDesigns]) -> ReadDesigns:
    """Designs of several readings by the same laws as one."""
    return ReadDesigns(
        {name: np.concatenate([part.axes[name] for part in parts]) for name in AXES},
        np.concatenate([part.tokens_per_param for part in parts]),
        np.concatenate([part.losses for part in parts], axis=2),
        np.concatenate([part.answered for part in parts], axis=1),
    )


def compare_designs(laws: tuple[Law, ...], first: ReadDesigns, second: ReadDesigns) -> Verdicts:
    """The verdicts of `judge_columns`, of designs that these laws have read."""
    differs = {name: _differ(name, first.axes[name], second.axes[name]) for name in AXES}
    tokens_per_param = np.minimum(first.tokens_per_param, second.tokens_per_param)
    answers = np.asarray(first.answered & second.answered)
    heard = np.array([_hears(law, differs, tokens_per_param) for law in laws]).reshape(answers.shape) & answers
    differences = first.losses - second.losses
    allowed = may_decide(heard, differs)
    direction = np.where(allowed, _unanimous(heard, differences, margins(differs)), 0).astype(np.int8)
    return Verdicts(tuple(law.name for law in laws), heard, differences, differs, direction)


def readings(law: Law, designs: ComparedDesigns) -> tuple[Array, Array]:
    """The law's losses of designs if expansion multiplies the experts' channels only, and if it multiplies all that is
    active; the same twice for a law that takes no expansion. NaN where a law is silent."""
    if designs.silence_of(law) is not None:
        silent = np.full(np.shape(designs.axis("size")), np.nan)
        return silent, silent
    variables = {variable.name: designs.variable(variable) for variable in law.inputs}
    expansion = law.judges.expansion
    with np.errstate(all="ignore"):  # formulas may leave their numbers far outside their runs; such laws find NaN
        if expansion is None:
            loss = np.asarray(law.judges.loss(law, variables))
            return loss, loss
        values = expansion.readings(designs.axis("expansion"), designs.total_over_active())
        of_channels, of_all = (
            np.asarray(law.judges.loss(law, {**variables, expansion.name: value})) for value in values
        )
    return of_channels, of_all


def may_decide(heard: Mask, differs: Mapping[AxisName, Mask]) -> Mask:
    """(n,): whether enough laws are heard, and about something that laws have been right about."""
    return np.asarray((heard.sum(axis=0) >= LEAST_LAWS) & _any_of(differs, DECIDED_AXES))


def margins(differs: Mapping[AxisName, Mask]) -> Array:
    """(n,): the difference that every law must find, nats."""
    return np.asarray(np.where(_any_of(differs, AXES.keys() - DECIDED_AXES), OPEN_NATS, NOISE_NATS))


def _hears(law: Law, differs: Mapping[AxisName, Mask], tokens_per_param: Array) -> Mask:
    moved = law.judges.moved
    sees = _any_of(differs, moved) & ~_any_of(differs, DECIDED_AXES - moved)
    return np.asarray(sees & (tokens_per_param >= law.judges.least_tokens_per_param * (1 - TOLERANCE)))


def _unanimous(heard: Mask, differences: Array, margin: Array) -> npt.NDArray[np.int8]:
    """(n,): -1 where all that are heard find the first better by the margin, 1 where the second, else 0."""
    sides = [(~heard[:, None] | (sign * differences > margin)).all(axis=(0, 1)) for sign in (-1, 1)]
    some = heard.any(axis=0)
    return np.asarray((some & sides[1]).astype(np.int8) - (some & sides[0]).astype(np.int8))


def _differ(name: AxisName, first: Array, second: Array) -> Mask:
    gap = np.abs(first - second)
    return np.asarray(gap > (TOLERANCE if name == "shared_share" else TOLERANCE * np.maximum(first, second)))


def _any_of(differs: Mapping[AxisName, Mask], names: Iterable[AxisName]) -> Mask:
    none = np.zeros_like(next(iter(differs.values())))
    return np.asarray(np.logical_or.reduce([none, *(differs[name] for name in sorted(names))]))
