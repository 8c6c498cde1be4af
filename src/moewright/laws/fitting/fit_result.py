"""A fit as people read it: the law, its table and what is suspicious in it; and several forms on the same rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from moewright.display import ShownTable
from moewright.errors import UserError
from moewright.laws.counted_variables import in_conventions
from moewright.laws.fitting.estimator import LawFitter
from moewright.laws.fitting.extrapolation import TuningRecord
from moewright.laws.fitting.fit_record import HoldoutErrors
from moewright.laws.fitting.fit_settings import FitSettings
from moewright.laws.fitting.fitted_law import FittedLaw
from moewright.laws.fitting.iso_flops import IsoFlops, frontier_table, is_frontier, iso_flops_of
from moewright.laws.fitting.observations import rows_with
from moewright.laws.fitting.outliers import Outlier
from moewright.laws.fitting.uncertainty import LEVEL, Identified
from moewright.laws.law import Law
from moewright.records import Count, Items, Output, Record

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
    iso_flops: IsoFlops | None = None
    """Where the rows are iso-FLOP groups, and the law one of size and tokens: the frontier beside it."""
    minima_of: Count | None = None
    """Rows of iso-FLOP groups, of which a frontier was fitted to the minima."""


@dataclass(frozen=True, repr=False)
class Fit(ShownTable):
    """A fitted law, the rows it was fitted to, and what the run table's diagnosis says about these rows."""

    law: FittedLaw
    table: "pd.DataFrame"
    findings: tuple[dict[str, Any], ...]
    """Suspicious rows: row, run_id, problem, column, detail. They were fitted all the same."""
    counted: tuple[str, ...] = ()
    """Variables that were counted from the rows' architectures, as the law defines them."""
    iso_flops: IsoFlops | None = None
    """Where the rows are iso-FLOP groups, and the law one of size and tokens: the frontier beside it."""
    minima_of: int | None = None
    """Rows of iso-FLOP groups, whose minima `table` then is: what a frontier is fitted to."""

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
            iso_flops=self.iso_flops,
            minima_of=self.minima_of,
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
    Suspicious rows are fitted and listed, never dropped. A frontier, a law of training compute alone, is fitted to the
    minima of iso-FLOP groups where the rows are such, unless rows have weights or configurations of the user's.
    """
    settings = settings or FitSettings()
    table, findings = chosen_rows(table, settings)
    table, counted = in_conventions(law, table, settings.column)
    rows = None
    if is_frontier(law) and not (settings.weights or settings.cluster):
        minima = frontier_table(table, settings)
        if minima is not None:
            rows, table = len(table), minima
    fitter = LawFitter(law, settings).fit(table)
    return Fit(fitter.law_, table, findings, counted, iso_flops_of(fitter), rows)


def chosen_rows(table: "pd.DataFrame", settings: FitSettings) -> tuple["pd.DataFrame", tuple[dict[str, Any], ...]]:
    """The rows of a run table that the settings keep, and what its diagnosis finds in them."""
    from moewright.runs import diagnose

    for column, values in settings.where.items():
        kept = rows_with(table, column, list(values))
        if not kept.any():
            raise UserError(f"where: no row has {' or '.join(values)} in column {column}")
        table = table[kept]
    found = diagnose(table).to_dict("records")
    return table, tuple({str(key): value for key, value in row.items()} for row in found)


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
