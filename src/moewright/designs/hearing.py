"""Which laws are heard on the designs of a search, by the rule of `laws.judge`: each on what its runs moved.

Designs of a search differ in size and expansion, and in tokens where FLOPs or hours are held fixed. A law is heard
whose runs moved all of these, at no more training tokens for each active parameter than any design gets; one that takes
an expansion is heard in both readings. A law fitted to a user's own runs is heard because the user says so. Where no
law is left the laws that were asked for are heard as they are, and the answer says that none of them may judge.
"""

from dataclasses import dataclass, replace

import numpy as np

from moewright.designs.branch_and_bound import FeasibleSet, SearchProblem
from moewright.designs.judges import JudgingLaw
from moewright.laws import FittedLaw
from moewright.laws.design_axes import DECIDED_AXES
from moewright.laws.judging.verdicts import LEAST_LAWS, OPEN_NATS, TOLERANCE
from moewright.laws.variable import Array

BEATS_BY = OPEN_NATS
"""Nats by which every law that is heard must find one design better: any two shapes differ on open axes too."""
BACK_TESTED = 0.98
"""Share of the verdicts of `laws.judge` that public runs bear out, on the worst table (docs/evidence.md)."""


@dataclass(frozen=True)
class Hearing:
    """The laws that are heard, and why the others are not."""

    readings: tuple[JudgingLaw, ...]
    """Once for each reading."""
    silent: dict[str, str]
    """By law; of those that are heard too where none may judge."""
    may_judge: bool = True
    """Whether those that are heard may judge; else they are heard as they are, for want of any that may."""

    @property
    def laws(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(dict.fromkeys(judge.name for judge in self.readings))

    @property
    def confidence(self) -> float | None:
        """Share of such verdicts that public runs bear out; None where they do not speak of it: of fewer than two
        published laws that may judge."""
        published = {judge.name for judge in self.readings if not isinstance(judge.law, FittedLaw)}
        return BACK_TESTED if self.may_judge and len(published) >= LEAST_LAWS else None

    def mean_by_law(self, losses: Array) -> Array:
        """(designs,): the mean over laws of the mean over readings, from (readings, designs)."""
        names = [judge.name for judge in self.readings]
        weights = np.array([1 / names.count(name) for name in names]) / len(self.laws)
        return np.asarray(weights @ losses)


def hear(problem: SearchProblem, within: FeasibleSet) -> Hearing:
    """The laws that are heard on the designs within the budgets."""
    moving = DECIDED_AXES if problem.budgets.train_tokens is None else DECIDED_AXES - {"tokens"}
    fewest = _fewest_tokens_per_param(problem, within)
    heard: list[JudgingLaw] = []
    silent: dict[str, str] = {}
    for judge in problem.judges:
        how = judge.law.judges
        fixed = sorted(moving - how.moved)
        if isinstance(judge.law, FittedLaw):
            heard.append(judge)
        elif fixed:
            silent[judge.name] = f"its runs did not move {' and '.join(fixed)}"
        elif fewest < how.least_tokens_per_param * (1 - TOLERANCE):
            silent[judge.name] = (
                f"some design gets {fewest:.3g} training tokens for each active parameter; its runs had "
                f"{how.least_tokens_per_param:.3g} or more"
            )
        else:
            heard += _readings(judge)
    return Hearing(tuple(heard), silent) if heard else Hearing(problem.judges, silent, may_judge=False)


def _readings(judge: JudgingLaw) -> list[JudgingLaw]:
    if judge.law.judges.expansion is None:
        return [judge]
    return [replace(judge, reading=reading) for reading in (0, 1)]


def _fewest_tokens_per_param(problem: SearchProblem, within: FeasibleSet) -> float:
    """Over all designs within the budgets: the widest experts of a group have the most active parameters."""
    fewest = np.inf
    for ranges in within:
        at = problem.variables(ranges.widest)
        fewest = min(fewest, float(np.min(np.asarray(at.train_tokens) / at.size())))
    return fewest
