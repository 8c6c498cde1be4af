"""The laws that may judge a choice of experts, each as columns of losses and as proven bounds of them.

Each law says itself whether it may (`Law.judges`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from moewright.architecture import Architecture, counts, variables
from moewright.architecture.spec import Countable
from moewright.designs.budgets import Budgets
from moewright.designs.candidates import Candidates, by_plan, columns
from moewright.designs.costs import hours_per_token, trained_on
from moewright.designs.intervals import IntervalColumn, interval, lower, upper
from moewright.designs.space import Space
from moewright.errors import UserError
from moewright.laws import FittedLaw, Law, derive, resolve_law
from moewright.laws import judges as published_judges
from moewright.laws.fitting.fitted_law import check_once
from moewright.laws.law import ExpansionVariable, Judgement, LossLaw
from moewright.laws.variable import Array, Status, Variable

ACTIVE = counts.active_params_non_embedding


@dataclass(frozen=True)
class JudgingLaw:
    """A law that may judge, with the losses that it gives to columns of designs."""

    law: Law
    evaluate: Callable[[Mapping[str, Any]], Any]
    """Losses of the law's variables, numbers, columns or columns of intervals."""
    reading: int | None = None
    """What its expansion multiplies: 0 the experts' channels, 1 all active parameters; None: the law's own variable."""

    @property
    def name(self) -> str:
        """The law's name."""
        return self.law.name

    @property
    def inputs(self) -> tuple[Variable, ...]:
        """What the loss is computed from."""
        return self.law.inputs

    def value(self, variable: Variable, at: "DesignVariables") -> Any:
        """One of its variables, its expansion as it is read here."""
        expansion = self.law.judges.expansion
        if self.reading is None or expansion is None or variable.name != expansion.name:
            return at.of(variable)
        return at.expansion(expansion)[self.reading]


class DesignVariables:
    """Variables of columns of designs, each computed once for all the laws that take it."""

    def __init__(self, candidates: Candidates, budgets: Budgets, space: Space) -> None:
        self._architecture = columns(candidates, space.vocab_size)
        vocabulary = candidates.vocabulary_params(space.vocab_size)
        total, active = candidates.count("total_params"), candidates.count("active_params")
        self._known: dict[Any, Any] = {}
        if total is not None and active is not None:
            self._known = {
                counts.total_params: total,
                counts.total_params_non_embedding: total - vocabulary,
                derive.active_params_with_embedding: active,
                counts.active_params_non_embedding: active - vocabulary,
                derive.six_active_params_non_embedding: 6 * (active - vocabulary),
            }
        added = np.array(space.plan_nats)
        self.added_nats: Any = added[candidates.layer_plan] if added.any() else 0.0
        """What is believed of axes that no law sees."""
        self._readings: dict[ExpansionVariable, tuple[Any, Any]] = {}
        flops = candidates.count("training_flops")
        if budgets.train_flops is not None and flops is not None:
            self.train_tokens: Any = budgets.train_flops / flops
        else:
            self.train_tokens = by_plan(
                candidates, lambda some, _: training_tokens(columns(some, space.vocab_size), budgets)
            )

    def expansion(self, variable: ExpansionVariable) -> tuple[Any, Any]:
        """A law's expansion in both of its readings, rising or falling with the expert size."""
        if variable not in self._readings:
            stored = variables.stored_over_used_width(self._architecture)
            held, used = (self._count(c) for c in (counts.total_params_non_embedding, ACTIVE))
            self._readings[variable] = variable.readings(stored, held / used)
        return self._readings[variable]

    def size(self) -> Any:
        """Active parameters without the vocabulary's."""
        return self._count(ACTIVE)

    def of(self, variable: Variable) -> Any:
        """The variable as a column, or as a number where it is the same for all designs."""
        assert variable.derive is not None
        value = self._count(variable.derive)
        return value * self.train_tokens if variable.per_token else value

    def _count(self, derive: Callable[[Any], Any]) -> Any:
        if derive not in self._known:
            self._known[derive] = derive(self._architecture)
        return self._known[derive]


def training_tokens(architecture: Countable[Any], budgets: Budgets) -> Any:
    """Training tokens: the budget's, or what its FLOPs or device-hours pay for (a column for columns)."""
    if budgets.train_tokens is not None:
        return budgets.train_tokens
    if budgets.train_flops is not None:
        per_token = counts.trained_flops_per_token(architecture, budgets.tokens_per_sequence)
        return budgets.train_flops / np.asanyarray(per_token, dtype=np.float64)
    assert budgets.train_device_hours is not None
    hours = hours_per_token(architecture, budgets, trained_on(budgets)[0])[1]
    return budgets.train_device_hours / np.asanyarray(hours, dtype=np.float64)


def losses(judge: JudgingLaw, at: DesignVariables) -> Array:
    """The law's loss of every design, in nats of its own tokenizer, and what is believed of axes that it misses."""
    found = judge.evaluate({v.name: np.asarray(judge.value(v, at), dtype=np.float64) for v in judge.inputs})
    return np.asarray(found + at.added_nats)


def loss_of(judge: JudgingLaw, architecture: Architecture, budgets: Budgets) -> float:
    """The law's loss of one architecture of any kind; InapplicableLaw where it says nothing about it."""
    tokens = float(training_tokens(architecture, budgets))
    return float(judge.evaluate(judge.law.variables(architecture, train_tokens=tokens)))


def least_losses(judge: JudgingLaw, narrow: DesignVariables, wide: DesignVariables) -> Array:
    """A lower bound of the law's loss over all expert sizes from those of `narrow` to those of `wide`.

    Every variable is monotone in the expert size when all else is fixed, so it lies between its values at both ends;
    the law's formula does the rest in interval arithmetic.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        bounds = lower(
            judge.evaluate({v.name: interval(judge.value(v, narrow), judge.value(v, wide)) for v in judge.inputs})
        )
    return np.asarray(np.where(np.isnan(bounds), -np.inf, bounds) + narrow.added_nats)


def choose_judges(wanted: Iterable[str | Path | Law] | None, budgets: Budgets) -> tuple[JudgingLaw, ...]:
    """The judging laws for a list of laws: names restrict the published ones, fitted laws join whatever is there.

    Raises UserError for a law that cannot see the choice, with the reason.
    """
    laws = [resolve_law(law) for law in wanted or ()]
    named = [law for law in laws if not isinstance(law, FittedLaw)]
    fitted = [law for law in laws if isinstance(law, FittedLaw)]
    chosen = [*(named or published_judges()), *fitted]
    check_once(chosen)
    judges = tuple(judging_law(law) for law in chosen)
    blind = [judge.name for judge in judges if not sees(judge, budgets)]
    named_blind = next((law.name for law in laws if law.name in blind), None)
    if named_blind is not None:
        raise UserError(
            f"law: {named_blind} does not see training tokens, which differ between designs of equal training FLOPs; "
            "leave it out or give --train-tokens"
        )
    return tuple(judge for judge in judges if judge.name not in blind)


def published_that_judge(judges: Iterable[JudgingLaw]) -> list[Law]:
    """The published laws among them of whose runs it is known what they moved: those that `laws.judge` hears."""
    return [each.law for each in judges if not isinstance(each.law, FittedLaw) and each.law.judges.moved]


def sees(judge: JudgingLaw, budgets: Budgets) -> bool:
    """Whether the law sees all that differs between designs: tokens too, where FLOPs or hours are held fixed."""
    return budgets.train_tokens is not None or any(variable.per_token for variable in judge.inputs)


def judging_law(law: Law) -> JudgingLaw:
    """A law as one that judges; UserError says why it may not."""
    others = ", ".join(other.name for other in published_judges())
    if law.judges.reason is not None:
        raise UserError(f"law: {law.name} cannot judge mixtures: {law.judges.reason}; use {others}")
    foreign = next((variable.name for variable in law.inputs if variable.derive is None), None)
    if foreign is not None:
        raise UserError(f"law: {law.name} takes {foreign}, which a design and its tokens do not give; it cannot rank")
    return JudgingLaw(law, law.bare_loss if law.judges.dense is None else partial(_through_dense, law.judges))


def domain(judge: JudgingLaw, architecture: Architecture, budgets: Budgets) -> dict[str, Status]:
    """Where a design lies against the runs behind the law, by variable and by what those runs held fixed."""
    tokens = float(training_tokens(architecture, budgets))
    at = {variable.name: float(variable.of(architecture, tokens)) for variable in judge.inputs}
    return judge.law.domain(**at) | judge.law.conditions(architecture, train_tokens=tokens)


def _through_dense(how: Judgement, at: Mapping[str, Any]) -> Any:
    """A dense law's compute-optimal loss where a law has none of its own."""
    assert how.dense is not None
    assert how.dense_flops is not None
    compute = how.dense_flops(at)
    if isinstance(compute, IntervalColumn):  # the loss falls as the compute grows
        return IntervalColumn(*(_least_loss(how.dense, end(compute)) for end in (upper, lower)))
    return _least_loss(how.dense, compute)


def _least_loss(dense: LossLaw, train_flops: Any) -> Any:
    """Of the compute-optimal model; unchecked, for whatever the formula's arithmetic accepts."""
    assert dense.optimum_rule is not None
    with np.errstate(all="ignore"):
        return dense.optimum_rule.solve(dense.coefficients_with({}), train_flops=train_flops)["loss"]
