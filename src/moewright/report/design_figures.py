"""Three plots of a design run: each law's frontier, the map of mixtures, and every design's regret by law."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moewright.designs.result import Designs
from moewright.designs.sensitivity import frontier
from moewright.foreign_text import to_figure
from moewright.laws.variable import Array
from moewright.quantities import format_bytes, format_count
from moewright.report.design_tables import budget_lines
from moewright.report.figure_page import COLOURS, Drawing, PageTable, drawing_style, write_page, write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = (7.6, 4.6)  # inches


@dataclass(frozen=True)
class MixtureGrid:
    """The least worst regret of every (E, K) with an undecided design, over its shared counts."""

    experts: list[int]
    top_k: list[int]
    regret: Array
    """(E, K), NaN where nothing was found."""
    listed: dict[tuple[int, int], list[int]]
    """(column, row) of the listed designs, and their numbers from 1."""


def mixture_grid(designs: Designs) -> MixtureGrid:
    """The map's data: the best undecided design of each mixture."""
    d = designs.choice.designs
    # A listed design need not be undecided: the whole bill's has a training of its own.
    experts = sorted({*d.num_experts.tolist(), *(design.sizes["num_experts"] for design in designs.designs)})
    top_k = sorted({*d.top_k.tolist(), *(design.sizes["top_k"] for design in designs.designs)})
    regret = np.full((len(experts), len(top_k)), np.nan)
    for e, k, worst in zip(d.num_experts, d.top_k, designs.worst_regrets, strict=True):
        place = experts.index(int(e)), top_k.index(int(k))
        regret[place] = np.fmin(regret[place], worst)
    listed: dict[tuple[int, int], list[int]] = {}
    for number, design in enumerate(designs.designs, start=1):
        place = top_k.index(design.sizes["top_k"]), experts.index(design.sizes["num_experts"])
        listed.setdefault(place, []).append(number)
    return MixtureGrid(experts, top_k, regret, listed)


def law_frontiers(designs: Designs) -> tuple[Array, dict[str, Array]]:
    """Bounds of the active parameters in billions, and each law's best loss there above its best at the widest."""
    most = max(favourite.active_params for favourite in designs.favourites.values())
    found = frontier(designs.problem, float(most))
    above = found.losses - found.losses[:, -1:]
    return found.active_params / 1e9, dict(zip(designs.laws, above, strict=True))


def write_design_figures(designs: Designs, folder: Path) -> list[Path]:
    """frontier.png, mixtures.png, laws.png and the three as plots.html in a folder; returns their paths."""
    facts = budget_lines(designs.budgets)
    facts[0] = f"Budgets: {facts[0]}"
    facts.append(
        f"{designs.considered:,} designs considered, {designs.feasible:,} within the budgets; regret is a law's loss "
        "of a design above the law's own best design there"
    )
    with drawing_style():
        drawings = [_frontier(designs), _mixtures(designs), _laws(designs)]
        pictures = [write_png(folder, drawing) for drawing in drawings]
        title = f"{len(designs.designs)} designs within the budgets"
        return [*pictures, write_page(folder / "plots.html", title, facts, drawings, _table(designs))]


def _table(designs: Designs) -> PageTable:
    sizes = ("experts/top-k+shared", "expert size", "width", "layers")
    rows = [
        (
            str(number),
            _mixture(design.sizes),
            *(str(design.sizes[name]) for name in ("expert_size", "hidden_size", "num_layers")),
            *(format_count(count, 3) for count in (design.total_params, design.active_params)),
            format_bytes(design.memory_bytes, 3),
            f"{design.worst_regret:.4f}",
        )
        for number, design in enumerate(designs.designs, start=1)
    ]
    return PageTable(("", *sizes, "total", "active", "memory", "worst regret"), rows)


def _frontier(designs: Designs) -> Drawing:
    title = "Each law's best loss against active parameters, other budgets as given"
    x, curves = law_frontiers(designs)
    figure, axes = _figure(title)
    for number, (law, y) in enumerate(curves.items()):
        axes.plot(x, y, marker="o", markersize=3.5, color=_colour(number), label=to_figure(law))
    axes.set(xlabel="active parameters at most, billions", ylabel="loss above the last point, nats", xscale="log")
    axes.set_xticks(x, [f"{value:.3g}" for value in x])
    axes.minorticks_off()
    axes.legend()
    caption = (
        "What fewer active parameters cost under each law: its best loss when they are bounded, above its best loss at "
        "the last point. Levels never compare between laws; slopes do."
    )
    return Drawing("frontier", title, caption, figure)


def _mixtures(designs: Designs) -> Drawing:
    title = "Worst regret by experts and top-k, nats (numbers: listed designs)"
    grid = mixture_grid(designs)
    low, high = _focus(grid.regret)
    figure, axes = _figure(title)
    axes.grid(visible=False)
    mesh = axes.pcolormesh(grid.regret, cmap="viridis_r", vmin=low, vmax=high, edgecolors="white", linewidth=1)
    axes.set_xticks(np.arange(len(grid.top_k)) + 0.5, [str(k) for k in grid.top_k])
    axes.set_yticks(np.arange(len(grid.experts)) + 0.5, [str(e) for e in grid.experts])
    for (column, row), numbers in grid.listed.items():
        words: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "fontweight": "bold", "color": "#222"}
        box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none", "alpha": 0.9}
        axes.text(column + 0.5, row + 0.5, _numbers(numbers), bbox=box, **words)
    axes.set(xlabel="top-k", ylabel="experts")
    axes.tick_params(length=0)
    bar = figure.colorbar(mesh, ax=axes, extend="max", label="nats")
    bar.outline.set_visible(False)
    caption = (
        "The largest regret over the laws of the design that would be built with each number of experts and top-k (of "
        "those with and without shared experts, the least); empty: nothing is within the budgets, or another design "
        "beats it under all laws that may judge."
    )
    return Drawing("mixtures", title, caption, figure)


def _laws(designs: Designs) -> Drawing:
    title = "Regret of each design by law, nats"
    figure, axes = _figure(title)
    axes.grid(visible=False, axis="x")
    places = np.arange(len(designs.designs))
    width = 0.8 / len(designs.laws)
    for number, law in enumerate(designs.laws):
        values = [design.regret[law] for design in designs.designs]
        axes.bar(
            places + number * width - 0.4, values, width, align="edge", color=_colour(number), label=to_figure(law)
        )
    axes.set_xticks(places, [f"{n}\n{_mixture(d.sizes)}" for n, d in enumerate(designs.designs, start=1)], fontsize=7)
    axes.set(xlabel="design (experts/top-k+shared)", ylabel="regret, nats")
    figure.legend(loc="outside lower center", fontsize=8, ncols=len(designs.laws))
    caption = "Where the laws disagree about a design: none of these is worse than another by all of them."
    return Drawing("laws", title, caption, figure)


def _figure(title: str) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure  # no pyplot: it keeps global state and may look for a screen

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(to_figure(title))
    return figure, axes


def _focus(regrets: Array) -> tuple[float, float]:
    """From the least regret to some times it: bad designs must not hide what tells good ones apart."""
    least = float(np.nanmin(regrets))
    return 0.9 * least, max(5 * least, 0.02)


def _numbers(numbers: list[int]) -> str:
    """1, 2 and more: the first two have room in a cell."""
    return ",".join(map(str, numbers[:2])) + ("…" if len(numbers) > 2 else "")


def _mixture(sizes: dict[str, int]) -> str:
    return f"{sizes['num_experts']}/{sizes['top_k']}+{sizes['shared_experts']}"


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
