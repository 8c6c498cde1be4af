"""Three plots of a design run, each as PNG by matplotlib and together as a page by plotly, both offline."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moewright.designs.result import Designs
from moewright.designs.sensitivity import frontier
from moewright.files import write_text
from moewright.laws.variable import Array

# Okabe and Ito's colours, apart for colour-blind readers too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


@dataclass(frozen=True)
class MixtureGrid:
    """The least worst regret of every (E, K) that was found, over its shared counts."""

    experts: list[int]
    top_k: list[int]
    regret: Array
    """(E, K), NaN where nothing was found."""
    chosen: list[tuple[int, int]]
    """(column, row) of the listed designs."""


def mixture_grid(designs: Designs) -> MixtureGrid:
    """The map's data; regrets beyond the listed designs are those of the best design met by the search."""
    m = designs.mixtures
    experts = sorted(set(m.designs.num_experts.tolist()))
    top_k = sorted(set(m.designs.top_k.tolist()))
    regret = np.full((len(experts), len(top_k)), np.nan)
    for e, k, worst in zip(m.designs.num_experts, m.designs.top_k, m.worst_regret, strict=True):
        place = experts.index(int(e)), top_k.index(int(k))
        regret[place] = np.fmin(regret[place], worst)
    chosen = [(top_k.index(d.sizes["top_k"]), experts.index(d.sizes["num_experts"])) for d in designs.designs]
    return MixtureGrid(experts, top_k, regret, chosen)


def law_frontiers(designs: Designs) -> tuple[Array, dict[str, Array]]:
    """Bounds of the active parameters in billions, and each law's best loss there above its best at the widest."""
    most = max(favourite.active_params for favourite in designs.favourites.values())
    found = frontier(designs.problem, float(most))
    above = found.losses - found.losses[:, -1:]
    return found.active_params / 1e9, dict(zip(designs.laws, above, strict=True))


def write_figures(designs: Designs, folder: Path) -> list[Path]:
    """frontier.png, mixtures.png, laws.png and plots.html in a folder."""
    x, curves = law_frontiers(designs)
    drawn = [
        _png(folder / "frontier.png", lambda axes, figure: _draw_frontier(axes, figure, x, curves)),
        _png(folder / "mixtures.png", lambda axes, figure: _draw_mixtures(axes, figure, designs)),
        _png(folder / "laws.png", lambda axes, figure: _draw_laws(axes, figure, designs)),
    ]
    page = folder / "plots.html"
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=number == 0, div_id=f"figure-{number}")
        for number, figure in enumerate(_pages(designs, x, curves))
    ]
    body = "\n".join(parts)
    write_text(page, f'<!doctype html>\n<html><head><meta charset="utf-8"></head><body>\n{body}\n</body></html>\n')
    return [*drawn, page]


_FRONTIER_TITLE = "Each law's best loss against active parameters, other budgets as given"
_FRONTIER_X = "active parameters at most, billions"
_FRONTIER_Y = "loss above the last point, nats"
_MAP_TITLE = "Worst regret by experts and top-k, nats (crosses: listed designs)"
_LAWS_TITLE = "Regret of each design by law, nats"


def _png(path: Path, draw: Callable[[Any, Any], None]) -> Path:
    from matplotlib.figure import Figure  # no pyplot: it keeps global state and may look for a screen

    figure = Figure(figsize=(7.6, 4.6), layout="constrained")
    draw(figure.add_subplot(), figure)
    temporary = path.with_name(f".{path.name}.partial")
    figure.savefig(temporary, dpi=120, format="png")
    temporary.replace(path)
    return path


def _draw_frontier(axes: Any, _: Any, x: Array, curves: dict[str, Array]) -> None:
    from matplotlib.ticker import NullFormatter

    for number, (law, y) in enumerate(curves.items()):
        axes.plot(x, y, marker="o", markersize=3, color=_colour(number), label=law)
    axes.set(title=_FRONTIER_TITLE, xlabel=_FRONTIER_X, ylabel=_FRONTIER_Y, xscale="log")
    axes.set_xticks(x, [f"{value:.3g}" for value in x])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend()


def _draw_mixtures(axes: Any, figure: Any, designs: Designs) -> None:
    grid = mixture_grid(designs)
    low, high = _focus(grid.regret)
    image = axes.imshow(grid.regret, aspect="auto", origin="lower", cmap="viridis_r", vmin=low, vmax=high)
    axes.set_xticks(range(len(grid.top_k)), grid.top_k)
    axes.set_yticks(range(len(grid.experts)), grid.experts)
    axes.scatter(*zip(*grid.chosen, strict=True), marker="x", color="red")
    axes.set(title=_MAP_TITLE, xlabel="top-k", ylabel="experts")
    figure.colorbar(image, ax=axes, extend="max")


def _draw_laws(axes: Any, figure: Any, designs: Designs) -> None:
    places = np.arange(len(designs.designs))
    width = 0.8 / len(designs.laws)
    for number, law in enumerate(designs.laws):
        values = [design.regret[law] for design in designs.designs]
        axes.bar(places + number * width - 0.4, values, width, align="edge", color=_colour(number), label=law)
    axes.set_xticks(places, [f"{n}\n{_mixture(d.sizes)}" for n, d in enumerate(designs.designs, start=1)], fontsize=7)
    axes.set(title=_LAWS_TITLE, xlabel="design (E/K+shared)", ylabel="regret, nats")
    figure.legend(loc="outside lower center", fontsize=8, ncols=len(designs.laws))


def _pages(designs: Designs, x: Array, curves: dict[str, Array]) -> Sequence[Any]:
    from plotly.graph_objects import Bar, Figure, Heatmap, Scatter

    grid = mixture_grid(designs)
    first = Figure(
        [
            Scatter(x=x, y=y, mode="lines+markers", line={"color": _colour(number)}, name=law)
            for number, (law, y) in enumerate(curves.items())
        ]
    )
    first.update_xaxes(title=_FRONTIER_X, type="log")
    first.update_yaxes(title=_FRONTIER_Y)
    low, high = _focus(grid.regret)
    labels = {"x": [str(k) for k in grid.top_k], "y": [str(e) for e in grid.experts]}
    second = Figure([Heatmap(z=grid.regret, **labels, zmin=low, zmax=high, colorscale="Viridis", reversescale=True)])
    crosses = {"x": [labels["x"][k] for k, _ in grid.chosen], "y": [labels["y"][e] for _, e in grid.chosen]}
    second.add_trace(Scatter(**crosses, mode="markers", marker={"symbol": "x", "color": "red"}, name="listed"))
    second.update_xaxes(title="top-k", type="category")
    second.update_yaxes(title="experts", type="category")
    numbered = [f"{n}: {_mixture(d.sizes)}" for n, d in enumerate(designs.designs, start=1)]
    third = Figure(
        [
            Bar(x=numbered, y=[d.regret[law] for d in designs.designs], name=law, marker={"color": _colour(number)})
            for number, law in enumerate(designs.laws)
        ]
    )
    third.update_yaxes(title="regret, nats")
    titles = (_FRONTIER_TITLE, _MAP_TITLE, _LAWS_TITLE)
    return [
        figure.update_layout(title=title, template="plotly_white", height=460)
        for figure, title in zip((first, second, third), titles, strict=True)
    ]


def _focus(regrets: Array) -> tuple[float, float]:
    """From the least regret to some times it: bad designs must not hide what tells good ones apart."""
    least = float(np.nanmin(regrets))
    return 0.9 * least, max(5 * least, 0.02)


def _mixture(sizes: dict[str, int]) -> str:
    return f"{sizes['num_experts']}/{sizes['top_k']}+{sizes['shared_experts']}"


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
