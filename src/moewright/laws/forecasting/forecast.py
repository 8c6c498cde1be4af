"""What a set of planned runs would tell about a law, before anyone pays for them.

A law is assumed to be true, losses of the planned runs are simulated from it with the noise between seeds, the form is
fitted to each simulated table, and the spread of what the fits find is the interval to expect. The assumed law has no
error but noise: a quantity that the forecast cannot pin, the runs will not pin. What a real fit adds to the interval of
a loss for the form's own error, found by holding out the largest of the same runs, stands beside it (`new_run`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moewright.complaints import check_integer, check_names, check_number
from moewright.display import ShownTable
from moewright.laws.catalogue import get
from moewright.laws.fitting.estimator import LawFitter
from moewright.laws.fitting.fit_settings import FitSettings
from moewright.laws.fitting.observations import as_frame, find_column, read_columns
from moewright.laws.fitting.problem import TooFewRuns
from moewright.laws.forecasting.expectation import QuantityForecast, RunGroup, axes_of, expect, leverage
from moewright.laws.forecasting.simulation import assume, default_target, read_targets, simulate
from moewright.laws.law import Law
from moewright.records import Items, Record

_SETTINGS = ("objective", "delta", "over", "fix", "bound", "asymptote", "weights", "starts")
_MOST_REPLICATES = 10_000


class Forecast(ShownTable, Record):
    """What the planned runs would tell about a law."""

    law: str
    truth: str | None
    """What was assumed, in words; None where the runs are too few for any fit."""
    noise: float
    """Standard deviation of log loss between seeds."""
    replicates: int
    seed: int
    runs: int
    configurations: int
    """Runs that differ in more than the seed."""
    coefficients: int
    """How many are free."""
    statuses: Mapping[str, float]
    """Share of the simulated tables by the status of their fit, see `FitRecord.status`; refused: no usable fit."""
    expected: Items[QuantityForecast]
    targets: Items[Mapping[str, float]]
    leverage: Items[RunGroup]
    """Values of the axes by how much the first target's prediction hangs on their runs."""
    messages: Items[str]

    def _facts(self) -> Mapping[str, Any]:
        verdicts = Counter(row.verdict for row in self.expected)
        return {"law": self.law, "runs": self.runs, "configurations": self.configurations, **verdicts}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [row.to_dict() for row in self.expected]


def forecast(
    law: Law | str,
    table: Any,
    noise: float,
    *,
    replicates: int = 100,
    seed: int = 0,
    targets: Mapping[str, float] | Sequence[Mapping[str, float]] | None = None,
    truth: Law | str | None = None,
    axes: Sequence[str] | None = None,
    **settings: Any,
) -> Forecast:
    """Simulate the planned runs of `table` (columns as for a fit, no loss) and fit `law`'s form to each simulation.

    `noise` is the standard deviation of the logarithm of the loss between runs that differ in the seed alone (.01 at a
    loss of 3: .03 nats). `truth` is the law to assume; without it `law` itself, or, for a form without coefficients,
    the form fitted to the losses that the first published law with one for every run gives them. `targets` are models
    whose loss and optima matter (default: `simulation.default_target`). `axes` are columns whose values are ranked by
    leverage (default: the law's variables with 2 to 12 values). Repeats of a configuration are separate rows.

    `settings` are those of `FitSettings` that set the fit itself: objective, delta, over, fix, bound, asymptote,
    weights, starts. Tuning is off: on tables that follow the law it is never taken (see `extrapolation`). Fewer
    configurations than coefficients are a forecast like any other: nothing is identified. UserError for input that
    cannot be.

    >>> from moewright import laws
    >>> sizes, tokens = [1e8, 2e8, 4e8, 8e8] * 3, [2e9] * 4 + [8e9] * 4 + [3.2e10] * 4
    >>> plan = {"total_params": sizes, "train_tokens": tokens}
    >>> found = laws.forecast("epoch2024", plan, noise=0.003, replicates=20)
    >>> {row.name: row.verdict for row in found.expected if row.kind == "coefficient"}
    {'alpha': 'loose', 'beta': 'loose', 'E': 'loose', 'A': 'not identified', 'B': 'not identified'}
    """
    law = get(law) if isinstance(law, str) else law
    form = law.as_form()
    check_number(noise, "noise", above=0, below=1)
    check_integer(replicates, "replicates", 1, _MOST_REPLICATES)
    for name in settings:
        if name not in _SETTINGS:
            check_names([name], _SETTINGS, "forecast", "setting")
    frame = as_frame(table)
    columns = read_columns(frame, form.inputs, {})
    asked: tuple[Mapping[str, float], ...] = (default_target(form.inputs, columns),)
    if targets is not None:
        asked = read_targets(targets, form.inputs, form.optimum_rule, law.name)
    axes = axes_of(frame, form.form.variables) if axes is None else list(axes)
    for name in axes:
        find_column(frame, name)
    fitter = LawFitter(law, FitSettings.from_dict({**settings, "bootstrap": 0, "tuning": "none", "seed": seed}))
    plan: dict[str, Any] = {
        "law": law.name,
        "noise": float(noise),
        "replicates": replicates,
        "seed": seed,
        "runs": len(frame),
        "configurations": len(np.unique(np.stack(list(columns.values()), axis=1), axis=0)),
        "targets": asked,
    }
    try:
        assumed = assume(law, truth, fitter, frame)
        problem = fitter.fit(frame.assign(loss=assumed.loss)).problem_
    except TooFewRuns as error:
        return Forecast(
            **plan,
            truth=None,
            coefficients=len(error.free),
            statuses={"refused": 1.0},
            expected=tuple(QuantityForecast(kind="coefficient", name=name) for name in error.free),
            leverage=(),
            messages=(str(error),),
        )
    values = np.array([assumed.coefficients[name] for name in problem.names])
    with np.errstate(divide="ignore", invalid="ignore"):
        u = np.where(problem.is_log, np.log(values), values)
    u = np.clip(u, problem.lower, problem.upper)
    found = simulate(fitter, frame, assumed.loss, noise, replicates, np.random.default_rng(seed))
    return Forecast(
        **plan,
        truth=assumed.source,
        coefficients=int(problem.free.sum()),
        statuses=found.statuses,
        expected=expect(form, problem, values, u, found, asked, noise),
        leverage=leverage(problem, u, asked[0], frame, axes),
        messages=(*assumed.notes, *found.messages),
    )
