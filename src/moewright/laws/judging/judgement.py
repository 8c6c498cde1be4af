"""Two models judged: which has the lower loss, by which laws, on which axes they differ, and what that assumes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from moewright.architecture import Architecture
from moewright.display import Shown
from moewright.errors import UserError
from moewright.laws.catalogue import judges
from moewright.laws.design_axes import AXES, DECIDED_AXES
from moewright.laws.judging.compared_designs import ComparedDesigns
from moewright.laws.judging.own_runs import SURE, OwnBelief, OwnOpinion, ask_own_runs, combined
from moewright.laws.judging.verdicts import (
    LEAST_LAWS,
    Verdicts,
    compare_designs,
    join_designs,
    margins,
    read_designs,
)
from moewright.laws.law import Law
from moewright.laws.variable import TRAIN_TOKENS
from moewright.records import Items, Record

if TYPE_CHECKING:
    import pandas as pd

Side = Literal["first", "second"]
SAME_TRAINING = "same data, and learning rates tuned for each: a rate that is not tuned can turn a verdict round"
EITHER_READING = "holds whether expansion multiplies all active parameters or the experts' channels only"


class AxisDifference(Record):
    """An axis on which two designs are not alike."""

    axis: str
    meaning: str
    first: float
    second: float
    open: str | None
    """Why laws alone never decide such a difference; null where they can."""


class LawOpinion(Record):
    """What one law says of two designs."""

    law: str
    heard: bool
    reason: str | None
    """Why it is not heard."""
    difference: Items[float] | None
    """Loss of the first less that of the second, nats: if expansion multiplies the experts' channels only, and if it
    multiplies all active parameters. Null for a law that is not heard."""


class JudgedPair(Shown, Record):
    """Two designs judged; `first` and `second` are what they are called."""

    first: str
    second: str
    decided: bool
    """Whether one of them is better."""
    better: Side | None
    reason: str
    mean: float | None
    """Mean of the laws that are heard: loss of the first less that of the second, nats; where own runs decide, what
    they expect. Null unless decided."""
    low: float | None
    high: float | None
    differs: Items[AxisDifference]
    laws: Items[LawOpinion]
    own: OwnOpinion | None
    """What a user's own runs say; null without any."""
    assumes: Items[str]

    @property
    def heard(self) -> tuple[str, ...]:
        """The laws that may judge this comparison."""
        return tuple(opinion.law for opinion in self.laws if opinion.heard)

    @property
    def by_own_runs(self) -> bool:
        """Whether a user's own runs decided it, which the laws left open."""
        return self.decided and self.own is not None and self.mean == self.own.difference

    def _facts(self) -> Mapping[str, Any]:
        return {"first": self.first, "second": self.second, "better": self.better, "reason": self.reason}


def judge(
    first: Architecture,
    second: Architecture,
    *,
    train_tokens: float | tuple[float, float],
    law: Iterable[Law] | None = None,
    own: "pd.DataFrame | OwnBelief | None" = None,
    names: tuple[str, str] = ("the first", "the second"),
) -> JudgedPair:
    """Which of two models has the lower loss after so many training tokens (one number, or one for each).

    The rule is that of `verdicts`: all published laws that may judge the comparison agree, beyond noise. `law`
    restricts them. `own` is a run table of one's own (or what it says of these two models in this order): it decides
    what the laws leave open where it is sure (`own_runs.SURE`), and what it contradicts is left open. UserError for a
    law that may not rank mixtures, or of whose runs nobody says what they moved.

    >>> from moewright import hf, laws
    >>> large, small = (hf.load_architecture(name).architecture for name in ("qwen3-30b-a3b", "olmoe-1b-7b"))
    >>> verdict = laws.judge(large, small, train_tokens=2e12)
    >>> verdict.better, verdict.reason
    ('first', 'all 5 laws that may judge it agree, beyond noise')
    """
    chosen = laws_to_hear(law)
    tokens = train_tokens if isinstance(train_tokens, tuple) else (train_tokens, train_tokens)
    for count in tokens:
        TRAIN_TOKENS.check(count, "judge")
    designs = ComparedDesigns(first, float(tokens[0])), ComparedDesigns(second, float(tokens[1]))
    belief = own if own is None or isinstance(own, OwnBelief) else ask_own_runs(own, designs, chosen)
    return judge_pairs(designs, chosen, belief, names)[0]


def judge_pairs(
    designs: Sequence[ComparedDesigns], laws: tuple[Law, ...], own: OwnBelief | None, names: Sequence[str]
) -> tuple[JudgedPair, ...]:
    """Every two of some models, in their order; each law reads each model once. `own` is about them in this order."""
    read = join_designs([read_designs(each, laws) for each in designs])
    first, second = np.triu_indices(len(designs), 1)
    verdicts = compare_designs(laws, read.take(first), read.take(second))
    farthest = [_farthest(laws, each) for each in designs]
    return tuple(
        _judged_pair(
            verdicts.row(row),
            laws,
            (designs[one], designs[other]),
            (names[one], names[other]),
            (farthest[one], farthest[other]),
            None if own is None else own.opinion(one, other),
        )
        for row, (one, other) in enumerate(zip(first.tolist(), second.tolist(), strict=True))
    )


Farthest = Mapping[str, tuple[float, str] | None]
"""By law that speaks of a model: how far outside its runs this lies at most, and in what; None where its source states
no sizes."""


def _judged_pair(
    verdicts: Verdicts,
    laws: tuple[Law, ...],
    designs: tuple[ComparedDesigns, ComparedDesigns],
    names: tuple[str, str],
    farthest: tuple[Farthest, Farthest],
    told: OwnOpinion | None,
) -> JudgedPair:
    """One comparison in words."""
    by_laws = int(verdicts.direction[0])
    direction = by_laws
    if told is not None and told.probability is not None:
        direction = int(combined(verdicts.direction, np.array([told.probability]))[0])
    better: Side | None = {-1: "first", 1: "second", 0: None}[direction]
    opinions = tuple(_opinion(law, place, verdicts, designs) for place, law in enumerate(laws))
    mean, low, high = None, None, None
    if better is not None and by_laws:
        mean, low, high = (float(each[0]) for each in (verdicts.mean, verdicts.low, verdicts.high))
    elif better is not None and told is not None:
        mean, low, high = told.difference, told.low, told.high
    reason = _reason(verdicts, opinions, names)
    return JudgedPair(
        first=names[0],
        second=names[1],
        decided=better is not None,
        better=better,
        reason=reason if told is None else _with_own(reason, by_laws, told, names),
        mean=mean,
        low=low,
        high=high,
        differs=_differences(verdicts, designs),
        laws=opinions,
        own=told,
        assumes=_assumptions(verdicts, farthest, names),
    )


def laws_to_hear(laws: Iterable[Law] | None) -> tuple[Law, ...]:
    """The laws to hear; UserError for one that can never be heard."""
    chosen = tuple(judges() if laws is None else laws)
    for law in chosen:
        if law.judges.reason is not None:
            raise UserError(f"law: {law.name} cannot judge mixtures: {law.judges.reason}")
        if not law.judges.moved:
            raise UserError(
                f"law: what the runs behind {law.name} moved is not known, so it is not heard; leave it out"
            )
    return chosen


def _differences(verdicts: Verdicts, designs: tuple[ComparedDesigns, ComparedDesigns]) -> tuple[AxisDifference, ...]:
    return tuple(
        AxisDifference(
            axis=name,
            meaning=axis.meaning,
            first=float(designs[0].axis(name)),
            second=float(designs[1].axis(name)),
            open=axis.open,
        )
        for name, axis in AXES.items()
        if verdicts.differs[name][0]
    )


def _opinion(law: Law, place: int, verdicts: Verdicts, designs: tuple[ComparedDesigns, ComparedDesigns]) -> LawOpinion:
    heard = bool(verdicts.heard[place, 0])
    found = verdicts.differences[place, :, 0]
    reason = None if heard else _why_not_heard(law, verdicts, designs)
    return LawOpinion(law=law.name, heard=heard, reason=reason, difference=tuple(map(float, found)) if heard else None)


def _why_not_heard(law: Law, verdicts: Verdicts, designs: tuple[ComparedDesigns, ComparedDesigns]) -> str:
    silence = next((reason for reason in (each.silence_of(law) for each in designs) if reason), None)
    if silence is not None:
        return silence
    differing = [name for name, differs in verdicts.differs.items() if differs[0]]
    fixed = [name for name in differing if name in DECIDED_AXES and name not in law.judges.moved]
    if fixed:
        return f"its runs did not move {' and '.join(_words(name) for name in fixed)}"
    if not law.judges.moved.intersection(differing):
        return "its runs moved nothing in which the two differ"
    fewest = min(float(each.tokens_per_param()) for each in designs)
    return (
        f"{fewest:.3g} training tokens for each active parameter; its runs had {law.judges.least_tokens_per_param:.3g} "
        "or more"
    )


def _reason(verdicts: Verdicts, opinions: tuple[LawOpinion, ...], names: tuple[str, str]) -> str:
    heard = [opinion for opinion in opinions if opinion.heard]
    differing = [name for name, differs in verdicts.differs.items() if differs[0]]
    if verdicts.decided[0]:
        return f"all {len(heard)} laws that may judge it agree, beyond noise"
    if not differing:
        return "the two are alike on every axis that a law sees"
    if not DECIDED_AXES.intersection(differing):
        words = " and ".join(_words(name) for name in differing)
        return f"they differ in {words} only, which laws alone never decide"
    if len(heard) < LEAST_LAWS:
        return f"{len(heard) or 'no'} law{'' if len(heard) == 1 else 's'} may judge it; two must agree"
    margin = float(margins(verdicts.differs)[0])
    if verdicts.hangs_on_expansion[0]:
        return "it hangs on whether expansion multiplies all active parameters or the experts' channels only"
    sides = {"first": [], "second": []}  # type: dict[str, list[str]]
    for opinion in heard:
        assert opinion.difference is not None
        if max(opinion.difference) < -margin:
            sides["first"].append(opinion.law)
        elif min(opinion.difference) > margin:
            sides["second"].append(opinion.law)
    unsure = [opinion.law for opinion in heard if opinion.law not in (*sides["first"], *sides["second"])]
    if sides["first"] and sides["second"]:
        return f"laws disagree: {_list(sides['first'])} for {names[0]}, {_list(sides['second'])} for {names[1]}"
    return f"{_list(unsure)} find{'s' if len(unsure) == 1 else ''} no difference above {margin:g} nats"


def _with_own(reason: str, by_laws: int, told: OwnOpinion, names: tuple[str, str]) -> str:
    """The laws' reason, and what own runs add to it."""
    if told.probability is None:
        return f"{reason}; your runs are not heard: {told.reason}"
    side, sure = (names[0], told.probability) if told.probability >= 0.5 else (names[1], 1 - told.probability)
    said = "say" if sure >= SURE else "cannot tell:"
    yours = f"your {told.runs} runs {said} {side} with probability {sure:.2f}"
    if by_laws:
        agrees = (told.probability > 0.5) == (by_laws < 0)
        return f"{reason}; {yours}" if agrees or sure < SURE else f"{reason}, but {yours}"
    return f"{yours}; of the laws, {reason}" if sure >= SURE else f"{reason}; {yours}"


def _assumptions(verdicts: Verdicts, farthest: tuple[Farthest, Farthest], names: tuple[str, str]) -> tuple[str, ...]:
    if not verdicts.heard[:, 0].any():
        return ()
    found = []
    apart = np.abs(np.diff(verdicts.differences[:, :, 0], axis=1))[:, 0]
    if verdicts.decided[0] and (apart[verdicts.heard[:, 0]] > 0).any():
        found.append(EITHER_READING)
    if verdicts.hangs_on_expansion[0]:
        for reading, words in ((0, "the experts' channels only"), (1, "all active parameters")):
            losses = verdicts.differences[verdicts.heard[:, 0], reading, 0]
            margin = float(margins(verdicts.differs)[0])
            side = "it is not decided either"
            if losses.max() < -margin or losses.min() > margin:
                side = f"{names[0] if losses.max() < 0 else names[1]} is better"
            found.append(f"if expansion multiplies {words}, {side}")
    heard = [name for name, hears in zip(verdicts.laws, verdicts.heard[:, 0], strict=True) if hears]
    both = [(farthest[0][name], farthest[1][name]) for name in heard]
    stated = [max(one, other) for one, other in both if one is not None and other is not None]
    if stated and min(stated)[0] > 1:
        factor, variable = min(stated)
        found.append(f"even the nearest law extrapolates: {_words(variable)} {factor:.3g} times outside its runs")
    return (*found, SAME_TRAINING)


def _farthest(laws: tuple[Law, ...], design: ComparedDesigns) -> Farthest:
    found: dict[str, tuple[float, str] | None] = {}
    for law in laws:
        if design.silence_of(law) is not None:
            continue
        domain = law.domain(**{variable.name: design.variable(variable) for variable in law.inputs})
        unstated = any(status.status == "unstated" for status in domain.values())
        found[law.name] = None if unstated else max((float(status.factor), name) for name, status in domain.items())
    return found


def _words(name: str) -> str:
    return name.replace("_", " ")


def _list(names: list[str]) -> str:
    return ", ".join(names)
