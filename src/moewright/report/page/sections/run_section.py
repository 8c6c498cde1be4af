"""Runs: one table whoever trained them, doubtful and held-out rows marked, and learning curves where there are any."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from moewright import runs
from moewright.experiment.collecting.collection import AXIS_PREFIX, RunTable, find_runs
from moewright.experiment.collecting.findings import RunFinding
from moewright.experiment.collecting.learning_curves import read_curves
from moewright.experiment.states import STATES
from moewright.foreign_text import shortened, to_html
from moewright.laws.marginals import spans_widely
from moewright.laws.variable import Array, Mask
from moewright.quantities import counted
from moewright.report.page.page_blocks import (
    Origin,
    PageBlock,
    PageColumn,
    PageGrid,
    PageNumber,
    facts_html,
    facts_markdown,
    grid_html,
    grid_markdown,
    list_html,
    list_markdown,
    number_text,
    paragraphs_html,
    plot_html,
    spoken,
)
from moewright.report.page.page_plots import PLOT_ASSETS, PagePlot, PlotAxis, PlotSeries, axis_label
from moewright.report.page.page_sources import PageSource
from moewright.runs.schema import column_for

_MOST_ROWS = 1500
"""Of a table in a page; the rest is in its file."""
_MOST_COLUMNS, SHOWN_AT_FIRST = 40, 10
MOST_FINDINGS = 30
FIRST_COLUMNS = (
    "run_id",
    "state",
    "status",
    "total_params",
    "active_params",
    "num_experts",
    "top_k",
    "train_tokens",
    "loss",
)
_LONGEST_TEXT = 60
HELD_OUT = "split"
"""Column of public tables that says which rows were kept from the fit."""
CURVE_POINTS, MOST_CURVES = 120, 300
LOST_WORDS = {"interrupted": "lost"}
"""States whose name says less than what came of the run."""


def table_blocks(sources: Sequence[PageSource]) -> Iterator[PageBlock]:
    """A block for each run table."""
    for source in sources:
        table: pd.DataFrame = source.value
        found = [
            RunFinding(row=int(row), run_id=str(run), problem=problem, column=column, detail=detail)
            for row, run, problem, column, detail in runs.diagnose(table).itertuples(index=False)
        ]
        name = source.path.name if source.path is not None else source.given
        yield _block(f"runs-{source.number}", f"Run table {name}", table, found, f"the run table {name}", {}, None)


def folder_blocks(sources: Sequence[PageSource]) -> Iterator[PageBlock]:
    """A block for each folder of runs, with the states of a sweep and the learning curves."""
    for source in sources:
        collected: RunTable = source.value
        what = "Sweep" if collected.is_sweep else "Runs"
        known = set(collected.table["run_id"])
        curves = read_curves((each.run_id, each.folder) for each in find_runs(collected.folder) if each.run_id in known)
        yield _block(
            f"runs-{source.number}",
            f"{what} in {collected.folder.resolve().name}",
            collected.table,
            collected.findings,
            "the runs' own files",
            collected.states,
            curves_plot(curves),
        )


def _block(
    name: str,
    title: str,
    table: pd.DataFrame,
    findings: Sequence[RunFinding],
    source: str,
    states: Mapping[str, int],
    curves: PagePlot | None,
) -> PageBlock:
    measured = Origin("measured", source, "", "run_table.md")
    facts = [("run" if len(table) == 1 else "runs", PageNumber(f"{len(table):,}", len(table), measured))]
    facts += [
        (LOST_WORDS.get(state, state), PageNumber(f"{states[state]:,}", states[state], measured))
        for state in STATES
        if state in states
    ]
    if "loss" in table and table["loss"].notna().any():
        best = float(table["loss"].min())
        facts.append(("least loss", PageNumber(f"{best:.4f} nats", best, measured)))
    rows = {each.row for each in findings if each.row is not None}
    diagnosed = Origin("measured", "the diagnosis of the table", "the doubts are below it", "run_table.md")
    facts.append(("doubtful", PageNumber(f"{len(rows):,}", len(rows), diagnosed)))
    grid, same = run_grid(f"{name}-grid", table, findings, measured)
    doubts = [_doubt(each) for each in findings[:MOST_FINDINGS]]
    if len(findings) > MOST_FINDINGS:
        doubts.append(f"and {len(findings) - MOST_FINDINGS:,} more; `moewright runs` names all")
    plots = {} if curves is None else {f"{name}-curves": curves}
    scatter = loss_plot(table, {each.row - 1 for each in findings if each.row is not None})
    if scatter is not None:
        plots[f"{name}-loss"] = scatter
    pictures = "".join(
        plot_html(key, _caption(key, plot), _caption(key, plot), measured) for key, plot in plots.items()
    )
    html = f'{facts_html(facts)}{_progress_html(states)}<div class="plots">{pictures}</div>{grid_html(grid)}'
    html += _folded_html(counted(len(findings), "doubt"), doubts)
    html += _folded_html(f"the same in all rows: {counted(len(same), 'column')}", same)
    return PageBlock(
        chapter="runs",
        name=name,
        title=title,
        html=html,
        markdown=f"{facts_markdown(facts)}\n{grid_markdown(grid, 20)}\n{list_markdown(doubts)}",
        data={key: plot.to_dict() for key, plot in plots.items()},
        assets=PLOT_ASSETS if plots else (),
    )


def _folded_html(summary: str, texts: Sequence[str]) -> str:
    return f"<details><summary>{to_html(summary)}</summary>{list_html(texts)}</details>\n" if texts else ""


def _progress_html(states: Mapping[str, int]) -> str:
    """A bar of the states, for a folder of runs."""
    total = sum(states.values())
    if not total:
        return ""
    words = ", ".join(f"{states[state]:,} {LOST_WORDS.get(state, state)}" for state in STATES if state in states)
    parts = "".join(
        f'<span class="state-{state}" style="flex-grow: {states[state]}"></span>' for state in STATES if state in states
    )
    return f'<div class="states" role="img" aria-label="{words}">{parts}</div>{paragraphs_html(words)}'


def _doubt(each: RunFinding) -> str:
    place = f"row {each.row}, {each.run_id}" if each.row is not None else each.run_id or "all"
    return f"{place}: {each.problem}{f' ({spoken(each.column)})' if each.column else ''}: {each.detail}"


# The table


def run_grid(
    name: str, table: pd.DataFrame, findings: Sequence[RunFinding], measured: Origin
) -> tuple[PageGrid, list[str]]:
    """The rows with what differs between them, doubts marked; and what is the same in all of them, in words."""
    names = [str(each) for each in table.columns if each != "architecture"]
    varying = [each for each in names if table[each].nunique(dropna=False) > 1] if len(table) > 1 else names
    same = [f"{spoken(each)}: {_text_of(table[each].iloc[0])}" for each in names if each not in varying]
    same = [each for each in same if not each.endswith(": -")]
    first = [each for each in FIRST_COLUMNS if each in varying]
    first += [each for each in varying if each.startswith(AXIS_PREFIX) and each not in first]
    shown = [*first, *(each for each in varying if each not in first)][:_MOST_COLUMNS]
    if "run_id" in table and "run_id" not in shown:
        shown.insert(0, "run_id")
    problems: dict[int, list[str]] = {}
    for each in findings:
        if each.row is not None:
            problems.setdefault(each.row - 1, []).append(each.problem)
    columns = [PageColumn("row", is_text=True)] + [
        _column(each, table[each], measured, place >= SHOWN_AT_FIRST) for place, each in enumerate(shown)
    ]
    order = np.arange(len(table))
    if len(table) > _MOST_ROWS and "loss" in table:
        order = np.sort(np.argsort(table["loss"].to_numpy(dtype=float), kind="stable")[:_MOST_ROWS])
    cells = [[_cell(value, is_loss=_is_loss(each)) for value in table[each]] for each in shown]
    rows = [
        [
            PageNumber(str(place + 1), place + 1, mark=", ".join(dict.fromkeys(problems.get(place, ())))),
            *(column[place] for column in cells),
        ]
        for place in order.tolist()
    ]
    kept = held_out_rows(table)
    classes = [
        " ".join(word for word, on in (("suspicious", place in problems), ("held-out", kept[place])) if on)
        for place in order.tolist()
    ]
    rest = (
        f"; the {_MOST_ROWS:,} of least loss, all are in the file"
        if len(table) > len(order) or len(rows) < len(table)
        else ""
    )
    return (
        PageGrid(name, f"{counted(len(table), 'run')}{rest}", columns, rows, classes=classes, filters=True),
        same,
    )


def _column(name: str, values: "pd.Series[Any]", measured: Origin, is_extra: bool) -> PageColumn:
    known = column_for(name)
    is_text = not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values)
    unit = "nats" if known is not None and known.kind == "loss" else ""
    meaning = known.meaning if known is not None else "a column of the table's own"
    return PageColumn(
        spoken(name), unit, Origin("measured", measured.source, meaning, measured.docs), is_text, is_extra
    )


def _is_loss(name: str) -> bool:
    known = column_for(name)
    return known is not None and known.kind == "loss"


def _cell(value: object, is_loss: bool = False) -> PageNumber:
    text = _text_of(value)
    if is_loss and text != "-":
        text = f"{float(str(value)):.4f}"
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number) or text == "-":
        return PageNumber(text)
    return PageNumber(text, float(value))


def _text_of(value: object) -> str:
    """Numbers with sensible digits, long texts shortened."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "-"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | float | np.number):
        return number_text(float(value))
    return shortened(str(value), _LONGEST_TEXT)


# Plots


def held_out_rows(table: pd.DataFrame) -> Mask:
    """(rows,): those that the table says were kept from a fit."""
    if HELD_OUT not in table:
        return np.zeros(len(table), dtype=bool)
    return table[HELD_OUT].astype(str).str.contains("held|test|valid", case=False).to_numpy(dtype=bool)


def loss_plot(table: pd.DataFrame, doubtful: Collection[int]) -> PagePlot | None:
    """Every run's loss against what most tells runs apart: FLOPs, tokens or parameters.

    Rows that are doubtful (by place, from 0) and rows held out from a fit are series of their own.
    """
    if "loss" not in table:
        return None
    for name in ("train_flops", "train_tokens", "active_params", "total_params"):
        if name in table and table[name].nunique() > 2:
            kept = table[[name, "loss"]].astype(float)
            there = np.isfinite(kept.to_numpy()).all(axis=1) & (kept[name].to_numpy() > 0)
            kept = kept[there].sort_values(name)
            labels = [_text_of(each) for each in table.loc[kept.index, "run_id"]] if "run_id" in table else ()
            known = column_for(name)
            x, loss = kept[name].to_numpy(), kept["loss"].to_numpy()
            is_doubtful = np.isin(np.arange(len(table)), list(doubtful))
            kinds = {"loss": ~is_doubtful & ~held_out_rows(table), "held out": held_out_rows(table) & ~is_doubtful}
            kinds["doubtful"] = is_doubtful
            places = table.index.get_indexer(kept.index)
            return PagePlot(
                PlotAxis(axis_label(name, known.unit if known else ""), spans_widely(float(x[0]), float(x[-1]))),
                PlotAxis("loss, nats per token"),
                x,
                [
                    PlotSeries(kind, np.where(rows[places], loss, np.nan), points=True, group=group)
                    for group, (kind, rows) in enumerate(kinds.items())
                    if rows[places].any()
                ],
                labels=labels,
            )
    return None


def curves_plot(curves: pd.DataFrame) -> PagePlot | None:
    """Learning curves over one grid of tokens: evaluations where a run has several, else the training loss."""
    kept = curves[curves["loss"].notna() & (curves["tokens"] > 0)]
    if kept.empty:
        return None
    names = list(dict.fromkeys(kept["run_id"]))[:MOST_CURVES]
    low, high = float(kept["tokens"].min()), float(kept["tokens"].max())
    if not low < high:
        return None
    edges = np.geomspace(low, high, CURVE_POINTS)
    series = [
        PlotSeries(str(name), _on_grid(kept[kept["run_id"] == name], edges), group=number)
        for number, name in enumerate(names)
    ]
    return PagePlot(PlotAxis("tokens", spans_widely(low, high)), PlotAxis("loss, nats per token"), edges, series)


def _on_grid(curve: pd.DataFrame, grid: Array) -> Array:
    counts = Counter(curve["kind"])
    curve = curve[curve["kind"] == ("evaluation" if counts["evaluation"] > 3 else "train")].sort_values("tokens")
    tokens, loss = curve["tokens"].to_numpy(dtype=float), curve["loss"].to_numpy(dtype=float)
    if not len(tokens):
        return np.full(len(grid), np.nan)
    return np.asarray(np.interp(np.log(grid), np.log(tokens), loss, left=np.nan, right=np.nan))


def _caption(name: str, plot: PagePlot) -> str:
    if name.endswith("-curves"):
        return f"Learning curves of {counted(len(plot.series), 'run')} over {plot.x_axis.label}."
    kinds = [series.name for series in plot.series if series.name != "loss"]
    marked = f" Rows that are {' or '.join(kinds)} have colours of their own." if kinds else ""
    return f"Loss of {counted(len(plot.x), 'run')} against {plot.x_axis.label}.{marked} Point at one for its name."
