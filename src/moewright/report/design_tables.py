"""What `moewright design` prints, in order; each table is at most 80 columns wide with up to seven laws."""

from typing import Any

from rich.table import Table

from moewright.designs.baseline import PublishedModel
from moewright.designs.budgets import Budgets
from moewright.designs.ranking import CONFIDENCE
from moewright.designs.result import Design, Designs
from moewright.designs.rules import RULES, excluded, published_mixtures
from moewright.designs.space import Space, describe_space
from moewright.quantities import format_bytes, format_count
from moewright.report.plain_tables import bare_table
from moewright.screen import Screen, styled

SIZE_WORDS = {
    "hidden_size": "width",
    "num_layers": "layers",
    "dense_first": "dense first",
    "num_experts": "experts",
    "top_k": "top-k",
    "shared_experts": "shared",
    "expert_size": "expert size",
}


def print_designs(console: Screen, designs: Designs) -> None:
    """Print the budgets, the ranked designs, how far the laws agree, what binds and what more budget would buy."""
    budgets, cache = budget_lines(designs.budgets)
    console.print(styled("[bold]Budgets[/bold]: {}", budgets))
    console.print(cache)
    console.print()
    console.print(_ranking(designs))
    console.print("* a budget that experts one step wider would break; worst: over the laws below")
    console.print()
    console.print(_regrets(designs))
    console.print("nats above the law's own best; 11x: its farthest variable is 11 times outside its runs")
    console.print()
    console.print(_favourites(designs))
    console.print()
    _print_undecided(console, designs)
    if designs.modes:
        console.print()
        console.print(_modes(designs))
    if designs.published is not None:
        console.print()
        console.print(_published(designs, designs.published))
        for law, reason in designs.published.silent.items():
            console.print(f"{law} is silent about it: {reason}")
    console.print()
    _print_principles(console, designs)
    console.print()
    console.print(_prices(designs))
    if len(next(iter(designs.shadow_prices.values()))) > 1:
        console.print()
        console.print(_exchange(designs))
    if designs.explained:
        console.print()
        print_rules(console, designs.space)
    console.print()
    console.print(
        f"{designs.considered:,} designs considered, {designs.feasible:,} within the budgets, {designs.seconds:.1f} s"
        "; losses never compare between laws"
    )
    for warning in designs.warnings:
        console.print(styled("[yellow]warning:[/yellow] {}", warning))


def budget_lines(b: Budgets) -> list[str]:
    """The budgets in words, and what is counted as memory."""
    where = f"{b.devices} x {b.hardware}" if b.hardware else f"{b.devices} devices" if b.devices > 1 else ""
    parts = []
    if b.memory_bytes is not None:
        parts.append(f"{format_bytes(b.memory_bytes)} of memory{f' on {where}' if where else ''}")
    if b.device_memory_bytes is not None:
        parts.append(f"{where} with {format_bytes(b.device_memory_bytes)} usable each")
    if b.total_params is not None:
        parts.append(f"{format_count(b.total_params, 3)} total")
    if b.active_params is not None:
        parts.append(f"{format_count(b.active_params, 3)} active")
    if b.decode_tokens_per_second is not None:
        parts.append(f"{b.decode_tokens_per_second:g} tokens/s for each of {b.batch}")
    if b.time_to_first_token is not None:
        parts.append(f"first token in {b.time_to_first_token:g} s")
    if b.train_tokens is not None:
        parts.append(f"{format_count(b.train_tokens, 3)} training tokens")
    if b.train_flops is not None:
        parts.append(f"{b.train_flops:.3g} training FLOPs")
    if b.train_device_hours is not None:
        parts.append(f"{format_count(b.train_device_hours, 3)} device-hours of training")
    cache = f"memory is weights in {b.weights_dtype} and a {b.kv_dtype} cache of {b.batch} x {b.context:,} tokens"
    return [", ".join(parts), cache]


def size_ranges(ranges: dict[str, tuple[int, int]]) -> str:
    """Ranges of the sizes that have a word."""
    return ", ".join(
        f"{word} {ranges[name][0]}" + (f"-{ranges[name][1]}" if ranges[name][1] > ranges[name][0] else "")
        for name, word in SIZE_WORDS.items()
        if name in ranges
    )


def _print_undecided(console: Screen, designs: Designs) -> None:
    undecided = designs.undecided
    noun = "design" if undecided.count == 1 else "designs"
    console.print(
        styled(
            "[bold]Not told apart[/bold] from the first {}",
            f"({undecided.within:g} nats of worst regret): {undecided.count:,} {noun}, with "
            f"{size_ranges(undecided.ranges)}.",
        )
    )
    for law, ranking in designs.bootstrap.items():
        console.print(
            styled(
                "[bold]{}[/bold], {}",
                law,
                f"{ranking.num_draws} draws over {ranking.num_finalists} finalists: {ranking.num_undecided} cannot be "
                f"told from its favourite at {CONFIDENCE:.0%} ({size_ranges(ranking.ranges)}); the first design is "
                f"best in {designs.designs[0].probability_best[law]:.0%}.",
            )
        )


def _print_principles(console: Screen, designs: Designs) -> None:
    console.print(_principles(designs))
    best = designs.optimum
    if best:
        console.print(
            f"joint law at this total: {best['active_experts']:.2f} active experts, shared share "
            f"{best['shared_ratio']:.2f}, N_a/N {best['active_ratio']:.1%} ({best['active_ratio_efficient']:.1%} once "
            "cost per token counts)"
        )
    t = designs.trade_off
    free = ", ".join(f"E {e}: {_sparsity(at_g)} | {_sparsity(coarse)}" for e, at_g, coarse in t.rows)
    console.print(
        f"sparsity E/K that fills total/active = {t.ratio:.2f}, at d/d_e = {t.granularity:.2f} | with the coarsest "
        f"experts: {free}"
    )


def _sparsity(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


_SIZES = {
    "hidden_size": "width",
    "num_layers": "depth",
    "num_experts": "E",
    "top_k": "K",
    "shared_experts": "sh",
    "dense_first": "df",
    "expert_size": "d_e",
}
_NAME_WIDTH = 8


def _ranking(designs: Designs) -> Table:
    """The designs, best first."""
    unit, size = ("GB", 1e9) if designs.designs[0].memory_bytes >= 1e9 else ("MB", 1e6)
    table = _table("Designs by worst regret over the laws (sh: shared, df: dense first)", _SIZES.values(), first="")
    for header in ("total ", "active ", f"{unit} ", "worst"):
        table.add_column(header, justify="right", no_wrap=True)
    for number, design in enumerate(designs.designs, start=1):
        costs = {
            "total-params": format_count(design.total_params),
            "active-params": format_count(design.active_params),
            "memory": f"{design.memory_bytes / size:.1f}",
        }
        marked = [f"{cost}*" if option in design.binding else f"{cost} " for option, cost in costs.items()]
        table.add_row(str(number), *_sizes(design.sizes), *marked, f"{design.worst_regret:.4f}")
    return table


def _regrets(designs: Designs) -> Table:
    """Each law's regret of each design, with how far it extrapolates."""
    table = _table("Regret by law", map(short_name, designs.laws), first="")
    for number, design in enumerate(designs.designs, start=1):
        table.add_row(str(number), *(_regret_cell(design, law) for law in designs.laws))
    return table


def _favourites(designs: Designs) -> Table:
    """What each law alone would build."""
    table = _table("What each law alone would build", _SIZES.values(), first="law")
    table.add_column("active", justify="right", no_wrap=True)
    table.add_column("worst by", justify="right", no_wrap=True)
    for law, favourite in designs.favourites.items():
        judge, worst = max(favourite.regret.items(), key=lambda item: item[1])
        shown = f"{worst:.3f} {short_name(judge)}" if worst > 0 else "-"
        table.add_row(short_name(law), *_sizes(favourite.sizes), format_count(favourite.active_params, 3), shown)
    return table


def _modes(designs: Designs) -> Table:
    """Both constraint modes: the answer depends on what is held fixed."""
    held = " or ".join(f"{_amount(mode.amount, mode.held)} {mode.held}" for mode in designs.modes)
    table = _table(f"Active size is left open. Held fixed: {held}", (), first="best by")
    for mode in designs.modes:
        for header in (f"{mode.held}: E/K", "active"):
            table.add_column(header, justify="right", no_wrap=True)
    for name in ("all laws", *designs.laws):
        cells = []
        for mode in designs.modes:
            judges = ("all laws", *mode.laws)
            if name not in judges:  # it does not see what is held fixed
                cells += ["-", "-"]
                continue
            sizes, active = mode.designs.sizes(judges.index(name)), mode.active_params[judges.index(name)]
            cells += [f"{sizes['num_experts']}/{sizes['top_k']}", format_count(active, 3)]
        table.add_row(short_name(name), *cells)
    return table


def _published(designs: Designs, model: PublishedModel) -> Table:
    """The published model beside the first design and each law's favourite."""
    table = _table(f"{model.name} against the laws, at its own budgets", _SIZES_PUBLISHED, first="")
    sizes = {**model.sizes, "dense_first": 0}
    table.add_row("as built", *(f"{sizes[name]:g}" for name in _PUBLISHED_NAMES), *_published_regrets(designs, model))
    first = designs.designs[0]
    shown = [str(first.sizes[name]) for name in _PUBLISHED_NAMES]
    table.add_row("first design", *shown, f"{first.worst_regret:.4f}", "")
    return table


_PUBLISHED_NAMES = ("hidden_size", "num_layers", "num_experts", "top_k", "shared_experts", "expert_size")
_SIZES_PUBLISHED = (*(_SIZES[name] for name in _PUBLISHED_NAMES), "worst", "by law")


def _published_regrets(designs: Designs, model: PublishedModel) -> tuple[str, str]:
    if not model.regret:
        return "-", "no law"
    judge, worst = max(model.regret.items(), key=lambda item: item[1])
    return f"{worst:.4f}", short_name(judge)


def _principles(designs: Designs) -> Table:
    """The best design that follows each principle, and each law's regret of it."""
    table = _table("Following a principle: its best design, regret by law", map(short_name, designs.laws), first="")
    for name, found in designs.principles.choices.items():
        table.add_row(name, *(f"{found.regret[law]:.4f}" for law in designs.laws))
        s = found.design.sizes(0)
        mixture = f"{s['num_experts']}/{s['top_k']}+{s['shared_experts']} x {s['expert_size']}"
        table.add_row("", styled("[dim]{}[/dim]", mixture), *[""] * (len(designs.laws) - 1))
    table.add_row("first", *(f"{designs.designs[0].regret[law]:.4f}" for law in designs.laws))
    return table


def _prices(designs: Designs) -> Table:
    """Change of each law's best loss for 10 % more of each budget."""
    table = _table("10 % more of a budget: change of each law's best loss", map(short_name, designs.laws), first="")
    for option in next(iter(designs.shadow_prices.values())):
        cells = (f"{designs.shadow_prices[law][option]:+.4f}" for law in designs.laws)
        table.add_row(_short_option(option), *cells)
    return table


def _exchange(designs: Designs) -> Table:
    """What 10 % of one budget is worth in the others: the range over the laws that give a rate."""
    rates = designs.prices.exchange()
    options = list(next(iter(designs.shadow_prices.values())))
    table = _table(
        "10 % of a row is worth so many % of a column (range over laws)", map(_short_option, options), first=""
    )
    for one in options:
        cells = []
        for other in options:
            found = [rate for law in rates.values() if (rate := law[one].get(other)) is not None]
            cells.append(_range(found) if one != other else "")
        table.add_row(_short_option(one), *cells)
    return table


def short_name(law: str) -> str:
    """A law's name without its year, cut to what a column holds."""
    return law.rstrip("0123456789")[:_NAME_WIDTH]


def _table(title: str, headers: Any, first: str) -> Table:
    table = bare_table(title, narrow=True)  # many columns in eighty characters
    table.add_column(first, no_wrap=True)
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def _sizes(sizes: dict[str, int]) -> list[str]:
    return [str(sizes[name]) for name in _SIZES]


def _regret_cell(design: Design, law: str) -> str:
    outside = design.extrapolation[law]
    far = max(outside.values(), default=1.0)
    distance = f" {far:.0f}x" if far >= 1.5 else f" {far:.1f}x" if outside else ""
    return f"{design.regret[law]:.4f}{distance}"


def _amount(value: float, held: str) -> str:
    return format_count(value, 3) if held == "tokens" else f"{value:.3g}"


def _short_option(option: str) -> str:
    return {
        "decode-tokens-per-second": "tokens/s",
        "time-to-first-token": "first token",
        "train-device-hours": "device-hours",
    }.get(option, option)


def _range(values: list[float]) -> str:
    if not values:
        return "-"
    low, high = min(values), max(values)
    return f"{low:.1f}" if f"{low:.1f}" == f"{high:.1f}" else f"{low:.1f} to {high:.1f}"


def print_rules(console: Screen, space: Space) -> None:
    """What makes a design plausible, why, and which published mixtures of the catalogue stand outside."""
    models = published_mixtures()
    table = bare_table(
        f"Rules of the space, against the {len(models)} published mixtures of the catalogue", narrow=True
    )
    for header in ("rule", "from", "to"):
        table.add_column(header, no_wrap=True)
    table.add_column("outside")
    for rule in RULES:
        low, high = rule.bounds(space)
        outside = sorted(excluded(rule, space, models).items(), key=lambda item: item[1])
        named = ", ".join(f"{name} {value:.3g}" for name, value in outside[:3])
        more = f" and {len(outside) - 3} more" if len(outside) > 3 else ""
        table.add_row(rule.name, f"{low:.3g}", "-" if high == float("inf") else f"{high:.3g}", named + more)
    console.print(table)
    for rule in RULES:
        console.print(styled("[bold]{}[/bold]: {}", rule.name, "; ".join(rule.reasons)))


def print_space(console: Screen, space: Space) -> None:
    """The rules of a space and the reason for each, as the YAML that `--space` reads."""
    console.document(describe_space(space))
