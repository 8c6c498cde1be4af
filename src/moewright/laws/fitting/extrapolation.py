"""Choosing what a table's bulk cannot tell: the asymptote, and how much well-trained rows should count.

A law is fitted to be asked about models better than those seen. Rows trained far too short bend it, and the asymptote,
which no run comes near, takes up the strain: free fits to the 260 training rows of arXiv 2502.05172 put it at 1.7 to
1.8 and miss their ten best rows by .022 nats, always too high. So both are chosen by the question itself: leave out the
rows of lowest loss, fit the rest, and see which choice predicts them.
"""

from dataclasses import dataclass

import numpy as np

from moewright.laws.fitting.observations import Observations
from moewright.laws.fitting.problem import Problem
from moewright.laws.fitting.uncertainty import refit
from moewright.laws.variable import Array, Mask
from moewright.records import Record

# The asymptote as a share of the lowest loss; NaN leaves it free.
_ASYMPTOTES = (np.nan, 0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75)
# Rows weigh (train_tokens / parameters) to this power.
_EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
# The rows of lowest loss that are left out, as shares of all; the error is the mean over the three.
_SHARES = (0.04, 0.08, 0.16)
# Fewer rows than this leave the fits of the tuning to chance.
FEWEST_ROWS_PER_COEFFICIENT = 5
# The bootstrap draws among the choices by their likelihood, for the asymptote is not known but guessed: normal errors
# over the left-out rows, which are worth this many independent ones, for one slope makes most of each row's error.
_INDEPENDENT = 3.0
_LEAST_LIKELY = 1e-3
# A free asymptote with equal weights is kept unless the best choice is better by this much: on tables that follow the
# law exactly, 55 choices always hold a slightly better one by luck, and taking it nearly doubles the error far outside
# (30 synthetic tables of ludziejewski2025: .0095 nats instead of .0057).
_WORTH_IT = 1.5


@dataclass(frozen=True)
class ExtrapolationTest:
    """The best choice, its error (mean RMSE of log loss over the left-out rows), and the choices that may be right.

    `choices` has one row per choice: asymptote (NaN: free), exponent, error; the best comes first.
    """

    choices: Array
    likelihood: Array
    """Of each choice, with a sum of 1."""
    free_error: float
    """The error of the free asymptote with equal weights."""

    @property
    def worth_it(self) -> bool:
        """Whether the best choice beats the free asymptote with equal weights by more than luck."""
        return self.free_error > _WORTH_IT * float(self.choices[0, 2])

    @property
    def asymptote(self) -> float | None:
        """The asymptote to pin, or None to leave it free."""
        value = float(self.choices[0, 0])
        return None if np.isnan(value) else value

    @property
    def exponent(self) -> float:
        """The power of tokens per parameter that rows weigh."""
        return float(self.choices[0, 1])

    def summary(self) -> "TuningRecord":
        """For the fit's record."""
        return TuningRecord(
            asymptote=self.asymptote,
            tokens_per_parameter_exponent=self.exponent,
            error_log=float(self.choices[0, 2]),
            error_log_untuned=self.free_error,
            choices_as_good=len(self.choices),
            used=self.worth_it,
        )


class TuningRecord(Record):
    """What the tuning of a fit found, and whether it was taken."""

    asymptote: float | None
    """None: free."""
    tokens_per_parameter_exponent: float
    """Rows weigh tokens per parameter to this power."""
    error_log: float
    """RMSE of log loss over the left-out rows, under the best choice."""
    error_log_untuned: float
    choices_as_good: int
    """Choices that the bootstrap draws from, by their likelihood."""
    used: bool


def choose_extrapolation(problem: Problem, rows: Observations, starts: Array) -> ExtrapolationTest:
    """Try every choice of asymptote and weights from every start (F, P), all in one batch."""
    ratio = tokens_per_parameter(rows)
    exponents = _EXPONENTS if ratio is not None else (0.0,)
    choices = np.array([(share * rows.loss.min(), exponent) for share in _ASYMPTOTES for exponent in exponents])
    order = np.argsort(rows.loss, kind="stable")
    left_out = np.zeros((len(_SHARES), len(rows)), dtype=bool)
    for i, share in enumerate(_SHARES):
        left_out[i, order[: max(2, round(share * len(rows)))]] = True
    # Axes: choice, left-out set, start.
    shape = (len(choices), len(_SHARES), len(starts))
    which_choice, which_set, which_start = (axis.ravel() for axis in np.indices(shape))
    u, held = pinned(problem, starts[which_start], choices[which_choice, 0])
    weights = np.stack([choice_weights(rows, exponent) for exponent in choices[:, 1]])[which_choice]
    weights = weights * ~left_out[which_set]
    u = problem.with_best_linear(u, weights, np.zeros_like(weights), problem.free & ~held)
    solution = refit(problem, u, weights, held)
    best_start = np.argmin(solution.cost.reshape(shape), axis=2)[:, :, None]
    error = np.zeros(shape[:2])
    fitted = np.take_along_axis(solution.u.reshape(*shape, -1), best_start[..., None], axis=2)[:, :, 0]
    for i, mask in enumerate(left_out):
        with np.errstate(invalid="ignore"):
            missed = np.log(problem.predict(fitted[:, i])[:, mask]) - np.log(rows.loss[mask])
        error[:, i] = np.sqrt(np.mean(missed**2, axis=1))
    mean_error = np.where(np.isfinite(error), error, np.inf).mean(axis=1)
    ranked = np.argsort(mean_error, kind="stable")
    excess = (mean_error[ranked] / max(float(mean_error[ranked[0]]), 1e-300)) ** 2 - 1
    likelihood = np.exp(-0.5 * _INDEPENDENT * excess)
    kept = likelihood > _LEAST_LIKELY
    ranked, likelihood = ranked[kept], likelihood[kept]
    tested = np.column_stack([choices, mean_error])[ranked]
    return ExtrapolationTest(tested, likelihood / likelihood.sum(), float(mean_error[0]))


def pinned(problem: Problem, u: Array, asymptotes: Array) -> tuple[Array, Mask]:
    """Candidates (S, P) with their asymptotes (S,) set where not NaN, and the mask that holds these."""
    place = problem.names.index(problem.form.asymptote or "")
    pins = ~np.isnan(asymptotes)
    u, held = u.copy(), np.zeros(u.shape, dtype=bool)
    u[pins, place] = asymptotes[pins]
    held[:, place] = pins
    return u, held


def choice_weights(rows: Observations, exponent: float) -> Array:
    """Row weights (R,) under an exponent, of mean 1."""
    ratio = tokens_per_parameter(rows)
    weights = rows.weights if ratio is None else rows.weights * ratio**exponent
    return np.asarray(weights / weights.mean())


def tokens_per_parameter(rows: Observations) -> Array | None:
    """Training tokens over active (else total) parameters, (R,); None without these columns."""
    size = rows.columns.get("active_params", rows.columns.get("total_params"))
    tokens = rows.columns.get("train_tokens")
    return None if size is None or tokens is None else tokens / size
