"""Several forms on the same rows, judged by rows larger than those that they were fitted to.

How well a form fits its rows says little about where it is asked: larger. So the rows are cut at several sizes in every
direction, as in `reach`, the same cuts for every form; each form is fitted below each cut, and its errors of the rows
above it are what it is judged by. In a direction with n independent cuts (`CUTS_ALIKE` of them count as one) a form
whose mean squared error of the log loss there is e has the likelihood e^(-n/2), that of normal errors of unknown size.
A form is told apart from the best where its odds are less than one to nineteen; those that are not weigh by their odds.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from moewright.complaints import check_names
from moewright.display import ShownTable
from moewright.errors import UserError
from moewright.laws.catalogue import get, names
from moewright.laws.counted_variables import in_conventions
from moewright.laws.fitting.estimator import LawFitter
from moewright.laws.fitting.fit_result import Fit, chosen_rows
from moewright.laws.fitting.fit_settings import DEFAULT_OBJECTIVE, FitSettings
from moewright.laws.fitting.fitted_law import FittedLaw, Interval
from moewright.laws.fitting.iso_flops import IsoFlops, iso_flops_of
from moewright.laws.fitting.observations import as_frame, usual_name
from moewright.laws.fitting.reach import LEAST_ODDS, cuts_below, directions_of, errors_below, log_evidence
from moewright.laws.fitting.stacking import FormPrediction, StackedPrediction, mixture_of
from moewright.laws.fitting.uncertainty import LEVEL
from moewright.laws.law import Law, LossForm
from moewright.laws.variable import Array, Mask, check_values
from moewright.records import Count, Items, Output, Record

if TYPE_CHECKING:
    import pandas as pd


class HeldOutDirection(Record):
    """One direction in which the largest rows were held out."""

    direction: str
    """A variable of the laws, or training compute."""
    cuts: Count
    """Sizes below which every form was fitted."""
    farthest: float
    """The largest held-out row over the largest fitted one, at the lowest cut."""


class ComparedLaw(Record):
    """One form on the rows of a comparison; where it could not be judged, `status` says why and the rest is None."""

    law: str
    also: Items[str] = ()
    """Other laws of the same form and variables: a fit cannot tell them apart."""
    status: str
    coefficients: int | None = None
    """How many were free."""
    rows_fitted: int | None = None
    rmse_fitted: float | None = None
    """On the fitted rows, nats."""
    rmse_log_fitted: float | None = None
    beyond: float | None = None
    """Root mean square error of the log loss of rows above the cuts, over all directions."""
    beyond_by_direction: Mapping[str, float] | None = None
    weight: float | None = None
    """Of the form among those that are not told apart; 0 for one that is."""
    told_apart: bool | None = None
    """Whether it is worse than the best by more than the cuts leave open."""
    rows: float | None = None
    """Kept from the fit by `holdout`."""
    rmse: float | None = None
    """On these, nats."""
    rmse_log: float | None = None
    bias: float | None = None
    coverage_90: float | None = None
    withheld: int | None = None

    def to_dict(self, defaults: bool = True) -> dict[str, Any]:
        return super().to_dict(defaults=False)


class ComparedLawsAnswer(Output):
    """Every form that the rows determine, on the same rows, best first; those that they do not come last."""

    command: ClassVar[str] = "fit --law all"
    laws: Items[ComparedLaw]
    best: str
    not_told_apart: Items[str]
    """From the best, which is among them."""
    held_out: Items[HeldOutDirection]
    rows: int
    settings: FitSettings
    findings: Items[Mapping[str, Any]] = ()
    stacked: StackedPrediction | None = None
    """Of the run that was asked about."""
    iso_flops: IsoFlops | None = None
    """Where the rows are iso-FLOP groups, and the best form one of size and tokens: the frontier beside it."""


@dataclass(frozen=True, repr=False)
class ComparedLaws(ShownTable):
    """Several forms on the same rows, least error beyond them first; those that could not be judged come last."""

    laws: tuple[ComparedLaw, ...]
    fits: tuple[Fit, ...]
    """Of the forms that are not told apart from the best, in the order of `laws`."""
    held_out: tuple[HeldOutDirection, ...]
    """Empty where there are too few sizes to hold any out: then nothing tells the forms apart."""
    settings: FitSettings
    findings: tuple[dict[str, Any], ...] = ()
    """Suspicious rows, as in a `Fit`."""
    at: StackedPrediction | None = None
    """What the forms expect together of the run that was asked about."""

    def __iter__(self) -> Iterator[ComparedLaw]:
        return iter(self.laws)

    def __getitem__(self, place: int) -> ComparedLaw:
        return self.laws[place]

    @property
    def best(self) -> Fit:
        """The fit of the form with the least error beyond the rows."""
        return self.fits[0]

    @property
    def weights(self) -> tuple[float, ...]:
        """Of `fits`, adding up to 1."""
        return tuple(row.weight or 0.0 for row in self.laws[: len(self.fits)])

    def stacked(self, table: Any, level: float = LEVEL) -> tuple[Array, Interval]:
        """Loss (R,), and its interval for one new run, of all forms that are not told apart, for each row of a table.

        UserError for a column that one of them takes and the table has not.
        """
        frame, forms = as_frame(table), []
        for fit in self.fits:
            own, _ = in_conventions(fit.law.law, frame, self.settings.column)
            low, high = fit.law.interval(own, level)
            forms.append(FormPrediction(fit.law.predict(own), low, high))
        return mixture_of(forms, self.weights, level)

    def planned(self, values: Mapping[str, float]) -> StackedPrediction:
        """What they expect of one run, given all their variables. UserError for one that is missing or unknown."""
        needed = dict.fromkeys(variable.name for fit in self.fits for variable in fit.law.inputs)
        # Which forms are left is not known before: what another one takes may be given too.
        known = {variable.name for row in self.laws for variable in get(row.law).inputs}
        check_names([name for name in values if name not in known or name in needed], needed, "at", "variable")
        forms = []
        for fit in self.fits:
            own: dict[str, Any] = check_values(fit.law.inputs, {v.name: values[v.name] for v in fit.law.inputs}, "at")
            ends = fit.law.prediction_interval(**own)
            forms.append(FormPrediction(*(np.atleast_1d(each) for each in (fit.law.loss(**own), *ends))))
        loss, (low, high) = mixture_of(forms, self.weights)
        given = bool(np.isfinite(low[0]))
        return StackedPrediction(
            loss=float(loss[0]),
            low=float(low[0]) if given else None,
            high=float(high[0]) if given else None,
            at={name: values[name] for name in needed},
            weights={fit.law.record.law: weight for fit, weight in zip(self.fits, self.weights, strict=True)},
        )

    def answer(self) -> ComparedLawsAnswer:
        """For JSON."""
        return ComparedLawsAnswer(
            stacked=self.at,
            laws=self.laws,
            best=self.laws[0].law,
            not_told_apart=tuple(fit.law.record.law for fit in self.fits),
            held_out=self.held_out,
            rows=self.best.law.record.num_rows,
            settings=self.settings,
            findings=self.findings,
            iso_flops=self.best.iso_flops,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright fit --law all --json`."""
        return self.answer().to_dict()

    def _facts(self) -> Mapping[str, Any]:
        return {row.law: row.beyond for row in self.laws if row.coefficients is not None}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [row.to_dict() for row in self.laws]


def compare(laws: Iterable[str | Law], table: Any, *, holdout: str | None = None, **settings: Any) -> ComparedLaws:
    """Several forms on the same rows of a DataFrame, a mapping of columns or a file; settings of `FitSettings`.

    A law that cannot be fitted to the table, or whose coefficients its rows do not determine, comes last, with the
    reason as its status. UserError where that is all of them, and for settings that only one law can have.
    """
    read = FitSettings.of_a_table({**settings, "holdout": holdout})
    return compare_forms([get(each) if isinstance(each, str) else each for each in laws], as_frame(table), read)


def all_forms() -> list[Law]:
    """Every published law that is a form of the loss."""
    return [law for law in map(get, names()) if isinstance(law, LossForm)]


def check_planned(values: Mapping[str, float], table: "pd.DataFrame", settings: FitSettings) -> None:
    """UserError for a planned run that lacks a variable of a form that the table has columns for, or has none of these.

    Which forms the rows will determine is not known before the fits, so all of their variables are asked for.
    """
    laws = all_forms()
    fitted = [law for law in laws if not _lacking(law, in_conventions(law, table, settings.column)[0])]
    needed = dict.fromkeys(variable.name for law in fitted for variable in law.inputs)
    known = {variable.name for law in laws for variable in law.inputs}
    check_names([name for name in values if name not in known or name in needed], needed, "at", "variable")
    for law in fitted:
        check_values(law.inputs, {variable.name: values[variable.name] for variable in law.inputs}, "at")


def compare_runs(table: "pd.DataFrame", settings: FitSettings) -> ComparedLaws:
    """Every form on the rows of a run table (`runs.load`, `runs.prepare`), with what its diagnosis finds."""
    table, findings = chosen_rows(table, settings)
    return compare_forms(all_forms(), table, settings, findings)


def compare_forms(
    laws: Iterable[Law], table: "pd.DataFrame", settings: FitSettings, findings: tuple[dict[str, Any], ...] = ()
) -> ComparedLaws:
    """See `compare`; settings and findings may be those of the run table that the rows are of."""
    settings = _alike_for_all(settings)
    quick = settings.model_copy(update={"bootstrap": 0})
    judged: list[_Fitted] = []
    refused: list[ComparedLaw] = []
    for law, also in _distinct(laws):
        frame, counted = in_conventions(law, table, settings.column)
        if lacking := _lacking(law, frame):
            refused.append(ComparedLaw(law=law.name, also=also, status=f"no column {', '.join(lacking)}"))
            continue
        try:
            fitter = LawFitter(law, quick).fit(frame)
        except UserError as error:
            refused.append(ComparedLaw(law=law.name, also=also, status=str(error)))
            continue
        if fitter.status_ == "underdetermined":
            why = f"underdetermined: {fitter.law_.record.messages[0]}"
            refused.append(ComparedLaw(law=law.name, also=also, status=why))
        else:
            judged.append(_Fitted(law, also, frame, counted, fitter))
    if not judged:
        reasons = f": {refused[0].law}: {refused[0].status}" if refused else ""
        raise UserError(f"the rows determine none of the {len(refused)} forms{reasons}")
    held_out, errors = _errors_beyond(judged)
    evidence = np.array([_log_likelihood(each, held_out) for each in errors])
    odds = np.exp(evidence - evidence.max())
    weights = np.where(odds < LEAST_ODDS, 0.0, odds) / odds[odds >= LEAST_ODDS].sum()
    fitted_error = [each.fitter.law_.record.rmse_log for each in judged]
    order = sorted(range(len(judged)), key=lambda i: (-evidence[i], fitted_error[i]))
    fits: dict[int, Fit] = {}
    for i in order:
        if weights[i] > 0:
            each = judged[i]
            # Only forms that may be right need intervals, which take most of the time.
            law = LawFitter(each.law, settings).fit(each.table).law_ if settings.bootstrap else each.fitter.law_
            groups = None if fits else iso_flops_of(each.fitter)
            fits[i] = Fit(law, each.table, findings, each.counted, groups)
    rows = [
        _compared(
            judged[i], fits[i].law if i in fits else judged[i].fitter.law_, held_out, errors[i], float(weights[i])
        )
        for i in order
    ]
    return ComparedLaws((*rows, *refused), tuple(fits.values()), held_out, settings, findings)


@dataclass(frozen=True)
class _Fitted:
    """A form that the rows determine, the table in its conventions, and its fit to it."""

    law: Law
    also: tuple[str, ...]
    table: "pd.DataFrame"
    counted: tuple[str, ...]
    fitter: LawFitter


def _alike_for_all(settings: FitSettings) -> FitSettings:
    """The settings with which all forms are fitted; UserError for what only one form can have."""
    for name in ("fix", "bound"):
        if getattr(settings, name):
            raise UserError(f"{name}: names a coefficient of one law; name that law instead of comparing several")
    if settings.tuning == "best":
        raise UserError("tuning: chooses by the rows that a comparison holds out; name one law")
    if (settings.holdout or "").partition(":")[0] == "cluster" and settings.cluster is None:
        raise UserError("holdout: configurations are other ones for every law; say by which --cluster COLUMN")
    return settings.model_copy(update={"tuning": "none", "objective": settings.objective or DEFAULT_OBJECTIVE})


def _lacking(law: Law, table: "pd.DataFrame") -> list[str]:
    """The variables that the table has no column for."""
    return [_asked(table, each.name) for each in law.inputs if each.name not in table]


def _asked(table: "pd.DataFrame", name: str) -> str:
    """A column that is not there, and how to give it where it seems to be."""
    theirs = usual_name(table, name)
    return name if theirs is None else f"{name} (--column {name}={theirs}?)"


def _distinct(laws: Iterable[Law]) -> list[tuple[Law, tuple[str, ...]]]:
    """Laws of unlike form or variables, in order, each with the names of the others that have the same."""
    found: dict[tuple[Any, ...], tuple[Law, list[str]]] = {}
    for law in laws:
        form = law.as_form()
        key = (form.form.name, *((variable.name, variable.derive) for variable in form.inputs))
        if key in found:
            found[key][1].append(law.name)
        else:
            found[key] = (law, [])
    return [(law, tuple(also)) for law, also in found.values()]


def _errors_beyond(judged: Sequence[_Fitted]) -> tuple[tuple[HeldOutDirection, ...], list[dict[str, float]]]:
    """The directions that could be held out, and each form's mean squared error above the cuts of each of them."""
    fits = [each.fitter for each in judged]
    # A row that no form explains is an accident; one that some form does tells of the others.
    strange = np.logical_and.reduce([_outliers(fit) for fit in fits])
    weights = fits[0].weights_ * ~strange
    directions: dict[str, Array] = {}
    for fit in fits:
        for name, values in directions_of(fit.rows_.columns).items():
            directions.setdefault(name, values)
    forms = [(fit.rows_.clusters, int(fit.problem_.free.sum())) for fit in fits]
    cuts = [(name, below) for name, values in directions.items() for below in cuts_below(values, weights, forms)]
    held_out = []
    for name, values in directions.items():
        lowest = min((values[below].max() for at, below in cuts if at == name), default=None)
        if lowest is not None:
            number = sum(at == name for at, _ in cuts)
            ratio = float(values[weights > 0].max() / lowest) if lowest > 0 else float("inf")
            held_out.append(HeldOutDirection(direction=name, cuts=number, farthest=min(ratio, 1e300)))
    if not cuts:
        return (), [{} for _ in fits]
    fitted = np.array([weights * below for _, below in cuts])
    found = []
    for fit in fits:
        missed, _ = errors_below(fit.problem_, fit.u_, fit.rows_.loss, fitted)
        squared: dict[str, list[float]] = {each.direction: [] for each in held_out}
        for error, (name, below) in zip(missed, cuts, strict=True):
            squared[name].append(float(np.mean(error[~below & (weights > 0)] ** 2)))
        found.append({name: float(np.mean(values)) for name, values in squared.items()})
    return tuple(held_out), found


def _outliers(fit: LawFitter) -> Mask:
    far = np.zeros(len(fit.rows_), dtype=bool)
    far[[outlier.row - 1 for outlier in fit.law_.record.outliers]] = True
    return far


def _log_likelihood(errors: Mapping[str, float], held_out: Iterable[HeldOutDirection]) -> float:
    return sum(log_evidence(each.cuts, errors[each.direction]) for each in held_out)


def _compared(
    judged: _Fitted,
    fit: FittedLaw,
    held_out: Sequence[HeldOutDirection],
    errors: Mapping[str, float],
    weight: float,
) -> ComparedLaw:
    record = fit.record
    kept = {} if record.holdout is None else record.holdout.to_dict()
    squared = np.average(list(errors.values()), weights=[each.cuts for each in held_out]) if errors else None
    return ComparedLaw(
        law=judged.law.name,
        also=judged.also,
        status=record.status,
        coefficients=record.num_free,
        rows_fitted=record.num_rows,
        rmse_fitted=record.rmse,
        rmse_log_fitted=record.rmse_log,
        beyond=None if squared is None else float(np.sqrt(squared)),
        beyond_by_direction={name: float(np.sqrt(value)) for name, value in errors.items()} or None,
        weight=weight,
        told_apart=weight == 0.0 if errors else None,
        **kept,
    )
