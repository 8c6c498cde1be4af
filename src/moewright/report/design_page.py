"""What `moewright design` prints, in order, made to read well at 80 columns."""

from rich.console import Console

from moewright.designs.budgets import Budgets
from moewright.designs.draws import CONFIDENCE
from moewright.designs.result import Designs
from moewright.quantities import format_bytes, format_count
from moewright.report import design_tables as tables

SIZE_WORDS = {
    "hidden_size": "width",
    "num_layers": "layers",
    "dense_first": "dense first",
    "num_experts": "experts",
    "top_k": "top-k",
    "shared_experts": "shared",
    "expert_size": "expert size",
}


def print_designs(console: Console, designs: Designs) -> None:
    """Print the budgets, the ranked designs, how far the laws agree, what binds and what more budget would buy."""
    for line in budget_lines(designs.budgets):
        console.print(line)
    console.print()
    console.print(tables.ranking(designs))
    console.print("* a budget that experts one step wider would break; worst: over the laws below", highlight=False)
    console.print()
    console.print(tables.regrets(designs))
    console.print("nats above the law's own best; 11x: its farthest variable is 11 times outside its runs")
    console.print()
    console.print(tables.favourites(designs))
    console.print()
    _print_sureness(console, designs)
    if designs.modes:
        console.print()
        console.print(tables.modes(designs))
    if designs.published is not None:
        console.print()
        console.print(tables.published(designs, designs.published))
        for law, reason in designs.published.silent.items():
            console.print(f"{law} is silent about it: {reason}", highlight=False)
    console.print()
    _print_principles(console, designs)
    console.print()
    console.print(tables.prices(designs))
    if len(next(iter(designs.shadow_prices.values()))) > 1:
        console.print()
        console.print(tables.exchange(designs))
    console.print(
        f"\n{designs.considered:,} designs considered, {designs.feasible:,} within the budgets, {designs.seconds:.1f} s"
        "; losses never compare between laws"
    )
    for warning in designs.warnings:
        console.print(f"[yellow]warning:[/yellow] {warning}", highlight=False)


def budget_lines(b: Budgets) -> list[str]:
    """The budgets in words."""
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
    return [f"[bold]Budgets[/bold]: {', '.join(parts)}", cache]


def size_ranges(ranges: dict[str, tuple[int, int]]) -> str:
    """Ranges of the sizes that have a word."""
    return ", ".join(
        f"{word} {ranges[name][0]}" + (f"-{ranges[name][1]}" if ranges[name][1] > ranges[name][0] else "")
        for name, word in SIZE_WORDS.items()
        if name in ranges
    )


def _print_sureness(console: Console, designs: Designs) -> None:
    alike = designs.alike
    noun = "design" if alike.count == 1 else "designs"
    console.print(
        f"[bold]Not told apart[/bold] from the first ({alike.within:g} nats of worst regret): {alike.count:,} {noun}, "
        f"with {size_ranges(alike.ranges)}."
    )
    for law, sure in designs.sureness.items():
        console.print(
            f"[bold]{law}[/bold], {sure.num_draws} draws over {sure.num_finalists} finalists: {sure.count_alike} "
            f"cannot be told from its favourite at {CONFIDENCE:.0%} ({size_ranges(sure.ranges)}); the first design is "
            f"best in {designs.designs[0].probability_best[law]:.0%}."
        )


def _print_principles(console: Console, designs: Designs) -> None:
    console.print(tables.principles(designs))
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
