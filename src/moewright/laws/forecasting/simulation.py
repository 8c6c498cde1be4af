"""What a forecast supposes: the law that is true, the models that matter, and fits to simulated losses."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moewright.complaints import check_names
from moewright.errors import UserError
from moewright.laws.catalogue import get
from moewright.laws.fitting.estimator import LawFitter
from moewright.laws.fitting.observations import LARGEST_LOSS, read_columns
from moewright.laws.fitting.reach import Reach, rolling_holdouts
from moewright.laws.fitting.uncertainty import degenerate, find_bound
from moewright.laws.formulas import six_nd
from moewright.laws.law import Law, LossForm, Optimum
from moewright.laws.variable import TRAIN_FLOPS, Array, Variable
from moewright.records import Items

if TYPE_CHECKING:
    import pandas as pd

MIXTURES = ("zhao2025", "ludziejewski2025", "krajewski2024", "abnar2025", "clark2022")
"""Published laws of mixtures, those with more variables first: asked in this order where nobody names a law."""
REACH = 4.0
"""The default target has this many times the largest run's parameters, and the most tokens."""
# Holdouts of one simulated table say nearly the same as those of another, and cost a tenth of its fit.
_REACHES = 20


# The law that is assumed, and how it came by its coefficients


@dataclass(frozen=True)
class AssumedTruth:
    """What the planned runs are assumed to follow."""

    coefficients: Mapping[str, float]
    """Of the form that is fitted."""
    loss: Array
    """Nats, one per planned run, without noise."""
    source: str
    """Where the coefficients come from, in words."""
    notes: tuple[str, ...] = ()


def assume(law: Law, truth: Law | str | None, fitter: LawFitter, table: "pd.DataFrame") -> AssumedTruth:
    """The coefficients to assume of a law's form over a table without losses; see `forecast` for the rules."""
    if truth is None:
        if "loss" in law.gives:
            return own_truth(law, table)
        truth = default_truth(law, table)
    truth = get(truth) if isinstance(truth, str) else truth
    if truth.as_loss_law().form is law.as_form().form:
        return own_truth(truth, table)
    return fitted_truth(fitter, truth, table)


def own_truth(law: Law, table: "pd.DataFrame") -> AssumedTruth:
    """A law that has coefficients, taken at its word."""
    columns = read_columns(table, law.inputs, {})
    coefficients = law.as_loss_law().coefficients_with({})
    return AssumedTruth(coefficients, _checked(law, law.bare_loss(columns)), f"{law.name} ({law.source})")


def fitted_truth(fitter: LawFitter, truth: Law, table: "pd.DataFrame") -> AssumedTruth:
    """The form of `fitter` as it follows the losses that another law gives the planned runs.

    The fitted form, not the other law, is then the truth: the forecast asks what the runs tell about the form.
    """
    given = own_truth(truth, table).loss
    law = fitter.fit(table.assign(loss=given)).law_
    coefficients = law.coefficients
    loss = _checked(law, law.bare_loss(read_columns(table, law.inputs, {})))
    missed = float(np.sqrt(np.mean((np.log(loss) - np.log(given)) ** 2)))
    source = f"{fitter.law.name} fitted to the losses that {truth.name} gives these runs, missing them by {missed:.2%}"
    return AssumedTruth(coefficients, loss, source, tuple(_unlike(fitter.law, truth)))


def default_truth(law: Law, table: "pd.DataFrame") -> Law:
    """The first published law that has a loss for every planned run; UserError where none has."""
    reasons = []
    for name in MIXTURES:
        truth = get(name)
        try:
            own_truth(truth, table)
        except UserError as error:
            reasons.append(f"{name}: {error}")
            continue
        return truth
    raise UserError(
        f"{law.name} has no coefficients to assume, and no published law gives every planned run a loss "
        f"({reasons[0]}): give truth, a law with coefficients or the file of a fitted one"
    )


def _unlike(law: Law, truth: Law) -> Iterable[str]:
    """A sentence for each column that the two laws read as different things."""
    theirs = {variable.name: variable for variable in truth.inputs}
    for variable in law.inputs:
        other = theirs.get(variable.name)
        if other is not None and other.meaning != variable.meaning:
            yield (
                f"the column {variable.name} stands for two things: in {law.name} {variable.meaning}; in {truth.name} "
                f"{other.meaning}"
            )


def _checked(law: Law, losses: Array) -> Array:
    wrong = ~(np.isfinite(losses) & (losses > 0) & (losses < LARGEST_LOSS))
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f"{law.name} gives planned run {place} the loss {losses[place]:.4g} ({wrong.sum()} such runs), which no "
            "run has: they lie too far outside the law; assume another"
        )
    return np.asarray(losses, dtype=np.float64)


# Models beyond the planned runs, and the arguments of the law's optima there


def default_target(inputs: Sequence[Variable], columns: Mapping[str, Array]) -> dict[str, float]:
    """The largest planned model (total parameters, else active) with its parameters and the most tokens times `REACH`.

    Its other variables stay as they are, so that the combination is one of the planned ones.
    """
    sizes = [name for name in ("total_params", "active_params") if name in columns]
    largest = int(np.argmax(columns[sizes[0]])) if sizes else 0
    return {
        variable.name: reach_of(variable)
        * float(columns[variable.name].max() if variable.unit == "tokens" else columns[variable.name][largest])
        for variable in inputs
    }


def reach_of(variable: Variable) -> float:
    """What the variable of a model is multiplied by, `REACH` times as large and trained so much longer."""
    return {"parameters": REACH, "tokens": REACH, "FLOPs": REACH**2}.get(variable.unit, 1.0)


def read_targets(
    targets: Any, inputs: Sequence[Variable], optimum: Optimum | None, owner: str
) -> tuple[dict[str, float], ...]:
    """Targets given as one mapping or several: every variable of the law, and arguments of its optimum if wanted."""
    given = [targets] if isinstance(targets, Mapping) else list(targets)
    if not given or not all(isinstance(target, Mapping) for target in given):
        raise UserError(
            f"{owner}: targets are mappings of the law's variables to numbers, such as {{'train_tokens': 1e9}}"
        )
    needed = {variable.name: variable for variable in inputs}
    arguments = {} if optimum is None else {item.name: item for item in (*optimum.arguments, *optimum.optional)}
    read = []
    for target in given:
        extra = [name for name in target if name in arguments and name not in needed]
        check_names(target, [*needed, *extra], owner, "variable")
        read.append({name: float({**arguments, **needed}[name].check(value, owner)) for name, value in target.items()})
    return tuple(read)


def optimum_arguments(law: LossForm, target: Mapping[str, float]) -> dict[str, float]:
    """What the optimum takes of a target; FLOPs that the target does not state are 6 N D, N the form's own size."""
    rule = law.optimum_rule
    if rule is None:
        return {}
    size = "active_params" if "active_params" in law.form.variables else "total_params"
    known = dict(target)
    if size in target and "train_tokens" in target:
        known.setdefault(TRAIN_FLOPS.name, six_nd(target[size], target["train_tokens"]))
    arguments = [variable.name for variable in (*rule.arguments, *rule.optional)]
    return {name: known[name] for name in arguments if name in known}


# Fits to simulated losses


@dataclass(frozen=True)
class SimulatedFits:
    """What fits to simulated tables found; one row of the arrays per usable fit."""

    draws: Array
    """Coefficients, (B, P)."""
    on_bound: Array
    """Share of the fits with each coefficient on a bound, (P,)."""
    undetermined: Array
    """Share of the fits whose rows cannot tell each coefficient from others, (P,)."""
    reaches: tuple[Items[Reach], ...]
    """Of the first `_REACHES` usable fits: what rolling holdouts of the planned runs would find of the form's error."""
    statuses: Mapping[str, float]
    """Share of the simulated tables by the status of their fit; refused: no usable fit."""
    messages: tuple[str, ...]


def simulate(
    fitter: LawFitter, table: "pd.DataFrame", loss: Array, noise: float, replicates: int, random: np.random.Generator
) -> SimulatedFits:
    """Fit `replicates` tables whose losses are `loss` (R,) times exp(noise z), z normal and new in every row."""
    form = fitter.law.as_form()
    names = [coefficient.name for coefficient in form.form.coefficients]
    draws, on_bound, undetermined = [], [], []
    reaches: list[Items[Reach]] = []
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for _ in range(replicates):
        # A simulated loss beyond what a table may hold is cut there, as no trainer reports worse than guessing.
        noisy = np.minimum(loss * np.exp(noise * random.standard_normal(len(loss))), LARGEST_LOSS)
        try:
            law = fitter.fit(table.assign(loss=noisy)).law_
        except UserError as error:
            statuses["refused"] += 1
            reasons[f"fits refused: {error}"] += 1
            continue
        problem, u = fitter.problem_, fitter.u_
        bound = find_bound(problem, u)
        statuses[law.status] += 1
        if law.status == "underdetermined":
            reasons[law.record.messages[0]] += 1
        draws.append(problem.coefficients(u))
        on_bound.append(bound)
        alike = degenerate(problem, u, fitter.weights_, bound)
        undetermined.append([name in alike for name in names])
        if len(reaches) < _REACHES:
            reaches.append(rolling_holdouts(problem, u, fitter.rows_, fitter.weights_, noise, form.inputs))
    shape = (len(draws), len(names))
    return SimulatedFits(
        np.array(draws).reshape(shape),
        np.array(on_bound, dtype=np.float64).reshape(shape).mean(axis=0) if draws else np.ones(len(names)),
        np.array(undetermined, dtype=np.float64).reshape(shape).mean(axis=0) if draws else np.ones(len(names)),
        tuple(reaches),
        {status: count / replicates for status, count in statuses.most_common()},
        tuple(f"{count} of {replicates} tables: {reason}" for reason, count in reasons.most_common(2)),
    )
