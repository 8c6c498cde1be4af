"""What to run next: the runs that `moewright next` names with what they are to tell, and the sweep that makes them."""

from collections.abc import Iterator, Sequence

import numpy as np

from moewright.foreign_text import shell_words
from moewright.laws.selection.run_choice import NextRunsRecord
from moewright.quantities import counted, format_count
from moewright.report.next_tables import DOUBT_WORDS, next_verdict
from moewright.report.page.page_blocks import (
    Origin,
    PageBlock,
    PageColumn,
    PageGrid,
    PageNumber,
    copied_html,
    facts_html,
    facts_markdown,
    grid_html,
    grid_markdown,
    list_html,
    list_markdown,
    number_text,
    paragraphs_html,
    paragraphs_markdown,
    plot_html,
    range_text,
    spoken,
)
from moewright.report.page.page_plots import PLOT_ASSETS, PagePlot, PlotAxis, PlotSeries
from moewright.report.page.page_sources import PageSource
from moewright.sweeps.settings.cells import Cell, chosen_cells, resolve_cells
from moewright.sweeps.sweep_spec import LoadedSweep

_PLANNED = Origin("exact", "the candidate's recipe or row", "", "how-to/next.md")
_EXPECTED = Origin(
    "modelled", "the laws given the runs so far", "what is expected of runs not yet made", "how-to/next.md"
)
_TIMED = Origin(
    "modelled", "the training on the named hardware", "[low, high] over the range of utilisation", "hardware.md"
)
_COUNTED = Origin("exact", "the sweep's specification", "", "sweeps.md")


def next_blocks(sources: Sequence[PageSource]) -> Iterator[PageBlock]:
    """A block for each answer of `moewright next`."""
    for source in sources:
        yield _next_block(source.value, f"next-{source.number}")


def _next_block(record: NextRunsRecord, name: str) -> PageBlock:
    facts = [
        ("runs to make", PageNumber(f"{len(record.chosen):,}", len(record.chosen), _EXPECTED)),
        ("FLOPs together", PageNumber(f"{record.spent:.3g}", record.spent, _PLANNED)),
        ("in doubt now", PageNumber(f"{record.before:.4f} nats", record.before, _EXPECTED)),
        ("in doubt after them", PageNumber(f"{record.after:.4f} nats", record.after, _EXPECTED)),
        ("wanted", PageNumber(f"{record.within:g} nats", record.within, Origin("assumed", "as it was asked"))),
    ]
    if record.hours is not None:
        facts.insert(2, (f"{record.hardware}-hours", PageNumber(range_text(record.hours), record.hours[0], _TIMED)))
    if record.money is not None:
        facts.insert(3, ("cost", PageNumber(range_text(record.money), record.money[0], _TIMED)))
    grid, targets = _runs(record, f"{name}-grid"), _targets(record, f"{name}-targets")
    weights = [f"{law}: {weight:.0%}, its form misses {record.misfit[law]:.2%}" for law, weight in record.laws.items()]
    notes = [
        f"Doubt is {DOUBT_WORDS[record.purpose]}, in nats.",
        f"{counted(record.runs, 'run')} so far, {counted(record.candidates, 'candidate')}; noise between seeds "
        f"{record.noise:.2%} of the loss.",
        *record.messages,
    ]
    plot = _doubt_plot(record)
    picture = (
        ""
        if plot is None
        else plot_html(f"{name}-doubt", "What is in doubt after each run.", next_verdict(record), _EXPECTED)
    )
    said = next_verdict(record)
    return PageBlock(
        chapter="next",
        name=name,
        title="Settled already" if record.settled is not None and not record.chosen else "Runs, in order",
        html=f"{facts_html(facts)}{paragraphs_html(said)}{grid_html(grid) if record.chosen else ''}"
        f'<div class="plots">{picture}</div>{grid_html(targets)}'
        f"{paragraphs_html('Laws by how likely the runs are under each:')}{list_html(weights)}{list_html(notes)}",
        markdown=f"{paragraphs_markdown(said)}\n{facts_markdown(facts)}\n"
        f"{grid_markdown(grid) if record.chosen else ''}\n{grid_markdown(targets)}\n"
        f"{list_markdown([*weights, *notes])}",
        data={} if plot is None else {f"{name}-doubt": plot.to_dict()},
        assets=() if plot is None else PLOT_ASSETS,
    )


def _runs(record: NextRunsRecord, name: str) -> PageGrid:
    settings = list(dict.fromkeys(key for run in record.chosen for key in run.settings))
    columns = [
        PageColumn("order"),
        PageColumn("candidate", is_text=True),
        PageColumn("doubt after", "nats", _EXPECTED),
        PageColumn("FLOPs", origin=_PLANNED),
        *([PageColumn("hours", str(record.hardware), _TIMED)] if record.hardware is not None else []),
        *([PageColumn("cost", "at the price of an hour", _TIMED)] if record.money is not None else []),
        *(PageColumn(spoken(key), origin=_PLANNED) for key in settings),
    ]
    rows = [
        [
            PageNumber(str(order), order),
            PageNumber(run.name),
            PageNumber(f"{run.doubt_after:.4f}", run.doubt_after),
            PageNumber(f"{run.train_flops:.3g}", run.train_flops),
            *([_hours(run.device_hours)] if record.hardware is not None else []),
            *([_hours(run.money)] if record.money is not None else []),
            *(_value(run.settings.get(key)) for key in settings),
        ]
        for order, run in enumerate(record.chosen, start=1)
    ]
    return PageGrid(name, "Runs, in the order in which they tell most for their FLOPs", columns, rows)


def _hours(ends: tuple[float, float] | None) -> PageNumber:
    return PageNumber("-") if ends is None else PageNumber(range_text(ends), ends[0])


def _value(value: object) -> PageNumber:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return PageNumber("-" if value is None else str(value))
    return PageNumber(number_text(value), float(value))


def _targets(record: NextRunsRecord, name: str) -> PageGrid:
    columns = [
        PageColumn("target", is_text=True),
        PageColumn("loss", "nats", _EXPECTED),
        PageColumn("90 % interval, from", "nats", _EXPECTED),
        PageColumn("to", "nats", _EXPECTED),
    ]
    rows = [
        [PageNumber(target.name), *(PageNumber(f"{each:.4f}", each) for each in (target.loss, target.low, target.high))]
        for target in record.targets
    ]
    return PageGrid(name, "Believed now", columns, rows)


def _doubt_plot(record: NextRunsRecord) -> PagePlot | None:
    """None for less than two runs: there is no course of it."""
    if len(record.chosen) < 2:
        return None
    spent = np.cumsum([run.train_flops for run in record.chosen])
    doubt = np.array([run.doubt_after for run in record.chosen])
    return PagePlot(
        PlotAxis("FLOPs spent"),
        PlotAxis("in doubt, nats"),
        spent,
        [PlotSeries("in doubt", doubt)],
        labels=[run.name for run in record.chosen],
    )


def sweep_blocks(sources: Sequence[PageSource]) -> Iterator[PageBlock]:
    """A block for each sweep that is written down and not yet started."""
    for source in sources:
        yield _sweep_block(source, f"sweep-{source.number}")


def _sweep_block(source: PageSource, name: str) -> PageBlock:
    loaded: LoadedSweep = source.value
    spec = loaded.spec
    cells = chosen_cells(resolve_cells(loaded.recipe, loaded.beside, spec.axes), spec.only)
    known = [cell.counts.train_flops for cell in cells if cell.counts is not None]
    facts = [
        ("cells", PageNumber(f"{len(cells):,}", len(cells), _COUNTED)),
        ("seeds of each", PageNumber(f"{len(spec.seeds):,}", len(spec.seeds), _COUNTED)),
        (
            "FLOPs of their runs" + (", tuning of the rate apart" if spec.tuning is not None else ""),
            PageNumber(f"{sum(known) * len(spec.seeds):.3g}", sum(known) * len(spec.seeds), _COUNTED),
        ),
    ]
    grid = _cells(cells, f"{name}-grid")
    command = shell_words("moewright", "sweep", source.given, "--out", "runs")
    said = "The runs of a sweep that is to be made. What it takes here and can tell: the same command with --dry-run."
    return PageBlock(
        chapter="next",
        name=name,
        title=f"The sweep {source.given}",
        html=f"{facts_html(facts)}{paragraphs_html(said)}{grid_html(grid)}"
        f'<div class="taken">{copied_html("command", f"{name}-command", command)}</div>',
        markdown=f"{paragraphs_markdown(said)}\n{facts_markdown(facts)}\n{grid_markdown(grid)}\n    {command}\n",
    )


def _cells(cells: Sequence[Cell], name: str) -> PageGrid:
    settings = list(dict.fromkeys(key for cell in cells for key in cell.settings))
    columns = [
        PageColumn("cell"),
        *(PageColumn(spoken(key), origin=_COUNTED) for key in settings),
        *(PageColumn(word, origin=_COUNTED) for word in ("total", "active", "tokens", "FLOPs")),
    ]
    rows = []
    for number, cell in enumerate(cells, start=1):
        row = [PageNumber(str(number), number, mark="" if cell.problem is None else cell.problem)]
        row += [_value(cell.settings.get(key)) for key in settings]
        if cell.counts is None:
            row += [PageNumber("-")] * 4
        else:
            assert cell.recipe is not None
            counts = (cell.counts.total_params, cell.counts.active_params, cell.recipe.trained_tokens)
            row += [PageNumber(format_count(each, 3), each) for each in counts]
            row.append(PageNumber(f"{cell.counts.train_flops:.3g}", cell.counts.train_flops))
        rows.append(row)
    return PageGrid(name, counted(len(cells), "cell"), columns, rows, filters=len(rows) > 12)
