"""The tables of `moewright models`, made to read well at 80 columns."""

import re
from itertools import groupby

from rich.table import Table

from moewright.hf.model_description import ModelDescription, ModelLine, ModelList
from moewright.hf.published_models import Figure
from moewright.quantities import format_bytes, format_count
from moewright.report.plain_tables import bare_table, print_catalogue, print_rows
from moewright.screen import Screen, styled

_BESIDE_LICENCE = 66
"""Characters of a line without its licence, which is left out where a terminal has no room for all of it."""
_NAME_OF_SERIES = re.compile("[a-z.]+")


def print_models(console: Screen, listed: ModelList) -> None:
    """On a terminal the series of models; explained or in a pipe a line for each model, the largest last."""
    if console.is_terminal and not console.explain:
        _print_series(console, listed)
        return
    table = bare_table(None, narrow=True)
    table.add_column("model", no_wrap=True)
    for column in ("total", "active", "experts", "tokens", "released"):
        table.add_column(column, justify="right", no_wrap=True)
    longest = max(len(line.license or "") for line in listed.models)
    has_licence = not console.is_terminal or console.width >= _BESIDE_LICENCE + longest
    if has_licence:
        table.add_column("licence", overflow="fold")
    for line in listed.models:
        table.add_row(
            line.name,
            format_count(line.total_params, 3),
            format_count(line.active_params, 3),
            str(line.num_experts or "dense"),
            line.training_tokens or "-",
            line.released or "-",
            *([line.license or "-"] if has_licence else []),
        )
    print_rows(console, table)
    console.print()
    console.print("Total and active are counted, the language model only; tokens are as published.")
    console.print("`moewright models NAME` has licence and sources; a name serves wherever a config does.")


def _print_series(console: Screen, listed: ModelList) -> None:
    """What names begin with: how many there are, how many of them are mixtures, from which size to which."""
    by_name = sorted(listed.models, key=lambda line: (_series(line), line.total_params))
    rows = []
    for series, lines_ in groupby(by_name, _series):
        models = list(lines_)
        mixtures = sum(line.num_experts is not None for line in models)
        ends = dict.fromkeys(format_count(models[end].total_params, 3) for end in (0, -1))
        rows.append((series, str(len(models)), str(mixtures), "-".join(ends)))
    console.print(styled("[bold]{}[/bold], by what their names begin with", f"{len(listed.models)} models"))
    print_catalogue(console, ("", "models", "mixtures", "parameters"), rows)
    console.print("`moewright models NAME` describes one; a name serves wherever a config does.")
    console.print("`moewright models | grep qwen` has a line for each of one series.")
    console.point_to("a line for each of all")


def _series(line: ModelLine) -> str:
    """What the name begins with: qwen of qwen3-30b-a3b."""
    found = _NAME_OF_SERIES.match(line.name)
    return found.group() if found else line.name


def print_model(console: Screen, model: ModelDescription) -> None:
    """One model: what its publisher says, and what is counted."""
    total, active = format_count(model.total_params), format_count(model.active_params)
    console.print(
        styled("[bold]{}[/bold] ({}): [bold]{}[/bold] parameters, {} active", model.name, model.family, total, active)
    )
    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    beside = f", with {model.beside}" if model.beside else ""
    facts.add_row("published total", f"{_figure(model.published_total)}{beside if model.published_total else ''}")
    facts.add_row("published active", _figure(model.published_active))
    facts.add_row("training tokens", _figure(model.training_tokens))
    facts.add_row("released", model.released or "not known")
    facts.add_row("licence of the weights", model.license or "not known")
    size = model.published_weights_bytes
    facts.add_row("weights", "not known" if size is None else f"{format_bytes(size)}, {model.published_dtype}")
    facts.add_row("on the hub", model.hub_id)
    facts.add_row("read from", model.config)
    console.print(facts)
    console.print(f"`moewright inspect {model.name}` counts it.")


def _figure(figure: Figure | None) -> str:
    return "not known" if figure is None else f"{figure.value} ({figure.source})"
