"""A fit as people read it: the law, its table and what is suspicious in it; and several forms on the same rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from moewright.display import ShownTable
from moewright.errors import UserError
from moewright.laws.catalogue import get
from moewright.laws.counted_variables import in_conventions
from moewright.laws.fitting.estimator import LawFitter
from moewright.laws.fitting.extrapolation import TuningRecord
from moewright.laws.fitting.fit_record import HoldoutErrors
from moewright.laws.fitting.fit_settings import FitSettings
from moewright.laws.fitting.fitted_law import FittedLaw
from moewright.laws.fitting.observations import as_frame, rows_with
from moewright.laws.fitting.outliers import Outlier
from moewright.laws.fitting.uncertainty import LEVEL, Identified
from moewright.laws.law import Law
from moewright.records import Items, Output, Record

if TYPE_CHECKING:
    import pandas as pd


class OptimumEstimate(Record):
    """An optimum of a fitted law; None where the form has no value (a square root of less than nothing)."""

    value: float | None
    interval_90: Items[float | None]


class FitAnswer(Output):
    """A fit; arrays of draws and residuals stay in the saved law."""

    command: ClassVar[str] = "fit"
    law: str
    status: str
    messages: Items[str]
    formula: str
    coefficients: Mapping[str, float]
    intervals_90: Mapping[str, Items[float]]
    """Of the coefficients that the rows say something about."""
    optimum: Mapping[str, OptimumEstimate]
    rmse: float
    rmse_log: float
    objective: float
    rows: int
    configurations: int
    replicates: int
    failed_replicates: int
    holdout: HoldoutErrors | None
    tuned: TuningRecord | None
    identified: Items[Identified]
    outliers: Items[Outlier]
    ranges: Mapping[str, Items[float]]
    data_sha256: str
    settings: FitSettings
    findings: Items[Mapping[str, Any]]
    counted: Items[str]


@dataclass(frozen=True, repr=False)
class Fit(ShownTable):
    """A fitted law, the rows it was fitted to, and what the run table's diagnosis says about these rows."""

    law: FittedLaw
    table: "pd.DataFrame"
    findings: tuple[dict[str, Any], ...]
    """Suspicious rows: row, run_id, problem, column, detail. They were fitted all the same."""
    counted: tuple[str, ...] = ()
    """Variables that were counted from the rows' architectures, as the law defines them."""

    def answer(self) -> FitAnswer:
        """For JSON."""
        law, record = self.law, self.law.record
        intervals = law.coefficient_intervals(LEVEL) if len(record.draws) else {}
        return FitAnswer(
            law=record.law,
            status=record.status,
            messages=record.messages,
            formula=law.form.formula,
            coefficients=dict(law.coefficients),
            intervals_90={name: tuple(ends) for name, ends in intervals.items() if abs(ends.low) < float("inf")},
            optimum=optima(law),
            rmse=record.rmse,
            rmse_log=record.rmse_log,
            objective=record.objective,
            rows=record.num_rows,
            configurations=record.num_clusters,
            replicates=len(record.draws),
            failed_replicates=record.failed,
            holdout=record.holdout,
            tuned=record.tuned,
            identified=record.identified,
            outliers=record.outliers,
            ranges=record.ranges,
            data_sha256=record.data_sha256,
            settings=record.settings,
            findings=self.findings,
            counted=self.counted,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright fit --json`."""
        return self.answer().to_dict()

    def _facts(self) -> Mapping[str, Any]:
        record = self.law.record
        return {"law": record.law, "status": record.status, "rows": record.num_rows, "rmse": record.rmse}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [item.to_dict() for item in self.law.record.identified]


def fit_runs(law: Law, table: "pd.DataFrame", settings: FitSettings | None = None) -> Fit:
    """A law's form fitted to a run table (`runs.load`, `runs.prepare`), with what its diagnosis finds.

    Where every row has an `architecture`, the law's variables are counted from it, in the law's own conventions.
    Suspicious rows are fitted and listed, never dropped.
    """
    from moewright.runs import diagnose

    settings = settings or FitSettings()
    for column, values in settings.where.items():
        kept = rows_with(table, column, list(values))
        if not kept.any():
            raise UserError(f"where: no row has {' or '.join(values)} in column {column}")
        table = table[kept]
    findings = diagnose(table).to_dict("records")
    table, counted = in_conventions(law, table, settings.column)
    fitted = LawFitter(law, settings).fit(table).law_
    return Fit(fitted, table, tuple({str(key): value for key, value in row.items()} for row in findings), counted)


def optima(law: FittedLaw) -> dict[str, OptimumEstimate]:
    """The optima that need no argument, each with its value and 90 % interval; empty where the law has none."""
    rule = law.optimum_rule
    if rule is None or rule.arguments:
        return {}
    values = law.optimum()
    intervals = law.optimum_interval(LEVEL) if len(law.record.draws) else {}
    return {
        name: OptimumEstimate(value=_finite(value), interval_90=tuple(_finite(end) for end in intervals.get(name, ())))
        for name, value in values.items()
    }


def _finite(value: float) -> float | None:
    return float(value) if abs(value) < float("inf") else None


# Several forms on the same rows


class ComparedLaw(Record):
    """One form on the rows of a comparison; where it could not be fitted, `status` says why and the rest is None."""

    law: str
    status: str
    coefficients: int | None = None
    """How many were free."""
    rows_fitted: int | None = None
    rmse_fitted: float | None = None
    rows: float | None = None
    """Kept from the fit, to judge by."""
    rmse: float | None = None
    """On these, nats."""
    rmse_log: float | None = None
    bias: float | None = None
    coverage_90: float | None = None

    def to_dict(self, defaults: bool = True) -> dict[str, Any]:
        return super().to_dict(defaults=False)


@dataclass(frozen=True, repr=False)
class Comparison(ShownTable):
    """Several forms on the same rows, least held-out error first; those that could not be fitted come last."""

    laws: tuple[ComparedLaw, ...]

    def __iter__(self) -> Iterator[ComparedLaw]:
        return iter(self.laws)

    def __getitem__(self, place: int) -> ComparedLaw:
        return self.laws[place]

    def _facts(self) -> Mapping[str, Any]:
        return {row.law: row.rmse for row in self.laws}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [row.to_dict() for row in self.laws]


def compare(laws: Iterable[str | Law], table: Any, *, holdout: str = "largest", **settings: Any) -> Comparison:
    """Several forms on the same rows, judged by rows that none of them saw (`holdout`); settings of `FitSettings`.

    A law that cannot be fitted to the table comes last, with the reason as its status.
    """
    frame = as_frame(table)
    read = FitSettings.of_a_table({**settings, "holdout": holdout})
    compared: list[ComparedLaw] = []
    refused: list[ComparedLaw] = []
    for given in laws:
        law = get(given) if isinstance(given, str) else given
        try:
            record = LawFitter(law, read).fit(frame).law_.record
        except UserError as error:
            refused.append(ComparedLaw(law=law.name, status=str(error)))
            continue
        errors = {} if record.holdout is None else record.holdout.to_dict()
        compared.append(
            ComparedLaw(
                law=law.name,
                status=record.status,
                coefficients=record.num_free,
                rows_fitted=record.num_rows,
                rmse_fitted=record.rmse,
                **errors,
            )
        )
    return Comparison((*sorted(compared, key=lambda row: row.rmse or 0.0), *refused))
