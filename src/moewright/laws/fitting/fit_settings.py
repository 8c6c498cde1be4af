"""How a law is fitted: the words and defaults of `moewright fit` and two more, read once and kept in the law's file."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BeforeValidator, Field

from moewright.complaints import check_integer, check_names, check_number
from moewright.errors import UserError
from moewright.laws.form import check_sign
from moewright.laws.law import LossForm
from moewright.quantities import LARGEST_SEED
from moewright.records import LISTS_AS_TUPLES, Items, Pair, Record

DEFAULT_OBJECTIVE = "robust_log"
MOST_REPLICATES = 20_000
MOST_STARTS = 100_000


def _without_numpy(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


PlainFloat = Annotated[float, BeforeValidator(_without_numpy)]
Whole = Annotated[int, BeforeValidator(_without_numpy)]


class FitSettings(Record):
    """What a fit does; None leaves a choice to the law, and `resolved` makes it."""

    objective: str | None = None
    """robust_log, huber_log, squares_log, squares or asymmetric (`problem.OBJECTIVES`); None: the law's own choice,
    else robust_log."""
    delta: PlainFloat | None = None
    """Replaces the objective's corner."""
    over: PlainFloat | None = None
    """Replaces the objective's weight of predictions that are too high."""
    loss: str = "loss"
    """Column of the loss."""
    weights: str | None = None
    """Column of row weights."""
    cluster: Annotated[str | tuple[str, ...] | None, LISTS_AS_TUPLES] = None
    """Columns that name a configuration; None: rows that agree in every variable of the law are one."""
    fix: Mapping[str, PlainFloat] = Field(default_factory=dict)
    """Coefficients kept at values."""
    bound: Mapping[str, Pair[PlainFloat]] = Field(default_factory=dict)
    """Coefficients kept between two values."""
    asymptote: PlainFloat | None = None
    """Pins the loss of an endless model on endless data."""
    tuning: str | None = None
    """best: choose asymptote and row weights by predicting the rows of lowest loss (`extrapolation`); none: do not.
    None: the law's own choice; a fixed asymptote or a weights column turns it off."""
    holdout: str | None = None
    """Rows kept from the fit to judge it by, see `observations`."""
    starts: Whole | None = None
    """From how many places the search begins; None: 4 to the power of the nonlinear coefficients, at most 64."""
    bootstrap: Whole = 1000
    """Replicates for the intervals."""
    seed: Whole = 0
    """Of starts, bootstrap and random holdouts."""
    source: str | None = None
    """Which public table the file of runs was."""
    where: Mapping[str, Items[str]] = Field(default_factory=dict)
    """Rows that were kept: those whose column has one of some values."""
    column: Mapping[str, str] = Field(default_factory=dict)
    """Columns that the table has under other names: the law's name -> the table's."""

    @classmethod
    def of_a_table(cls, values: Mapping[str, Any]) -> Self:
        """The settings of a fit to a table as it is; UserError for one that says what of it to take."""
        for name in ("source", "where", "column"):
            if values.get(name):
                raise UserError(f"{name}: is for `moewright.fit`; give a table with the rows and names to be fitted")
        return cls.from_dict(values)

    def resolved(self, law: LossForm) -> "FitSettings":
        """The settings as they act on a law; UserError for what cannot be."""
        asymptote = law.form.asymptote
        fix = dict(self.fix)
        self._check_coefficients(law)
        if self.asymptote is not None:
            if asymptote is None:
                raise UserError(f"{law.name} has no asymptote to pin")
            if asymptote in fix or asymptote in self.bound:
                raise UserError(
                    f"asymptote, {asymptote}: the same coefficient of {law.name}, given twice; leave out one"
                )
            check_number(self.asymptote, "asymptote", at_least=0)
            fix[asymptote] = self.asymptote
        tuning = law.fit_settings.get("tuning", "none") if self.tuning is None else self.tuning
        if tuning not in ("best", "none"):
            check_names([tuning], ["best", "none"], "fit", "tuning")
        if self.tuning is None and (self.weights is not None or asymptote in fix):
            tuning = "none"
        if tuning == "best" and (asymptote is None or asymptote in fix or self.weights is not None):
            raise UserError(f"tuning chooses the asymptote and the weights of {law.name}: leave both open")
        check_integer(self.bootstrap, "bootstrap", 0, MOST_REPLICATES)
        check_integer(self.seed, "seed", 0, LARGEST_SEED)
        starts = min(64, 4 ** len(law.form.nonlinear)) if self.starts is None else self.starts
        check_integer(starts, "starts", 1, MOST_STARTS)
        chosen = law.fit_settings.get("objective", DEFAULT_OBJECTIVE)
        objective = chosen if self.objective is None else self.objective
        changes = {"objective": objective, "fix": fix, "asymptote": None, "tuning": tuning, "starts": starts}
        return self.model_copy(update=changes)

    def _check_coefficients(self, law: LossForm) -> None:
        """UserError for what is given about a coefficient twice, or cannot be true of it."""
        for name in self.fix:
            if name in self.bound:
                raise UserError(f"fix {name}, bound {name}: fixed and bounded at once; leave out one")
        for coefficient in law.form.coefficients:
            name = coefficient.name
            if name in self.fix:
                check_sign(coefficient, self.fix[name], "fix")
            for end in self.bound.get(name, ()):
                check_sign(coefficient, end, "bound")
