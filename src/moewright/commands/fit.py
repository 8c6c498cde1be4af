"""fit: which law a table of runs follows, with its uncertainty and what the runs cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moewright.commands.checking import as_list, command
from moewright.commands.predict import resolve_law
from moewright.complaints import number, whole
from moewright.errors import UserError
from moewright.laws import Law
from moewright.laws.conventions import in_conventions

if TYPE_CHECKING:
    import pandas as pd

    from moewright.laws import FittedLaw

LEVEL = 0.9
LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Fit:
    """A fitted law, the rows it was fitted to, and what the run table's diagnosis says about these rows."""

    law: FittedLaw
    table: pd.DataFrame
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


@command
def fit(
    runs: str | Path | pd.DataFrame,
    law: str | Path | Law,
    *,
    source: str | None = None,
    where: Mapping[str, Any] | str | Iterable[str] | None = None,
    holdout: str | None = None,
    bootstrap: int = 1000,
    loss: str = "loss",
    weights: str | None = None,
    cluster: str | Iterable[str] | None = None,
    objective: str | None = None,
    tuning: str | None = None,
    asymptote: float | None = None,
    fix: Mapping[str, float] | str | Iterable[str] | None = None,
    bound: Mapping[str, tuple[float, float]] | str | Iterable[str] | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    plots: str | Path | None = None,
) -> Fit:
    """What law do my runs follow? A law's form fitted to a run table, with intervals.

    Where every row has an `architecture`, the law's variables are counted from it, in the law's own conventions. Rows
    that the run table's diagnosis finds suspicious are fitted and listed, never dropped. In Python `where`, `fix` and
    `bound` may be mappings: {"status": ["finished"]}, {"E": 1.7}, {"alpha": (0.1, 0.9)}.

    Args:
        runs: Run table: CSV, Parquet or JSON lines, one row per run.
        law: The law whose form is fitted; `moewright laws` lists them.
        source: Which public table the file is, such as joint_moe.
        where: Keep rows: COLUMN=VALUE[,VALUE]; repeatable.
        holdout: Rows to judge by: largest:0.1, best:0.1, random:0.2, COLUMN:0.2, COLUMN=VALUE.
        bootstrap: Replicates for the intervals.
        loss: Column of the loss.
        weights: Column of row weights.
        cluster: Columns that name a configuration. [default: the law's variables]
        objective: robust_log, huber_log, squares_log, squares, asymmetric. [default: the law's]
        tuning: best: choose asymptote and weights by the best rows; none. [default: the law's]
        asymptote: Pin the loss of an endless model.
        fix: Keep a coefficient: NAME=VALUE; repeatable.
        bound: Bound a coefficient: NAME=LOW:HIGH; repeatable.
        seed: Of starts, bootstrap and random holdouts.
        out: JSON file for the fitted law.
        plots: Folder for its figures, as PNG and HTML.

    Raises:
        UserError: For a table or a setting that cannot be used.
    """
    import moewright.runs as run_tables
    from moewright.laws.fitting.estimator import LawFitter

    fitter = LawFitter(
        resolve_law(law),
        objective=objective,
        loss=loss,
        weights=weights,
        cluster=cluster,  # type: ignore[arg-type]  # a list by now
        fixed=_by_name(fix, "fix", _as_number),
        bounds=_by_name(bound, "bound", _as_range),
        asymptote=asymptote,
        tuning=tuning,
        holdout=holdout,
        n_bootstrap=bootstrap,
        random_state=whole(seed, "seed", 0, LARGEST_SEED),
    )
    table = run_tables.load(runs, source) if isinstance(runs, str | Path) else run_tables.prepare(runs)
    for column, values in _by_name(where, "where", lambda text, _: text.split(",")).items():
        several = [values] if isinstance(values, str) or not isinstance(values, Iterable) else values
        table = _where(table, column, [str(value) for value in several])
    findings = run_tables.diagnose(table).to_dict("records")
    table, counted = in_conventions(fitter.law, table)
    fitted = fitter.fit(table).law_
    if out is not None:
        fitted.save(out)
    found = Fit(fitted, table, tuple({str(key): value for key, value in row.items()} for row in findings), counted)
    if plots is not None:
        from moewright.report.fit_figures import write_figures

        write_figures(found, Path(plots))
    return found


def _by_name(
    given: Mapping[str, Any] | str | Iterable[str] | None, option: str, read: Callable[[str, str], Any]
) -> dict[str, Any]:
    """Values by name, from a mapping or from texts NAME=VALUE, whose values are read. UserError for anything else."""
    if isinstance(given, Mapping):
        return dict(given)
    found: dict[str, Any] = {}
    for text in as_list(given):
        name, separator, value = text.partition("=")
        if not (name and separator and value):
            raise UserError(f"{option}: expected NAME=VALUE, found {text!r}")
        if name in found:
            raise UserError(f"{option} {name}: given twice")
        found[name] = read(value, f"{option} {name}")
    return found


def _as_number(text: str, name: str) -> float:
    try:
        return number(float(text), name)
    except ValueError:
        raise UserError(f"{name}: {text!r} is not a finite number") from None


def _as_range(text: str, name: str) -> tuple[float, float]:
    low, separator, high = text.partition(":")
    if not separator:
        raise UserError(f"{name}: expected LOW:HIGH, found {text!r}")
    return _as_number(low, name), _as_number(high, name)


def optima(law: FittedLaw) -> dict[str, dict[str, Any]]:
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


def _where(table: pd.DataFrame, column: str, values: list[str]) -> pd.DataFrame:
    from moewright.laws.fitting.holdout import rows_with

    kept = rows_with(table, column, values)
    if not kept.any():
        raise UserError(f"where: no row has {' or '.join(values)} in column {column}")
    return table[kept]
