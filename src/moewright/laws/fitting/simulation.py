"""Fits to simulated losses of planned runs."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moewright.errors import UserError
from moewright.laws.fitting.estimator import LawFitter
from moewright.laws.fitting.identifiability import degenerate
from moewright.laws.fitting.rows import LARGEST_LOSS
from moewright.laws.fitting.status import find_bound
from moewright.laws.variable import Array

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Simulated:
    """What fits to simulated tables found; one row of the arrays per usable fit."""

    draws: Array
    """Coefficients, (B, P)."""
    on_bound: Array
    """Share of the fits with each coefficient on a bound, (P,)."""
    undetermined: Array
    """Share of the fits whose rows cannot tell each coefficient from others, (P,)."""
    statuses: Mapping[str, float]
    """Share of the simulated tables by the status of their fit; refused: no usable fit."""
    messages: tuple[str, ...]


def simulate(
    fitter: LawFitter, table: "pd.DataFrame", loss: Array, noise: float, replicates: int, random: np.random.Generator
) -> Simulated:
    """Fit `replicates` tables whose losses are `loss` (R,) times exp(noise z), z normal and new in every row."""
    assert fitter.law.form is not None
    names = [coefficient.name for coefficient in fitter.law.form.coefficients]
    draws, on_bound, undetermined = [], [], []
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
    shape = (len(draws), len(names))
    return Simulated(
        np.array(draws).reshape(shape),
        np.array(on_bound, dtype=np.float64).reshape(shape).mean(axis=0) if draws else np.ones(len(names)),
        np.array(undetermined, dtype=np.float64).reshape(shape).mean(axis=0) if draws else np.ones(len(names)),
        {status: count / replicates for status, count in statuses.most_common()},
        tuple(f"{count} of {replicates} tables: {reason}" for reason, count in reasons.most_common(2)),
    )
