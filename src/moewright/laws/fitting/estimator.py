"""Fitting a law's form to a table of runs."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from moewright.complaints import check_names
from moewright.errors import UserError
from moewright.laws.catalogue import get
from moewright.laws.fitting.extrapolation import (
    FEWEST_ROWS_PER_COEFFICIENT,
    ExtrapolationTest,
    choice_weights,
    choose_extrapolation,
    pinned,
)
from moewright.laws.fitting.fit_record import FitRecord, HoldoutErrors
from moewright.laws.fitting.fit_settings import FitSettings
from moewright.laws.fitting.fitted_law import FittedLaw, fitted_law
from moewright.laws.fitting.observations import Observations, as_frame, held_out, read_observations, row_names
from moewright.laws.fitting.outliers import describe_outliers, find_outliers, list_outliers, why_poor
from moewright.laws.fitting.problem import Problem, build_problem, objective_named
from moewright.laws.fitting.reach import rolling_holdouts
from moewright.laws.fitting.search import descend, draw_starts, search
from moewright.laws.fitting.uncertainty import (
    MOST_FAILED,
    freedom_of,
    identify,
    refit,
    resampled_weights,
    residual_variance,
    status_of_fit,
)
from moewright.laws.law import Law
from moewright.laws.variable import Array, Mask

if TYPE_CHECKING:
    pass


def fit_law(law: Law | str, table: Any, *, name: str | None = None, **settings: Any) -> FittedLaw:
    """A law's form fitted to a table of runs: a DataFrame, a mapping of columns, or the path of a run table.

    Columns go by the law's call names, counts in plain numbers, the loss in nats per token under `loss`. `settings`
    are those of `FitSettings`; `name` is the fitted law's own. UserError for a law without a form, for settings that
    cannot be, and for a table that cannot be right: it names the column, the row and what to do.

    >>> from moewright import laws
    >>> sizes, tokens = [1e8, 2e8, 4e8, 8e8, 1e8, 2e8, 4e8, 8e8], [2e9, 2e9, 2e9, 2e9, 2e10, 4e10, 8e10, 1e11]
    >>> runs = {"total_params": sizes, "train_tokens": tokens}
    >>> runs["loss"] = laws.get("epoch2024").loss(**runs)
    >>> fitted = laws.fit_law("hoffmann2022", runs, bootstrap=0)
    >>> fitted.status, round(fitted.coefficients["alpha"], 3)
    ('converged', 0.348)
    """
    law = get(law) if isinstance(law, str) else law
    return LawFitter(law, FitSettings.of_a_table(settings), name).fit(table).law_


class LawFitter:
    """Fits the form of `law` under some settings: `fit(table)` does the work and sets what ends in an underscore.

    `law_` is the fitted law, `status_` its status, `problem_` what was minimised, `rows_` and `weights_` (R,) what it
    was fitted to, `u_` (P,) the coefficients as the solver has them.
    """

    def __init__(self, law: Law, settings: FitSettings | None = None, name: str | None = None) -> None:
        self.law = law
        self.settings = settings or FitSettings()
        self.name = name

    def fit(self, table: Any) -> "LawFitter":
        """Fit to a DataFrame or a mapping of columns; sets `law_`, `status_`, `problem_`, `rows_`, `weights_`, `u_`."""
        law = self.law.as_form()
        settings = self.settings.resolved(law)
        random = np.random.default_rng(settings.seed)
        frame = as_frame(table)
        cluster = settings.cluster
        everything = read_observations(
            frame,
            law.inputs,
            loss=settings.loss,
            weights=settings.weights,
            cluster=cluster if cluster is None or isinstance(cluster, str) else list(cluster),
        )
        mask = np.zeros(len(everything), dtype=bool)
        if settings.holdout is not None:
            mask = held_out(settings.holdout, everything, frame, random)
        kept = ~mask & (everything.weights > 0)
        if not kept.any():
            raise UserError("no row is left to fit: the others have weight 0")
        rows = everything.where(kept)
        objective = objective_named(settings.objective or "", settings.delta, settings.over)
        problem = build_problem(law.form, rows, objective, settings.fix, settings.bound)
        starts = draw_starts(problem, settings.starts or 0, random)
        found = search(problem, starts, rows.weights, random)
        problem, weights = found.problem, rows.weights
        u, converged, cost = found.u, found.converged, found.cost
        tuned = None
        if settings.tuning == "best":
            enough = FEWEST_ROWS_PER_COEFFICIENT * int(problem.free.sum())
            if len(rows) >= enough:
                tuned = choose_extrapolation(problem, rows, found.finalists)
            elif self.settings.tuning is not None:
                raise UserError(f"tuning needs at least {enough} rows for {law.name}, the table has {len(rows)}")
            else:  # the law asked for it, not the user
                settings = settings.model_copy(update={"tuning": f"none: fewer than {enough} rows"})
        if tuned is not None and tuned.worth_it:
            weights = choice_weights(rows, tuned.exponent)
            if tuned.asymptote is not None:
                fix = {**settings.fix, law.form.asymptote or "": tuned.asymptote}
                problem = build_problem(law.form, rows, problem.objective, fix, settings.bound)
            again = search(problem, draw_starts(problem, settings.starts or 0, random), weights, random)
            u, converged, cost = again.u, again.converged, again.cost
        predicted = problem.predict(u[None])[0]
        if not (np.isfinite(predicted).all() and (predicted > 0).all()):
            raise UserError(
                f"{self.law.name} does not fit these rows: the best law found predicts losses that are not positive; "
                "look for rows in other units, or fit another form"
            )
        residuals = np.log(predicted) - np.log(rows.loss)
        far = find_outliers(problem, u, weights)
        inside = weights * ~far
        freedom = freedom_of(problem, u, inside, rows.clusters)
        draws, failed = np.empty((0, len(u))), 0
        if freedom.degrees > 0:
            draws, failed = _replicates(problem, u, rows, weights, tuned, settings, random)
        spread = math.sqrt(residual_variance(residuals, inside, int(problem.free.sum())))
        reach = rolling_holdouts(problem, u, rows, inside, spread, law.inputs) if len(draws) else ()
        self.problem_, self.rows_, self.weights_, self.u_ = problem, rows, weights, u
        share_failed = failed / max(failed + len(draws), 1)
        poor = why_poor(residuals, rows.loss, far, int(problem.free.sum()))
        status, messages = status_of_fit(problem, freedom, rows, converged, poor, share_failed)
        outliers = list_outliers(row_names(frame, np.flatnonzero(kept)), residuals, far)
        pull = not problem.objective.bounded
        if failed:
            lost = f"{failed} of {failed + len(draws)} bootstrap replicates did not determine the law and are left out"
            messages = (*messages, lost)
        stable = converged and share_failed <= MOST_FAILED
        origin = self.law.record.law if isinstance(self.law, FittedLaw) else law.name
        record = FitRecord(
            name=self.name or f"{origin}-fitted",
            law=origin,
            coefficients=dict(zip(problem.names, problem.coefficients(u).tolist(), strict=True)),
            ranges={name: (float(values.min()), float(values.max())) for name, values in rows.columns.items()},
            settings=settings.model_copy(update={"delta": problem.objective.delta}),
            status=status,
            messages=(*messages, *describe_outliers(outliers, residuals, pull)),
            data_sha256=rows.digest(),
            num_rows=len(rows),
            num_clusters=rows.num_clusters,
            num_free=int(problem.free.sum()),
            objective=cost,
            rmse=float(np.sqrt(np.mean((predicted - rows.loss) ** 2))),
            rmse_log=float(np.sqrt(np.mean(residuals**2))),
            draws=draws,
            failed=failed,
            residuals=residuals,
            weights=weights,
            identified=tuple(identify(problem, u, inside, draws, freedom, stable)),
            outliers=outliers,
            reach=reach,
            tuned=None if tuned is None else tuned.summary(),
        )
        self.law_ = fitted_law(law, record)
        if mask.any():
            errors = _errors(self.law_, everything.where(mask))
            self.law_ = fitted_law(law, record.model_copy(update={"holdout": errors}))
        self.status_ = status
        return self

    def predict(self, table: Any) -> Array:
        """Losses (R,) of the fitted law."""
        return self.law_.predict(table)

    def score(self, table: Any) -> float:
        """R squared of the fitted law's losses on a table with the loss column."""
        losses = read_observations(as_frame(table), self.law_.inputs, loss=self.settings.loss).loss
        return float(1 - np.sum((self.predict(table) - losses) ** 2) / np.sum((losses - losses.mean()) ** 2))

    def profile(self, name: str, values: Any) -> Array:
        """The objective (V,) with one coefficient held at each of some values and the others fitted again.

        A flat profile means that the rows cannot tell these values apart.
        """
        if name not in self.problem_.names:
            check_names([name], self.problem_.names, self.law.name, "coefficient")
        place = self.problem_.names.index(name)
        values = np.atleast_1d(np.asarray(values, dtype=np.float64))
        u = np.repeat(self.u_[None], len(values), axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            u[:, place] = np.log(values) if self.problem_.is_log[place] else values
        if not np.isfinite(u).all():
            raise UserError(f"profile: {name} cannot take these values")
        held = np.zeros(u.shape, dtype=bool)
        held[:, place] = True
        return descend(self.problem_, u, self.weights_, held).cost


def _replicates(
    problem: Problem,
    u: Array,
    rows: Observations,
    weights: Array,
    tuned: ExtrapolationTest | None,
    settings: FitSettings,
    random: np.random.Generator,
) -> tuple[Array, int]:
    """Coefficients (B, P) of the replicates that determine the law, and how many do not."""
    replicates = settings.bootstrap
    if not replicates:
        return np.empty((0, len(u))), 0
    starts = np.repeat(u[None], replicates, axis=0)
    resampled = resampled_weights(rows.clusters, rows.weights, replicates, random)
    held: Mask | None = None
    if tuned is None or not tuned.worth_it:
        resampled *= weights / rows.weights
    else:
        # Each replicate takes one of the choices by its likelihood: the asymptote has a width of its own.
        choice = random.choice(len(tuned.choices), size=replicates, p=tuned.likelihood)
        open_problem = build_problem(problem.form, rows, problem.objective, settings.fix, settings.bound)
        per_choice = np.stack([choice_weights(rows, exponent) for exponent in tuned.choices[:, 1]])
        first, first_held = pinned(open_problem, np.repeat(u[None], len(per_choice), 0), tuned.choices[:, 0])
        moves = open_problem.free & ~first_held
        first = open_problem.with_best_linear(first, per_choice, np.zeros_like(per_choice), moves)
        problem, starts = open_problem, refit(open_problem, first, per_choice, first_held).u[choice]
        resampled *= per_choice[choice] / rows.weights
        held = first_held[choice]
    solution = refit(problem, starts, resampled, held)
    # A resample with no configuration to spare determines no law, though a solver may stop somewhere.
    present = np.zeros((replicates, rows.num_clusters), dtype=bool)
    replicate, row = np.nonzero(resampled > 0)
    present[replicate, rows.clusters[row]] = True
    enough = present.sum(axis=1) > problem.free.sum()
    usable = enough & solution.converged & np.isfinite(solution.cost)
    return problem.coefficients(solution.u[usable]), int((~usable).sum())


def _errors(law: FittedLaw, kept: Observations) -> HoldoutErrors:
    """A fitted law against the rows kept from its fit."""
    predicted = law.predict(kept.columns)
    missed = predicted - kept.loss
    with np.errstate(invalid="ignore", divide="ignore"):
        missed_log = np.log(predicted) - np.log(kept.loss)
    coverage, withheld = None, 0
    if len(law.record.draws):
        low, high = law.interval(kept.columns)
        given = np.isfinite(low)
        withheld = int((~given).sum())
        if given.any():
            coverage = float(np.mean(((low <= kept.loss) & (kept.loss <= high))[given]))
    return HoldoutErrors(
        rows=float(len(kept)),
        rmse=float(np.sqrt(np.mean(missed**2))),
        rmse_log=float(np.sqrt(np.mean(missed_log**2))) if np.isfinite(missed_log).all() else None,
        bias=float(missed.mean()),
        coverage_90=coverage,
        withheld=withheld,
    )
