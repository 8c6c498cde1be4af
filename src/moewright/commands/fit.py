"""fit: which law a table of runs follows, with its uncertainty and what the runs cannot tell."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moewright.commands.predict import resolve_law
from moewright.errors import UserError
from moewright.laws import Law
from moewright.laws.conventions import in_conventions

if TYPE_CHECKING:
    import pandas as pd

    from moewright.laws import FittedLaw

LEVEL = 0.9


@dataclass(frozen=True)
class Fit:
    """A fitted law, the rows it was fitted to, and what the run table's diagnosis says about these rows."""

    law: "FittedLaw"
    table: "pd.DataFrame"
    findings: tuple[dict[str, Any], ...]
    """Suspicious rows: row, run_id, problem, column, detail. They were fitted all the same."""
    counted: tuple[str, ...] = ()
    """Variables that were counted from the rows' architectures, as the law defines them."""

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright fit --json`; arrays of draws and residuals stay in the saved law."""
        law, record = self.law, self.law.record
        intervals = law.coefficient_intervals(LEVEL) if len(record.draws) else {}
        return {
            "law": record.law,
            "status": record.status,
            "messages": list(record.messages),
            "formula": law.form.formula if law.form else None,
            "coefficients": dict(law.coefficients),
            "intervals_90": {name: list(interval) for name, interval in intervals.items()},
            "optimum": optima(law),
            "rmse": record.rmse,
            "rmse_log": record.rmse_log,
            "objective": record.objective,
            "rows": record.num_rows,
            "configurations": record.num_clusters,
            "replicates": len(record.draws),
            "failed_replicates": record.failed,
            "holdout": record.holdout,
            "tuned": record.tuned,
            "identified": [asdict(item) for item in record.identified],
            "ranges": {variable.name: [variable.low, variable.high] for variable in law.inputs},
            "data_sha256": record.data_sha256,
            "settings": dict(record.settings),
            "findings": list(self.findings),
            "counted": list(self.counted),
        }


def fit(
    runs: "str | Path | pd.DataFrame",
    law: str | Path | Law,
    *,
    source: str | None = None,
    where: Mapping[str, Iterable[str]] | None = None,
    holdout: str | None = None,
    bootstrap: int = 1000,
    out: str | Path | None = None,
    **settings: Any,
) -> Fit:
    """Fit a law's form to a run table: a file that `moewright.runs.load` reads, or a DataFrame.

    Where every row has an `architecture`, the law's variables are counted from it, in the law's own conventions.

    `source` names the public table that the file is. `where` keeps rows whose column has one of some values.
    `out` saves the law for `laws.load`, `predict` and `design`. Other settings are those of `laws.LawFitter`. Rows that
    the run table's diagnosis finds suspicious are fitted and listed, never dropped.
    """
    import moewright.runs as run_tables

    chosen = resolve_law(law)
    table = run_tables.prepare(runs) if not isinstance(runs, str | Path) else run_tables.load(runs, source)
    for column, values in (where or {}).items():
        table = _where(table, column, [str(value) for value in values])
    findings = run_tables.diagnose(table).to_dict("records")
    table, counted = in_conventions(chosen, table)
    fitted = chosen.fit(table, holdout=holdout, n_bootstrap=bootstrap, **settings)
    if out is not None:
        fitted.save(out)
    return Fit(fitted, table, tuple({str(key): value for key, value in row.items()} for row in findings), counted)


def optima(law: "FittedLaw") -> dict[str, dict[str, Any]]:
    """The optima that need no argument, each with its value and 90 % interval; empty where the law has none."""
    rule = law.optimum_rule
    if rule is None or rule.arguments:
        return {}
    values = law.optimum()
    intervals = law.optimum_interval(LEVEL) if len(law.record.draws) else {}
    return {
        # A form's optimum can lie where it has no value (a square root of less than nothing): null, not NaN.
        name: {"value": _number(value), "interval_90": [_number(end) for end in intervals.get(name, ())]}
        for name, value in values.items()
    }


def _number(value: float) -> float | None:
    return float(value) if abs(value) < float("inf") else None


def _where(table: "pd.DataFrame", column: str, values: list[str]) -> "pd.DataFrame":
    from moewright.laws.fitting.holdout import rows_with

    kept = rows_with(table, column, values)
    if not kept.any():
        raise UserError(f"where: no row has {' or '.join(values)} in column {column}")
    return table[kept]
