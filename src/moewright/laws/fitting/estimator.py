"""Fitting a law's form to a table of runs."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from moewright.complaints import check_names
from moewright.errors import UserError
from moewright.laws.fitting.bootstrap import refit, resampled_weights
from moewright.laws.fitting.build import build_problem
from moewright.laws.fitting.fitted import FitRecord, FittedLaw
from moewright.laws.fitting.holdout import held_out
from moewright.laws.fitting.identifiability import identify
from moewright.laws.fitting.objective import objective_named
from moewright.laws.fitting.problem import Problem
from moewright.laws.fitting.rows import Mask, Rows, as_frame, read_rows
from moewright.laws.fitting.search import descend, draw_starts, search
from moewright.laws.fitting.status import judge
from moewright.laws.fitting.storage import fitted_law
from moewright.laws.fitting.tuning import FEWEST_ROWS_PER_COEFFICIENT, Tuned, choice_weights, pinned, tune
from moewright.laws.law import InapplicableLaw, Law
from moewright.laws.variable import Array

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_OBJECTIVE = "robust_log"
MOST_REPLICATES = 20_000


class LawFitter:
    """Fits the form of `law`; settings here, `fit(table)` does the work and sets what ends in an underscore.

    objective: robust_log, huber_log, squares_log, squares or asymmetric; None takes the law's own choice, else
    robust_log (see `objective`).
    delta, over: replace the objective's corner and its weight of predictions that are too high.
    loss, weights, cluster: names of columns; cluster takes several. Without it, equal configurations are one cluster.
    fixed: coefficients kept at values. bounds: coefficients kept between two values. asymptote: a number to pin it.
    tuning: "best" chooses asymptote and row weights by predicting the rows of lowest loss (see `tuning`), "none" does
    not; None takes the law's own choice. A fixed asymptote or a weights column turns it off.
    holdout: rows kept from the fit to judge it by, see `holdout`.
    """

    def __init__(
        self,
        law: Law,
        *,
        objective: str | None = None,
        delta: float | None = None,
        over: float | None = None,
        loss: str = "loss",
        weights: str | None = None,
        cluster: str | list[str] | None = None,
        fixed: Mapping[str, float] | None = None,
        bounds: Mapping[str, tuple[float, float]] | None = None,
        asymptote: float | None = None,
        tuning: str | None = None,
        holdout: str | None = None,
        n_starts: int | None = None,
        n_bootstrap: int = 1000,
        random_state: int = 0,
        name: str | None = None,
    ) -> None:
        self.law = law
        self.objective = objective
        self.delta = delta
        self.over = over
        self.loss = loss
        self.weights = weights
        self.cluster = cluster
        self.fixed = fixed
        self.bounds = bounds
        self.asymptote = asymptote
        self.tuning = tuning
        self.holdout = holdout
        self.n_starts = n_starts
        self.n_bootstrap = n_bootstrap
        self.random_state = random_state
        self.name = name

    def get_params(self) -> dict[str, Any]:
        """The settings by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def fit(self, table: Any) -> "LawFitter":
        """Fit to a DataFrame or a mapping of columns; sets `law_`, `status_`, `problem_`, `rows_`, `weights_`, `u_`."""
        if self.law.form is None:
            raise InapplicableLaw(f"{self.law.name} has no form to fit; it gives {', '.join(self.law.gives)}")
        random = np.random.default_rng(self.random_state)
        settings = self._settings()
        frame = as_frame(table)
        inputs = [variable for variable in self.law.inputs if variable.name in self.law.form.variables]
        everything = read_rows(frame, inputs, loss=self.loss, weights=self.weights, cluster=self.cluster)
        mask = self._left_out(everything, frame, random)
        kept = ~mask & (everything.weights > 0)
        if not kept.any():
            raise UserError("no row is left to fit: the others have weight 0")
        rows = everything.where(kept)
        problem = build_problem(
            self.law.form,
            rows,
            objective_named(settings["objective"], self.delta, self.over),
            settings["fixed"],
            self.bounds or {},
        )
        starts = draw_starts(problem, settings["n_starts"], random)
        found = search(problem, starts, rows.weights)
        problem, weights = found.problem, rows.weights
        u, converged, cost = found.u, found.converged, found.cost
        tuned = None
        if settings["tuning"] == "best" and self._can_tune(problem, rows, settings):
            tuned = tune(problem, rows, found.finalists)
        if tuned is not None and tuned.worth_it:
            weights = choice_weights(rows, tuned.exponent)
            if tuned.asymptote is not None:
                fixed = {**settings["fixed"], self.law.form.asymptote or "": tuned.asymptote}
                problem = build_problem(self.law.form, rows, problem.objective, fixed, self.bounds or {})
            again = search(problem, draw_starts(problem, settings["n_starts"], random), weights)
            u, converged, cost = again.u, again.converged, again.cost
        predicted = problem.predict(u[None])[0]
        if not (np.isfinite(predicted).all() and (predicted > 0).all()):
            raise UserError(
                f"{self.law.name} does not fit these rows: the best law found predicts losses that are not positive; "
                "look for rows in other units, or fit another form"
            )
        draws, failed = self._replicates(problem, u, rows, weights, tuned, random)
        self.problem_, self.rows_, self.weights_, self.u_ = problem, rows, weights, u
        status, messages = judge(problem, u, rows, weights, converged, failed, self.n_bootstrap)
        residuals = np.log(predicted) - np.log(rows.loss)
        record = FitRecord(
            law=self.law.record.law if isinstance(self.law, FittedLaw) else self.law.name,
            settings={**settings, "delta": problem.objective.delta},
            status=status,
            messages=messages,
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
            identified=tuple(identify(problem, u, weights, draws)),
            tuned=None if tuned is None else tuned.summary(),
        )
        coefficients = dict(zip(problem.names, problem.coefficients(u).tolist(), strict=True))
        ranges = {name: (float(values.min()), float(values.max())) for name, values in rows.columns.items()}
        name = self.name or f"{record.law}-fitted"
        self.law_ = fitted_law(self.law, name, coefficients, ranges, record)
        if mask.any():
            self._judge_by(everything, mask)
        self.status_ = status
        return self

    def predict(self, table: Any) -> Array:
        """Losses (R,) of the fitted law."""
        return self.law_.predict(table)

    def score(self, table: Any) -> float:
        """R squared of the fitted law's losses on a table with the loss column."""
        losses = read_rows(as_frame(table), self.law_.inputs, loss=self.loss).loss
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

    # Inside

    def _settings(self) -> dict[str, Any]:
        """The settings as they act, for the record."""
        form = self.law.form
        assert form is not None
        fixed = {name: float(value) for name, value in (self.fixed or {}).items()}
        if self.asymptote is not None:
            if form.asymptote is None:
                raise UserError(f"{self.law.name} has no asymptote to pin")
            fixed[form.asymptote] = float(self.asymptote)
        advised = self.law.fit_settings
        tuning = self.tuning or advised.get("tuning", "none")
        if tuning not in ("best", "none"):
            check_names([tuning], ["best", "none"], "fit", "tuning")
        if self.tuning is None and (self.weights or form.asymptote in fixed):
            tuning = "none"
        if tuning == "best" and (form.asymptote is None or form.asymptote in fixed or self.weights):
            raise UserError(f"tuning chooses the asymptote and the weights of {self.law.name}: leave both open")
        if not 0 <= self.n_bootstrap <= MOST_REPLICATES:
            raise UserError(f"n_bootstrap is between 0 and {MOST_REPLICATES:,}, got {self.n_bootstrap}")
        n_starts = self.n_starts or min(64, 4 ** len(form.nonlinear))
        if not 1 <= n_starts <= 100_000:
            raise UserError(f"n_starts is between 1 and 100,000, got {n_starts}")
        return {
            "objective": self.objective or advised.get("objective", DEFAULT_OBJECTIVE),
            "delta": self.delta,
            "over": self.over,
            "loss": self.loss,
            "weights": self.weights,
            "cluster": self.cluster,
            "fixed": fixed,
            "bounds": {name: list(limits) for name, limits in (self.bounds or {}).items()},
            "tuning": tuning,
            "holdout": self.holdout,
            "n_starts": n_starts,
            "n_bootstrap": self.n_bootstrap,
            "random_state": self.random_state,
        }

    def _left_out(self, rows: Rows, frame: "pd.DataFrame", random: np.random.Generator) -> Mask:
        if self.holdout is None:
            return np.zeros(len(rows), dtype=bool)
        return held_out(self.holdout, rows, frame, random)

    def _can_tune(self, problem: Problem, rows: Rows, settings: dict[str, Any]) -> bool:
        """Whether there are rows enough; UserError where the user, not the law, asked for tuning."""
        enough = FEWEST_ROWS_PER_COEFFICIENT * int(problem.free.sum())
        if len(rows) >= enough:
            return True
        if self.tuning is not None:
            raise UserError(f"tuning needs at least {enough} rows for {self.law.name}, the table has {len(rows)}")
        settings["tuning"] = f"none: fewer than {enough} rows"
        return False

    def _replicates(
        self,
        problem: Problem,
        u: Array,
        rows: Rows,
        weights: Array,
        tuned: Tuned | None,
        random: np.random.Generator,
    ) -> tuple[Array, int]:
        """Coefficients (B, P) of the converged replicates, and how many did not converge."""
        if not self.n_bootstrap:
            return np.empty((0, len(u))), 0
        starts = np.repeat(u[None], self.n_bootstrap, axis=0)
        resampled = resampled_weights(rows.clusters, rows.weights, self.n_bootstrap, random)
        held = None
        if tuned is None or not tuned.worth_it:
            resampled *= weights / rows.weights
        else:
            # Each replicate takes one of the choices that the left-out rows cannot tell from the best.
            choice = random.integers(len(tuned.choices), size=self.n_bootstrap)
            open_problem = build_problem(
                problem.form, rows, problem.objective, self._settings()["fixed"], self.bounds or {}
            )
            per_choice = np.stack([choice_weights(rows, exponent) for exponent in tuned.choices[:, 1]])
            first, first_held = pinned(open_problem, np.repeat(u[None], len(per_choice), 0), tuned.choices[:, 0])
            moves = open_problem.free & ~first_held
            first = open_problem.with_best_linear(first, per_choice, np.zeros_like(per_choice), moves)
            problem, starts = open_problem, refit(open_problem, first, per_choice, first_held).u[choice]
            resampled *= per_choice[choice] / rows.weights
            held = first_held[choice]
        solution = refit(problem, starts, resampled, held)
        usable = solution.converged & np.isfinite(solution.cost)
        return problem.coefficients(solution.u[usable]), int((~usable).sum())

    def _judge_by(self, everything: Rows, mask: Mask) -> None:
        """Compare the fitted law with the rows kept from it, and put that into its record."""
        kept = everything.where(mask)
        predicted = self.law_.predict(kept.columns)
        missed = predicted - kept.loss
        with np.errstate(invalid="ignore", divide="ignore"):
            missed_log = np.log(predicted) - np.log(kept.loss)
        judged: dict[str, float | None] = {
            "rows": float(len(kept)),
            "rmse": float(np.sqrt(np.mean(missed**2))),
            # A law can predict losses below zero far from its rows, which have no logarithm.
            "rmse_log": float(np.sqrt(np.mean(missed_log**2))) if np.isfinite(missed_log).all() else None,
            "bias": float(missed.mean()),
        }
        if len(self.law_.record.draws):
            low, high = self.law_.interval(kept.columns, 0.9)
            judged["coverage_90"] = float(np.mean((low <= kept.loss) & (kept.loss <= high)))
        self.law_ = replace(self.law_, record=replace(self.law_.record, holdout=judged))
