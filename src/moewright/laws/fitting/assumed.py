"""The law that a forecast assumes to be true, and how it came by its coefficients."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moewright.errors import UserError
from moewright.laws.catalogue import get
from moewright.laws.fitting.estimator import LawFitter
from moewright.laws.fitting.rows import LARGEST_LOSS, read_columns
from moewright.laws.law import Law
from moewright.laws.variable import Array, Variable

if TYPE_CHECKING:
    import pandas as pd

# Asked in this order when a form without coefficients is given no truth: laws of mixtures, more variables first.
_TRUTHS = ("zhao2025", "ludziejewski2025", "krajewski2024", "abnar2025", "clark2022")


@dataclass(frozen=True)
class Assumed:
    """What the planned runs are assumed to follow."""

    coefficients: Mapping[str, float]
    """Of the form that is fitted."""
    loss: Array
    """Nats, one per planned run, without noise."""
    source: str
    """Where the coefficients come from, in words."""
    notes: tuple[str, ...] = ()


def own_truth(law: Law, table: "pd.DataFrame") -> Assumed:
    """A law that has coefficients, taken at its word."""
    columns = read_columns(table, _inputs(law), {})
    coefficients = law.coefficients_with({})
    return Assumed(coefficients, _checked(law, law.bare_loss(columns)), f"{law.name} ({law.source})")


def fitted_truth(fitter: LawFitter, truth: Law, table: "pd.DataFrame") -> Assumed:
    """The form of `fitter` as it follows the losses that another law gives the planned runs.

    The fitted form, not the other law, is then the truth: the forecast asks what the runs tell about the form.
    """
    given = own_truth(truth, table).loss
    law = fitter.fit(table.assign(loss=given)).law_
    coefficients = law.coefficients
    loss = _checked(law, law.bare_loss(read_columns(table, _inputs(law), {})))
    missed = float(np.sqrt(np.mean((np.log(loss) - np.log(given)) ** 2)))
    source = f"{fitter.law.name} fitted to the losses that {truth.name} gives these runs, missing them by {missed:.2%}"
    return Assumed(coefficients, loss, source, tuple(_unlike(fitter.law, truth)))


def default_truth(law: Law, table: "pd.DataFrame") -> Law:
    """The first published law that has a loss for every planned run; UserError where none has."""
    reasons = []
    for name in _TRUTHS:
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
    theirs = {variable.name: variable for variable in _inputs(truth)}
    for variable in _inputs(law):
        other = theirs.get(variable.name)
        if other is not None and other.meaning != variable.meaning:
            yield (
                f"the column {variable.name} stands for two things: in {law.name} {variable.meaning}; in {truth.name} "
                f"{other.meaning}"
            )


def _inputs(law: Law) -> list[Variable]:
    assert law.form is not None
    return [variable for variable in law.inputs if variable.name in law.form.variables]


def _checked(law: Law, losses: Array) -> Array:
    wrong = ~(np.isfinite(losses) & (losses > 0) & (losses < LARGEST_LOSS))
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f"{law.name} gives planned run {place} the loss {losses[place]:.4g} ({wrong.sum()} such runs), which no "
            "run has: they lie too far outside the law; assume another"
        )
    return np.asarray(losses, dtype=np.float64)
