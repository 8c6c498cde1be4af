"""The tables of `moewright design`, made to read well at 80 columns."""

from rich.console import Console
from rich.table import Table

from moewright.architecture.feed_forwards import MoE
from moewright.design.result import Design, Designs
from moewright.quantities import format_bytes, format_count

_SIZES = {
    "hidden_size": "width",
    "num_layers": "layers",
    "num_experts": "experts",
    "top_k": "top-k",
    "shared_experts": "shared",
    "expert_size": "expert size",
}


def print_designs(console: Console, designs: Designs) -> None:
    """Print the budgets, the ranked designs, what the law cannot tell apart and what more budget would buy."""
    b, law = designs.budgets, designs.laws[0]
    size = (
        f"{format_bytes(b.memory_bytes)} in {b.weights_dtype}" if b.memory_bytes else f"{_count(b.total_params)} total"
    )
    active = f"{_count(b.active_params)} active" if b.active_params else "active not bounded"
    console.print(f"[bold]Budgets[/bold]: {size}, {active}, {format_count(b.train_tokens, 3)} training tokens")
    if b.memory_bytes:
        console.print(f"memory holds the weights and a bf16 cache of {b.batch} x {b.context:,} tokens")
    console.print()
    console.print(_ranking(designs))
    console.print("* a budget that experts wider by 64 would break", highlight=False)
    console.print()
    _print_optimum(console, designs)
    console.print()
    console.print(_prices(designs))
    console.print(
        f"\n{designs.considered:,} combinations considered, {designs.feasible:,} within the budgets, "
        f"{designs.seconds:.2f} s; losses compare within {law} only"
    )
    for warning in designs.warnings:
        console.print(f"[yellow]warning:[/yellow] {warning}", highlight=False)


def _count(value: float | None) -> str:
    return format_count(value or 0, 3)


def _ranking(designs: Designs) -> Table:
    law = designs.laws[0]
    unit, size = ("GB", 1e9) if designs.designs[0].memory_bytes >= 1e9 else ("MB", 1e6)
    table = Table(title=f"Designs by {law}", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.padding = (0, 1, 0, 0)  # twelve columns in eighty characters
    headers = ("", "width", "depth", "E", "K", "shared", "d_e", "total ", "active ", f"{unit} ", "loss", "regret")
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for number, design in enumerate(designs.designs, start=1):
        costs = {
            "total-params": format_count(design.total_params),
            "active-params": format_count(design.active_params),
            "memory": f"{design.memory_bytes / size:.1f}",
        }
        marked = [f"{cost}*" if option in design.binding else f"{cost} " for option, cost in costs.items()]
        loss, regret = design.predicted_loss[law], design.regret[law]
        table.add_row(str(number), *_shape(design), *marked, f"{loss:.4f}", f"{regret:.4f}")
    return table


def _shape(design: Design) -> tuple[str, ...]:
    moe = next(iter(design.architecture.iter_layers())).feed_forward
    assert isinstance(moe, MoE)
    group, shared = moe.groups[0], moe.shared.count if moe.shared else 0
    sizes = (design.architecture.hidden_size, design.architecture.num_layers, group.count, group.top_k, shared)
    return *(str(size) for size in sizes), str(group.expert_size)


def _print_optimum(console: Console, designs: Designs) -> None:
    law, best, alike = designs.laws[0], designs.optimum, designs.alike
    console.print(
        f"[bold]{law} at this total[/bold]: best at {best['active_experts']:.2f} active experts, shared share "
        f"{best['shared_ratio']:.2f}, N_a/N {best['active_ratio']:.1%} ({best['active_ratio_efficient']:.1%} once "
        "cost per token counts)"
    )
    ranges = ", ".join(
        f"{_SIZES[name]} {low}" + (f"-{high}" if high > low else "") for name, (low, high) in alike.ranges.items()
    )
    console.print(
        f"[bold]Not told apart[/bold] ({alike.within:g} nats): {alike.count:,} designs, with {ranges}. Choose among "
        "them by speed."
    )


def _prices(designs: Designs) -> Table:
    table = Table(title="10 % more of a budget", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("")
    table.add_column("best loss", justify="right")
    for option, change in designs.shadow_prices[designs.laws[0]].items():
        table.add_row(option, f"{change:+.4f}")
    return table
