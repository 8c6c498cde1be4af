"""A law fitted to runs: everything that a published law does, and how sure it is."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moewright.architecture import Architecture
from moewright.complaints import check_names, check_number
from moewright.errors import UserError
from moewright.files import read_mapping
from moewright.laws.catalogue import get, names
from moewright.laws.fitting.fit_record import FitRecord
from moewright.laws.fitting.observations import as_frame, read_columns
from moewright.laws.fitting.reach import Reach, drawn_errors, drawn_t, extrapolate, has_ratios, why_beyond
from moewright.laws.fitting.uncertainty import LEVEL, half_interval, interval_of
from moewright.laws.form import Form, check_sign
from moewright.laws.law import MAY_JUDGE, InapplicableLaw, Law, LossForm, LossLaw, Optimum
from moewright.laws.rate_optimum import student_quantile
from moewright.laws.variable import Array, Mask, Status, check_values
from moewright.quantities import brief
from moewright.records import Items


class Interval(NamedTuple):
    """Ends of an interval, numbers or arrays of the same shape."""

    low: Any
    high: Any


class DrawnParts(NamedTuple):
    """Some of a fit's draws of one new run of some targets."""

    reaches: Items[Reach]
    """The directions in which a target may lie outside the runs."""
    coefficients: Mapping[str, Array]
    """(draws,) each."""
    standard: Array
    """(draws, directions): the form's error in each, in its standard deviations."""
    residuals: Array
    """(draws, targets): of the log loss."""


class FittedLaw(Law):
    """A law whose coefficients come from a table of runs, and the record of its fit.

    It answers what its `law` answers, over the ranges of the fitted rows, and adds intervals.
    """

    law: LossLaw
    """The form that was fitted, with these coefficients and ranges."""
    record: FitRecord

    def __init__(self, law: LossLaw, record: FitRecord) -> None:
        super().__init__(
            name=law.name,
            title=f"{law.title}, fitted to {record.num_rows} runs",
            source=f"fitted by moewright; form of {law.source}",
            confidence=record.status,
            params_convention=law.params_convention,
            judges=law.judges,
            inputs=law.inputs,
            notes=record.messages,
        )
        object.__setattr__(self, "law", law)
        object.__setattr__(self, "record", record)

    @property
    def status(self) -> str:
        """One of `FitStatus`; the record's messages say why."""
        return self.record.status

    @property
    def form(self) -> Form:
        """The formula."""
        return self.law.form

    @property
    def coefficients(self) -> Mapping[str, float]:
        """By name."""
        return self.law.coefficients

    @property
    def optimum_rule(self) -> Optimum | None:
        """What the law can optimise."""
        return self.law.optimum_rule

    @property
    def gives(self) -> tuple[str, ...]:
        return self.law.gives

    def as_form(self) -> LossForm:
        return self.law

    def as_loss_law(self) -> LossLaw:
        return self.law

    def optimum(self, **arguments: Any) -> dict[str, Any]:
        return self.law.optimum(**arguments)

    def variables(self, architecture: Architecture, *, train_tokens: float | None = None) -> dict[str, float]:
        return self.law.variables(architecture, train_tokens=train_tokens)

    def domain(self, **variables: Any) -> dict[str, Status]:
        return self.law.domain(**variables)

    # Tables

    def predict(self, table: Any) -> Array:
        """Losses (R,) for the rows of a table with the law's variables as columns."""
        columns = read_columns(as_frame(table), self.inputs, {}, are_targets=True)
        with np.errstate(over="ignore"):
            return np.asarray(self.form.loss(self.coefficients, columns), dtype=np.float64)

    def interval(self, table: Any, level: float = LEVEL) -> Interval:
        """Interval of the loss of one new run for each row of a table, (R,) each; NaN where it is withheld.

        See `prediction_interval`.
        """
        return self._interval_at(read_columns(as_frame(table), self.inputs, {}, are_targets=True), level)

    def prediction_interval(self, level: float = LEVEL, **variables: Any) -> Interval:
        """Interval of the loss of one new run at numbers or arrays; NaN where it is withheld (`why_withheld`).

        Three errors: the spread of the coefficients' draws; the residuals, which are drawn as often as their rows
        weigh, outliers apart, and with either sign, for nothing says on which side a law misses where it was not
        fitted; and outside the fitted rows the form's own, as rolling holdouts found it (`reach`). It is withheld where
        a target lies further out than these holdouts reach. The same call gives the same interval.
        """
        columns, shape = self._columns_of(variables)
        low, high = self._interval_at(columns, level)
        return Interval(low.reshape(shape)[()], high.reshape(shape)[()])

    def why_withheld(self, **variables: Any) -> str | None:
        """Why there is no interval of one new run at some numbers, and which runs would support one; None if there is.

        For arrays, of the first value that lacks one.
        """
        columns, _ = self._columns_of(variables)
        beyond = self._withheld(columns)
        return self._reason(columns, int(np.flatnonzero(beyond)[0])) if beyond.any() else None

    def _columns_of(self, variables: Mapping[str, Any]) -> tuple[dict[str, Array], tuple[int, ...]]:
        """Checked variables as columns (R,), and the shape that they broadcast to."""
        checked = check_values(self.inputs, variables, self.name)
        shape = np.broadcast_shapes(*(values.shape for values in checked.values()))
        return {name: np.broadcast_to(values, shape).reshape(-1) for name, values in checked.items()}, shape

    def _interval_at(self, columns: Mapping[str, Array], level: float) -> Interval:
        record = self.record
        with np.errstate(over="ignore", invalid="ignore"):
            losses = np.asarray(self.form.loss(self._draw_columns(2), {n: v[None] for n, v in columns.items()}))
            centre = np.asarray(self.form.loss(self.coefficients, columns))
        drawn = self._drawn_residuals(losses.shape, np.random.default_rng(0))
        number = record.num_rows - len(record.outliers)
        freedom = max(number - record.num_free, 1)
        wider = _for_few_rows(number, freedom, level)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            spread = wider * (np.log(losses) - np.log(centre) + drawn)
            low, high = _interval(centre * np.exp(spread), level)
        form_error = extrapolate(record.reach, columns).half_width(level)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            # The form's error is independent of the others, so half widths add as standard deviations do.
            below = np.hypot(np.maximum(np.log(centre / low), 0.0), form_error)
            above = np.hypot(np.maximum(np.log(high / centre), 0.0), form_error)
            outside = form_error > 0
            low = np.where(outside, centre * np.exp(-below), low)
            high = np.where(outside, centre * np.exp(above), high)
        withheld = self._withheld(columns)
        return Interval(np.where(withheld, np.nan, low), np.where(withheld, np.nan, high))

    def _withheld(self, columns: Mapping[str, Array]) -> Mask:
        """Targets (R,) for which the rows support no interval."""
        if self.record.status == "unstable":
            return np.ones(len(next(iter(columns.values()))), dtype=bool)
        return extrapolate(self._reaches(), columns).beyond

    def _reaches(self) -> Items[Reach]:
        """The reach in each direction; of none where coefficients are undetermined, or a file has no holdouts."""
        if self.record.status != "underdetermined" and self.record.reach:
            return self.record.reach
        return tuple(
            Reach.untested(each.name, *self.record.ranges[each.name], has_ratios(each)) for each in self.inputs
        )

    def _reason(self, columns: Mapping[str, Array], place: int) -> str:
        if self.record.status == "unstable":
            return "the fit is unstable: more runs would support an interval"
        if self.record.status == "underdetermined":
            return "outside the runs, and " + self.record.messages[0]
        if not len(self.record.draws):
            return "the law was fitted without a bootstrap: fit it with bootstrap > 0"
        if not self.record.reach:
            return "outside the runs, and the law's file holds no holdouts of the largest: fit the law again"
        return why_beyond(self.record.reach, columns, place) or ""

    # Intervals of the law itself, by the spread of its coefficients

    def loss_interval(self, level: float = LEVEL, **variables: Any) -> Interval:
        """Interval of the law's loss at numbers or arrays, by the spread of its coefficients alone."""
        checked = check_values(self.inputs, variables, self.name)
        columns = {name: values[None] for name, values in checked.items()}
        dimensions = max(values.ndim for values in columns.values())
        return _interval(np.asarray(self.form.loss(self._draw_columns(dimensions), columns)), level)

    def drawn_losses(self, columns: Mapping[str, Array], some: slice = slice(None)) -> Array:
        """Losses (B, R) of one new run of every target under some of the draws: what `prediction_interval` adds up.

        Each draw has its coefficients, a residual for each target, and one slope of the form's error for each direction
        outside the rows, so that what two targets share in distance cancels between them (`reach.drawn_errors`). The
        share of draws under which one target lies below another says how sure the runs make it; that it does, on
        public tables: `tests/benchmarks/bench_choices.py`. The same call gives the same losses. InapplicableLaw where
        the fit has no draws.
        """
        parts = self.drawn_parts(len(next(iter(columns.values()))), some)
        coefficients = {name: values[:, None] for name, values in parts.coefficients.items()}
        with np.errstate(over="ignore", invalid="ignore"):
            losses = np.asarray(self.form.loss(coefficients, {name: values[None] for name, values in columns.items()}))
            errors = drawn_errors(parts.reaches, columns, parts.standard)
            return np.asarray(losses * np.exp(errors + parts.residuals))

    def drawn_parts(self, targets: int, some: slice = slice(None)) -> DrawnParts:
        """What `drawn_losses` of so many targets is made of; InapplicableLaw where the fit has no draws."""
        coefficients = {name: values[some] for name, values in self._draw_columns(1).items()}
        reaches, number = self._reaches(), len(self.record.draws)
        standard = drawn_t(reaches, number, np.random.default_rng(0))[some]
        # Of every part of the draws its own, for callers that take them in parts.
        random = np.random.default_rng([1, some.start or 0])
        return DrawnParts(reaches, coefficients, standard, self._drawn_residuals((len(standard), targets), random))

    def _drawn_residuals(self, shape: tuple[int, ...], random: np.random.Generator) -> Array:
        """Residuals of log losses, drawn as often as their rows weigh, outliers apart, and with either sign."""
        weights = self.record.weights.copy()
        weights[[outlier.row - 1 for outlier in self.record.outliers]] = 0.0
        sign = random.choice([-1.0, 1.0], size=shape)
        return np.asarray(sign * random.choice(self.record.residuals, size=shape, p=weights / weights.sum()))

    def optimum_interval(self, level: float = LEVEL, **arguments: Any) -> dict[str, Interval]:
        """Interval of each answer of `optimum`, by solving for it under every draw; NaN for one that hangs on a
        coefficient which the rows leave undetermined."""
        rule = self.optimum_rule
        if rule is None:
            return self.law.optimum(**arguments)  # which says that there is none
        checked = rule.check(arguments, self.name)
        dimensions = 1 + max((values.ndim for values in checked.values()), default=0)
        with np.errstate(all="ignore"):
            solved = rule.solve(
                self._draw_columns(dimensions), **{name: values[None] for name, values in checked.items()}
            )
        answer = rule.answer(self.coefficients, arguments, self.name)
        open_ones = [item.name for item in self.record.identified if item.unknown == "undetermined"]
        moved = [
            rule.answer({**self.coefficients, name: 1.01 * self.coefficients[name] + 1e-3}, arguments, self.name)
            for name in open_ones
        ]
        intervals = {}
        for name, values in solved.items():
            # Numerical optima repeat to about 1e-9.
            hangs = any(not np.allclose(other[name], answer[name], rtol=1e-6, equal_nan=True) for other in moved)
            intervals[name] = _interval(np.asarray(values) * (np.nan if hangs else 1.0), level)
        return intervals

    def coefficient_intervals(self, level: float = LEVEL) -> dict[str, Interval]:
        """Interval of each coefficient; from -inf to inf where the rows say nothing about it (`Identified.unknown`)."""
        unknown = {item.name for item in self.record.identified if item.unknown}
        return {
            name: Interval(-np.inf, np.inf) if name in unknown else _interval(values, level)
            for name, values in self._draw_columns(1).items()
        }

    def save(self, path: str | Path) -> None:
        """Write one JSON file that `laws.load` reads back bit for bit.

        UserError where the form is not one of moewright's, which `load` could not find again.
        """
        if self.record.law not in names():
            raise UserError(
                f"{self.name}: the form {self.record.law} is not in moewright's list of laws, so no file can name it"
            )
        self.record.write(path)

    def _draw_columns(self, dimensions: int) -> dict[str, Array]:
        """Draws by coefficient, shaped (B, 1, ...) with `dimensions` axes."""
        draws = self.record.draws
        if not len(draws):
            raise InapplicableLaw(f"{self.name} has no bootstrap draws and so no intervals: fit with bootstrap > 0")
        shape = (len(draws),) + (1,) * (dimensions - 1)
        return {c.name: draws[:, i].reshape(shape) for i, c in enumerate(self.form.coefficients)}


def fitted_law(form: LossForm, record: FitRecord) -> FittedLaw:
    """A fitted law from its record and the form that was fitted, which gives the meaning of its variables.

    UserError where the two do not go together.
    """
    number = len(form.form.coefficients)
    _check_against_form(form, record)
    if record.num_clusters > record.num_rows or record.num_free > number:
        raise UserError("damaged fitted law: more configurations than rows, or more free coefficients than there are")
    if record.draws.size and (record.draws.ndim != 2 or record.draws.shape[1] != number):
        raise UserError(f"damaged fitted law: draws do not have {number} coefficients each")
    draws = record.draws.reshape(-1, number)
    for coefficient, values in zip(form.form.coefficients, draws.T, strict=True):
        for value in (values.min(), values.max()) if len(values) else ():
            check_sign(coefficient, float(value), "damaged fitted law: draws")
    if not record.residuals.shape == record.weights.shape == (record.num_rows,):
        raise UserError("damaged fitted law: residuals and weights must have one number per row")
    if (record.weights < 0).any() or not record.weights.any():
        raise UserError("damaged fitted law: weights are 0 or more, and not all 0")
    _check_against_itself(record.model_copy(update={"draws": draws}), [item.name for item in form.form.coefficients])
    law = LossLaw(
        name=record.name,
        title=form.title,
        source=form.source,
        confidence=record.status,
        params_convention=form.params_convention,
        # What the published law's runs could not tell, these may.
        judges=form.judges if form.judges.of_form else MAY_JUDGE,
        inputs=tuple(
            replace(variable, low=record.ranges[variable.name][0], high=record.ranges[variable.name][1])
            for variable in form.inputs
        ),
        applies=form.applies,
        form=form.form,
        optimum_rule=form.optimum_rule,
        coefficients={item.name: record.coefficients[item.name] for item in form.form.coefficients},
    )
    return FittedLaw(law, record.model_copy(update={"draws": draws}))


def _check_against_form(form: LossForm, record: FitRecord) -> None:
    """UserError where a record and its form name different things, or a value means nothing to the form."""
    owner = f"damaged fitted law: {form.form.name}"
    names = [coefficient.name for coefficient in form.form.coefficients]
    missing = [name for name in names if name not in record.coefficients]
    if missing:
        raise UserError(f"damaged fitted law: the coefficient {missing[0]} is missing")
    check_names(record.coefficients, names, owner, "coefficient")
    check_names(record.ranges, [variable.name for variable in form.inputs], owner, "variable")
    for coefficient in form.form.coefficients:
        check_sign(coefficient, record.coefficients[coefficient.name], "damaged fitted law: coefficients")
    for variable in form.inputs:
        wrong, rule = variable.outside(np.asarray(record.ranges[variable.name]))
        if wrong.any():
            raise UserError(f"damaged fitted law: ranges.{variable.name}: {variable.name} must be {rule}")


def _check_against_itself(record: FitRecord, names: list[str]) -> None:
    """UserError where two parts of a record, whose draws are (B, P), contradict each other."""

    def damaged(what: str) -> UserError:
        return UserError(f"damaged fitted law: {what}")

    rows = [outlier.row for outlier in record.outliers]
    if len(set(rows)) < len(rows) or max(rows, default=0) > record.num_rows or len(rows) >= record.num_rows:
        raise damaged("outliers are some of the rows, each once")
    if len(record.draws) + record.failed > record.settings.bootstrap:
        raise damaged(f"{len(record.draws)} draws and {record.failed} failed are more than the bootstrap's replicates")
    if not np.isclose(record.rmse_log, np.sqrt(np.mean(record.residuals**2)), rtol=1e-6, atol=1e-12):
        raise damaged(f"rmse_log {record.rmse_log:g} is not that of the residuals")
    for name, value in record.settings.fix.items():
        if name not in names:
            check_names([name], names, "damaged fitted law: settings.fix", "coefficient")
        # What is searched in its logarithm comes back rounded, and 0 as 1e-10.
        found = np.append(record.draws[:, names.index(name)], record.coefficients[name])
        if not np.allclose(found, value, rtol=1e-6, atol=1e-9):
            raise damaged(f"settings.fix: {name} is fixed at {value:g}, and has other values")
    identified = [item.name for item in record.identified]
    free = [name for name in names if name in identified]
    if sorted(identified) != sorted(free) or len(free) != record.num_free or set(free) & set(record.settings.fix):
        raise damaged("identified: expected each free coefficient once")
    for item in record.identified:
        if item.value != record.coefficients[item.name]:
            raise damaged(
                f"identified: {item.name} is {item.value:g}, in coefficients {record.coefficients[item.name]:g}"
            )
        known = item.low is not None and item.high is not None
        if (item.low is None) != (item.high is None) or (known and item.unknown is not None):
            raise damaged(f"identified: {item.name} has either an interval or a reason to have none")
        if item.low is not None and item.high is not None and item.low > item.high:
            raise damaged(f"identified: the interval of {item.name} is empty")
        if item.pinned and not known:
            raise damaged(f"identified: {item.name} is pinned without an interval")


def load(path: str | Path) -> FittedLaw:
    """The law in a file that `FittedLaw.save` wrote; UserError names the file and what is wrong with it."""
    path = Path(path)
    content = read_mapping(path)
    if not str(content.get("format")).startswith(f"{FitRecord.kind_of_file}/"):
        expected = f"{FitRecord.kind_of_file}/{FitRecord.version}"
        raise UserError(
            f"{path}: not a fitted law: format is {brief(content.get('format'))}, expected {brief(expected)}"
        )
    record = FitRecord.from_dict(content, path)
    try:
        return fitted_law(get(record.law).as_form(), record)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def resolve_law(law: str | Path | Law) -> Law:
    """A law from its name, the file of a fitted one, or itself."""
    if isinstance(law, Law):
        return law
    return load(law) if isinstance(law, Path) or law.endswith(".json") or "/" in law else get(law)


def resolve_laws(laws: Iterable[str | Path | Law], option: str = "law") -> list[Law]:
    """Each law from its name, the file of a fitted one, or itself. UserError for two of one name, as `check_once`."""
    found = [resolve_law(law) for law in laws]
    check_once(found, option)
    return found


def check_once(laws: Iterable[Law], option: str = "law") -> None:
    """UserError for two laws of one name: they would count twice, and no answer could tell them apart."""
    names = [law.name for law in laws]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(
            f"{option}: {brief(twice)} is there twice; give each law once, or change `name` in the file of one of them"
        )


def _for_few_rows(number: int, freedom: int, level: float) -> float:
    """How much wider an interval is than percentiles of the draws, with so many rows and degrees of freedom.

    Residuals, and with them the spread of the draws, are smaller than the noise by the freedom that the fit used up,
    and few rows leave the size of the noise open: Student's t instead of the normal that percentiles take.
    """
    normal = student_quantile((1 + level) / 2, None)
    return float(np.sqrt(number / freedom)) * half_interval(level, freedom) / normal


def _interval(values: Array, level: float) -> Interval:
    check_number(level, "level", above=0, below=1)
    low, high = interval_of(values, level)  # an optimum that no draw has is NaN, as the caller sees
    if low.ndim == 0:
        return Interval(float(low), float(high))
    return Interval(low, high)
