"""fit: which law a table of runs follows, with its uncertainty and what the runs cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from moewright.commands.checking import as_list, command, number_from, show_value, writes
from moewright.complaints import check_integer, check_number, hint, named_texts
from moewright.errors import UserError
from moewright.outputs import FIGURE_MARKS, FORECAST_FILE, LAW_FILE, Destination, Place, deliver
from moewright.quantities import LARGEST_SEED, brief

if TYPE_CHECKING:
    import pandas as pd

    from moewright.laws import ComparedLaws, Fit, Law
    from moewright.laws.fitting.preregistration import ForecastScore

    class _Settings(TypedDict, total=False):
        """The arguments of `fit` beside the runs and the law."""

        source: str | None
        where: Mapping[str, Any] | str | Iterable[str] | None
        column: Mapping[str, str] | str | Iterable[str] | None
        holdout: str | None
        bootstrap: int
        loss: str
        weights: str | None
        cluster: str | Iterable[str] | None
        objective: str | None
        tuning: str | None
        asymptote: float | None
        fix: Mapping[str, float] | str | Iterable[str] | None
        bound: Mapping[str, tuple[float, float]] | str | Iterable[str] | None
        seed: int
        at: Mapping[str, float] | str | Iterable[str] | None
        preregister: str | Path | None
        out: str | Path | None
        plots: str | Path | None
        force: bool


FIGURES = Place("files", FIGURE_MARKS, ("predicted.png", "residuals.png", "marginal.png", "fit.html"))


@overload
def fit(  # type: ignore[overload-overlap]  # the one name that is no law's
    runs: str | Path | pd.DataFrame, law: Literal["all"], **settings: Unpack[_Settings]
) -> ComparedLaws: ...


@overload
def fit(runs: str | Path | pd.DataFrame, law: str | Path | Law, **settings: Unpack[_Settings]) -> Fit: ...


@overload
def fit(runs: str | float, *, score: str | Path) -> ForecastScore: ...


@command
@writes(out=LAW_FILE, plots=FIGURES, preregister=FORECAST_FILE)
def fit(
    runs: str | Path | pd.DataFrame | float,
    law: str | Path | Law | None = None,
    *,
    source: str | None = None,
    where: Mapping[str, Any] | str | Iterable[str] | None = None,
    column: Mapping[str, str] | str | Iterable[str] | None = None,
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
    at: Mapping[str, float] | str | Iterable[str] | None = None,
    preregister: str | Path | None = None,
    score: str | Path | None = None,
    out: str | Path | None = None,
    plots: str | Path | None = None,
    force: bool = False,
) -> Fit | ComparedLaws | ForecastScore:
    """What law do my runs follow? A law's form fitted to a run table, with intervals.

    With law "all" every form that the rows determine is fitted to the same rows, and judged by the largest of them,
    held out at several sizes: a `ComparedLaws`, which says which forms these tell apart. `out` and `plots` are then of
    the one with the least error there.

    Where every row has an `architecture`, the law's variables are counted from it, in the law's own conventions. Rows
    that the run table's diagnosis finds suspicious are fitted and listed, never dropped. In Python `where`, `column`,
    `fix`, `bound` and `at` may be mappings: {"status": ["finished"]}, {"total_params": "N"}, {"E": 1.7},
    {"alpha": (0.1, 0.9)}.

    With `preregister`, what the law expects of a planned run is written to a dated file. When the run is made,
    `moewright fit --score FILE LOSS` judges the forecast: `runs` is then the loss that was measured.

    Args:
        runs: Run table: CSV, Parquet or JSON lines, one row per run; with --score the measured loss.
        law: The law whose form is fitted; `moewright laws` lists them. all: every form, compared.
        source: Which public table the file is, such as joint_moe.
        where: Keep rows: COLUMN=VALUE[,VALUE]; repeatable.
        column: A column of another name: LAW_NAME=TABLE_NAME, such as total_params=N; repeatable.
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
        at: The planned run: NAME=VALUE for each of the law's variables, such as train_tokens=2T; repeatable. With law
            all: a run of which the forms that are not told apart say together what they expect.
        preregister: JSON file for a dated forecast of it: law, hash of the data, loss, interval.
        score: Such a file, to be judged by the loss that was measured.
        out: JSON file for the fitted law. An earlier one is replaced, another file is not.
        plots: Folder for its figures, as PNG and HTML.
        force: Replace existing files that are no earlier results of this command. Inputs are never replaced.

    Raises:
        UserError: For a table or a setting that cannot be used, or a place where nothing can be written.
        RunStopped: When such a place was lost meanwhile; says where the result is instead.
    """
    if score is not None:
        given = {
            "law": law, "source": source, "where": where, "column": column, "holdout": holdout, "weights": weights,
            "cluster": cluster, "objective": objective, "tuning": tuning, "asymptote": asymptote, "fix": fix,
            "bound": bound, "at": at, "preregister": preregister, "out": out, "plots": plots,
            "bootstrap": None if bootstrap == 1000 else bootstrap,
            "loss": None if loss == "loss" else loss, "seed": seed or None, "force": force or None,
        }  # fmt: skip
        return _scored(runs, score, [name for name, value in given.items() if value is not None])
    if isinstance(runs, int | float):
        raise UserError(f"runs: expected a run table, found {show_value(runs)}; a measured loss goes with score")
    if law is None:
        raise UserError("law: missing; give --law NAME (in Python law=...)")
    if (at is None) != (preregister is None) and not (law == "all" and preregister is None):
        missing = "--at NAME=VALUE for the planned run" if at is None else "--preregister FILE for the forecast"
        raise UserError(f"{'preregister' if at is None else 'at'}: needs {missing} too")
    import moewright.runs as run_tables
    from moewright.laws import ComparedLaws, FitSettings, resolve_law
    from moewright.laws.fitting.comparison import all_forms, check_planned, compare_runs
    from moewright.laws.fitting.fit_result import fit_runs
    from moewright.laws.variable import parse_value

    kept = _by_name(where, "where", lambda text, _: text.split(","))
    if law == "all" and preregister is not None:
        raise UserError("preregister: a forecast is of one law; name it")
    chosen = all_forms() if law == "all" else [resolve_law(law)]
    columns = _by_name(column, "column", lambda text, _: text)
    _check_columns(columns, chosen, loss)
    settings = FitSettings.from_dict(
        {
            "source": source,
            "where": {name: _texts(values) for name, values in kept.items()},
            "column": columns,
            "holdout": holdout,
            "bootstrap": bootstrap,
            "loss": loss,
            "weights": weights,
            "cluster": as_list(cluster) or None,
            "objective": objective,
            "tuning": tuning,
            "asymptote": None if asymptote is None else check_number(asymptote, "asymptote"),
            "fix": _by_name(fix, "fix", _as_number),
            "bound": _by_name(bound, "bound", _as_range),
            "seed": check_integer(seed, "seed", 0, LARGEST_SEED),
        }
    )
    if isinstance(runs, str | Path):
        table = run_tables.load(runs, source, columns)
    else:
        table = run_tables.prepare(runs, columns=columns)
    planned = None if at is None or law == "all" else _planned(at, chosen[0])
    asked = None
    if at is not None and law == "all":
        asked = {name: check_number(each, "at") for name, each in _by_name(at, "at", parse_value).items()}
        check_planned(asked, table, settings)
    found = compare_runs(table, settings) if law == "all" else fit_runs(chosen[0], table, settings)
    if asked is not None and isinstance(found, ComparedLaws):
        found = replace(found, at=found.planned(asked))
    best = found.best if isinstance(found, ComparedLaws) else found
    results: list[tuple[Destination, Callable[[Path], object]]] = []
    if out is not None:
        results.append((Destination("out", out, LAW_FILE), best.law.save))
    if plots is not None:
        from moewright.report.fit_figures import write_fit_figures

        results.append((Destination("plots", plots, FIGURES), lambda folder: write_fit_figures(best, folder)))
    if preregister is not None and planned is not None:
        from moewright.laws.fitting.preregistration import forecast_of

        results.append((Destination("preregister", preregister, FORECAST_FILE), forecast_of(best.law, planned).write))
    deliver(*results, force=force)
    return found


def _scored(runs: Any, score: str | Path, others: list[str]) -> ForecastScore:
    if others:
        raise UserError(f"score: judges a forecast, and {others[0]} says how to fit; leave it out")
    from moewright.laws.fitting.preregistration import score_forecast

    if not isinstance(runs, str | int | float):
        raise UserError("runs: with --score the loss that was measured is expected, such as 2.31")
    return score_forecast(score, _as_number(runs, "runs") if isinstance(runs, str) else runs)


def _check_columns(columns: Mapping[str, str], laws: Sequence[Law], loss: str) -> None:
    """UserError for a name that no column of the fit has."""
    from moewright.laws.fitting.iso_flops import BUDGET_COLUMNS, is_frontier

    wanted = [*dict.fromkeys(variable.name for law in laws for variable in law.inputs), loss]
    if any(is_frontier(law) for law in laws):  # of which the minima of iso-FLOP groups are taken
        wanted += BUDGET_COLUMNS
    for name in columns:
        if name not in wanted:
            takes = f"{laws[0].name} takes no" if len(laws) == 1 else "no law takes a"
            raise UserError(f"column {name}: {takes} column of that name{hint(name, wanted)}")


def _planned(at: Mapping[str, float] | str | Iterable[str], law: Law) -> dict[str, float]:
    """The planned run in the law's variables; UserError for what is missing, unknown or impossible."""
    from moewright.laws.variable import check_values, parse_value

    values = _by_name(at, "at", parse_value)
    return {name: float(value) for name, value in check_values(law.inputs, values, "at").items()}


def _texts(values: Any) -> list[str]:
    several = [values] if isinstance(values, str) or not isinstance(values, Iterable) else values
    return [str(value) for value in several]


def _by_name(
    given: Mapping[str, Any] | str | Iterable[str] | None, option: str, read: Callable[[str, str], Any]
) -> dict[str, Any]:
    """Values by name, from a mapping or from texts NAME=VALUE, whose values are read. UserError for anything else."""
    if isinstance(given, Mapping):
        return dict(given)
    return {name: read(value, f"{option} {name}") for name, value in named_texts(as_list(given), option).items()}


def _as_number(text: str, name: str) -> float:
    try:
        return check_number(number_from(text), name)
    except ValueError:
        raise UserError(f"{name}: {brief(text)} is not a finite number") from None


def _as_range(text: str, name: str) -> tuple[float, float]:
    low, separator, high = text.partition(":")
    if not separator:
        raise UserError(f"{name}: expected LOW:HIGH, found {brief(text)}")
    return _as_number(low, name), _as_number(high, name)
